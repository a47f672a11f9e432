"""Where it is counted what was used: on one machine (`memory`), or on a server for many (`redis`)."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from gateway.quota.admission import Admission, Estimate
from gateway.quota.rules import Rule


class Counters(Protocol):
    """Counts for every process that is to hold to the same limits. For one event loop's thread only."""

    @property
    def available(self) -> bool:
        """Whether they could be asked when that was last tried."""

    @property
    def unsettled(self) -> int:
        """Requests that could not be settled: what they used beyond what was reserved is not counted."""

    def admit(self, rules: tuple[Rule, ...], estimate: Estimate) -> Admission | Awaitable[Admission]:
        """Judge a request by all rules at once: either everything is reserved, or nothing.

        The verdict comes at once where no other server has to be asked. Raises (or the awaitable does)
        CountersUnavailable. Who stops to wait for it has reserved nothing.
        """

    def settle(
        self, admission: Admission, tokens: int | None, cost_nanos: int | None, *, final: bool
    ) -> None:
        """The admitted request has ended, having used what was reported last; None: nothing was reported.

        Unless that report is final, a window keeps the larger of it and what was reserved.
        """

    def levels(self, rules: Sequence[Rule]) -> list[int] | Awaitable[list[int]]:
        """How much counts towards each rule now. Raises (or the awaitable does) CountersUnavailable."""

    async def close(self) -> None:
        """Settle what is to be settled, and let go of everything."""
