"""The attempts at a request after its first: whether one may be made, at which target, and after what pause.

Made for a request whose first attempt has failed; one that succeeds at once has none of this.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol

from gateway import headers
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.http_request import HttpRequest
from gateway.transfer_context import Owner, Relaying
from gateway.upstreams.target import Target


class Retried(Protocol):
    """Whose request it is."""

    def can_send_again(self) -> bool:
        """Whether the whole request, or what has come of it, is still here."""

    def attempt(self, target: Target) -> None:
        """Make an attempt there, now."""

    def give_up(self, error: GatewayError) -> None:
        """No attempt can be made any more: this is what the client is told."""

    def on_error(self, error: BaseException) -> None:
        """A fault of the gateway's own."""


class Retrying:
    """Chooses the next attempt each time that one has failed, and has it made after a pause."""

    __slots__ = ("_exchange", "_owner", "_pause", "_relay", "_request", "_retried", "_tried")

    def __init__(
        self, retried: Retried, relay: Relaying, owner: Owner, request: HttpRequest, exchange: Exchange
    ) -> None:
        self._retried = retried
        self._relay = relay
        self._owner = owner
        self._request = request
        self._exchange = exchange
        self._tried: tuple[Target, ...] = ()
        """Where attempts have failed."""
        self._pause: asyncio.TimerHandle | None = None
        """Before the next attempt."""

    def after(self, failed: Target) -> bool:
        """Whether another attempt follows the one that failed here: it is made in a moment."""
        exchange, relay = self._exchange, self._relay
        if exchange.attempts >= relay.rules.attempts or not self._retried.can_send_again():
            return False
        pause = relay.pause(exchange.attempts)
        if self._is_too_late(monotonic() + pause):
            return False
        tried = (*self._tried, failed)
        target = self._owner.another(exchange, tried)
        if target is None or not relay.budget.take():
            return False
        self._tried = tried
        self._pause = asyncio.get_running_loop().call_later(pause, self._go_on, target)
        return True

    def end(self) -> None:
        """Make no other attempt."""
        if self._pause:
            self._pause.cancel()
            self._pause = None

    def _is_too_late(self, begin: float) -> bool:
        """Whether nobody waits for what an attempt would bring: the client has said how long it does."""
        timeout = headers.server_timeout(self._request.fields)
        return timeout is not None and begin >= self._exchange.began + timeout

    def _go_on(self, chosen: Target) -> None:
        self._pause = None
        try:
            # It may have come to need some rest meanwhile.
            target = chosen if chosen.at_ease else self._owner.another(self._exchange, self._tried)
            if target is None:
                self._retried.give_up(self._owner.none_left(self._exchange))
            else:
                self._retried.attempt(target)
        except Exception as error:
            self._retried.on_error(error)
