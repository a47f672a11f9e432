"""All requests on their passage through the gateway: started, watched and, where it must be, cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from time import monotonic

from gateway.client_connection import ClientConnection
from gateway.errors import CREDENTIAL_INVALID, DRAINING
from gateway.exchange import Exchange
from gateway.keeping import Keeping
from gateway.transfer import Transfer
from gateway.transfer_context import Owner, Rules, UnderWay
from gateway.upstreams.budget import RetryBudget, backoff
from gateway.upstreams.target import Target

LOOK_SECONDS = 0.25
"""How often the requests under way are looked at: how late a deadline may be, or that a client is found gone
(while its bytes are held back, nothing tells that it left)."""


class Relay:
    """Relays requests to targets. `live` holds those under way, for the drain."""

    def __init__(
        self,
        rules: Rules,
        keeping: Keeping,
        budget: RetryBudget,
        pause: Callable[[int], float] = backoff,
    ) -> None:
        """pause: seconds before the next attempt after so many."""
        self.rules = rules
        self.keeping = keeping
        self.budget = budget
        self.pause = pause
        self.live: set[UnderWay] = set()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, client: ClientConnection, exchange: Exchange, target: Target, owner: Owner) -> None:
        """Begin to relay the client's request; the owner is told how it ended.

        Raises GatewayError where it can't begin; then the owner is told nothing.
        """
        transfer = Transfer(self, owner, client, exchange)
        try:
            transfer.start(target)
        except Exception:
            transfer.let_go()
            raise
        if self._timer is None:
            self._look_later()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """One timer for all requests: setting and cancelling one for each costs more than all else of it."""
        self._timer = None
        now = monotonic()
        for transfer in tuple(self.live):
            transfer.look(now)
        if self.live:
            self._look_later()

    def cut_all(self) -> None:
        """End what is still under way, as a drain does when its time is over."""
        for transfer in tuple(self.live):
            transfer.fail(DRAINING)

    def cut(self, credential_ids: Container[str]) -> None:
        """End what is under way for these credentials."""
        for transfer in tuple(self.live):
            if transfer.credential_id in credential_ids:
                transfer.fail(CREDENTIAL_INVALID)
