"""Scenario: thousands of requests through one token limit, over all workers of both machines."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from fleet.books import SHOWN, Books, books, of_books
from fleet.clients import WHOLE, Asked, Traffic
from fleet.machines import MACHINES, Fleet
from fleet.plan import draw
from fleet.upstream import Served
from fleet.windows import heaviest, most_at_once

MINUTE = 60.0
BLOCKED = "429 REQUEST_LIMIT_EXCEEDED"
_MOST_TOKENS = 60
"""Each way: such that the limit bites within the first half minute."""


@dataclass(frozen=True)
class Outcome:
    """The run's figures."""

    limit: int
    asked: list[Asked]
    served: list[Served]
    kept: Books

    @property
    def within_a_minute(self) -> int:
        """Tokens: the most in any sliding minute, each request at the moment it came to the upstream."""
        return heaviest(((one.began, one.tokens) for one in self.served), MINUTE)

    @property
    def in_flight(self) -> int:
        """Tokens of what was in flight at once: from when a client asks until it has the whole answer."""
        return most_at_once(
            (one.began, one.ended, one.plan.tokens) for one in self.asked if one.outcome == WHOLE
        )

    @property
    def served_tokens(self) -> int:
        return sum(one.tokens for one in self.served)

    def lines(self) -> list[str]:
        """What is printed of it."""
        outcomes = Counter(one.outcome for one in self.asked)
        return [
            *(f"{count:8,}  requests: {outcome}" for outcome, count in sorted(outcomes.items())),
            f"{self.limit:8,}  tokens a minute are the limit",
            f"{self.within_a_minute:8,}  tokens came in the fullest sliding minute "
            f"({self.within_a_minute - self.limit:+,})",
            f"{self.in_flight:8,}  tokens were in flight at once at most: the bound of that excess",
            f"{self.served_tokens:8,}  tokens were served, says the upstream",
            f"{self.kept.tokens:8,}  tokens were used, says the ledger",
        ]

    def wrong(self) -> list[str]:
        """What is, one line each."""
        wrong = [f"request {one.plan.number}: {one.wrong}" for one in self.asked if one.wrong]
        found = wrong[:SHOWN]
        outcomes = Counter(one.outcome for one in self.asked)
        found += [f"{n} requests: {what}" for what, n in outcomes.items() if what not in (WHOLE, BLOCKED)]
        if self.within_a_minute > self.limit + self.in_flight:
            found.append("more was admitted in a minute than the limit and what was in flight")
        if self.within_a_minute < 0.9 * self.limit:
            found.append("the limit was never reached: the run shows nothing")
        if self.served_tokens != self.kept.tokens:
            found.append("the ledger and the upstream differ")
        return found + of_books(self.kept, self.served)


async def run(fleet: Fleet, *, requests: int, rate: float, limit: int, seed: int) -> Outcome:
    """Ask for all, end the gateways, and read the books. The fleet has that limit."""
    chance = random.Random(f"limit {seed}")
    plans = [draw(chance, number, most=_MOST_TOKENS, streams=0.2, slow=0.05) for number in range(requests)]
    traffic = Traffic(
        lambda machine: fleet.machines[machine].port, MACHINES, fleet.credential(), chance, rate
    )
    asked = await traffic.run(plans)
    fleet.stop()
    return Outcome(limit, asked, fleet.upstream.served(), await books(fleet))
