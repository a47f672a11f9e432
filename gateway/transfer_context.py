"""What a transfer has around it: the operator's rules, what all transfers share, who is told of its end."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from gateway.client_connection import ClientConnection
from gateway.deadlines import Timeouts
from gateway.errors import GatewayError, Refusal
from gateway.exchange import Exchange
from gateway.keeping import Keeping
from gateway.upstreams.budget import RetryBudget
from gateway.upstreams.target import Target


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator has set for every passage."""

    timeouts: Timeouts
    max_body_bytes: int
    forward_request_headers: frozenset[bytes]
    """Lower-case names of request headers that go upstream beyond the usual ones."""
    attempts: int
    """The most that are made for one request."""


class UnderWay(Protocol):
    """A transfer, as those see it who watch all of them."""

    @property
    def credential_id(self) -> str:
        """Who asked."""

    def look(self, now: float) -> None:
        """Whether a deadline has passed by now (`time.monotonic()`), or somebody not being read has left."""

    def fail(self, refusal: Refusal) -> None:
        """The response will not become whole: the client is told as far as it still can be."""


class Relaying(Protocol):
    """What all transfers share."""

    rules: Rules
    live: set[UnderWay]
    """Those under way."""
    keeping: Keeping
    budget: RetryBudget
    pause: Callable[[int], float]
    """Seconds before the next attempt after so many."""


class Owner(Protocol):
    """Who had a transfer made, and is told once how it ended."""

    def another(self, exchange: Exchange, tried: Collection[Target]) -> Target | None:
        """Where to send the request when attempts at these have failed; None: nowhere else."""

    def none_left(self, exchange: Exchange) -> GatewayError:
        """What the client is told where there was somewhere else, and is no more."""

    def refused(self, client: ClientConnection, exchange: Exchange, error: GatewayError) -> None:
        """It came to nothing, and the client has not been sent a byte."""

    def answered(self, client: ClientConnection, exchange: Exchange, *, keep: bool) -> None:
        """All that the client is to be sent is written. `keep`: another request may follow."""

    def left(self, client: ClientConnection, exchange: Exchange) -> None:
        """The client is gone."""
