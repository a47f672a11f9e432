"""Scenario: workers are killed, servers stopped, and clients leave early, while both machines serve."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from time import monotonic

from fleet.books import SHOWN, Books, books, of_books
from fleet.clients import CUT, DEADLINE, LEFT, WHOLE, Asked, Traffic
from fleet.faults import Kill, Server, kill_on, outages_on
from fleet.machines import MACHINES, Fleet
from fleet.plan import draw
from fleet.upstream import Served

LOST_SECONDS = 0.25
"""How old the youngest record may be that a killed worker loses: the bound."""
KILL_SECONDS = 1.6
"""Between two kills."""
LEAVING = 0.15
"""The share of clients that leave early."""
RECOVERY_SECONDS = 20.0
"""How long after the last fault every request must be answered again."""
_SOUND = 40
"""Requests on connections of their own, to each machine, by which that is seen."""


@dataclass(frozen=True)
class Outcome:
    """The run's figures."""

    asked: list[Asked]
    served: list[Served]
    kept: Books
    kills: list[Kill]
    recovered: float | None
    """Seconds until all was well after the last fault."""

    def lost(self) -> dict[int, float]:
        """The requests that lack a record, with the seconds from their end to the kill; those that may."""
        recorded = Counter(row.number for row in self.kept.rows)
        asked = {one.plan.number: one for one in self.asked}
        found = {}
        for one in self.served:
            if recorded[one.number]:
                continue
            client = asked[one.number]
            # When the gateway was through with it: not later than its client, nor than the upstream's end.
            end = max(client.ended, one.ended)
            for kill in self.kills:
                if (
                    _served_by(kill, client, one)
                    and one.began < kill.at + 1.0
                    and end > kill.at - LOST_SECONDS
                ):
                    found[one.number] = max(kill.at - end, 0.0)
        return found

    def lines(self) -> list[str]:
        """What is printed of it."""
        outcomes = Counter(one.outcome for one in self.asked)
        sources = Counter(row.usage_source for row in self.kept.rows)
        lost = self.lost()
        whole = {one.plan.number for one in self.asked if one.outcome == WHOLE}
        ages = [age for number, age in lost.items() if number in whole]
        slowest = max(one.ended - one.began for one in self.asked)
        return [
            *(f"{count:8,}  requests: {outcome}" for outcome, count in sorted(outcomes.items())),
            f"{len(self.kills):8,}  workers were killed",
            f"{slowest:8.1f}  s took the slowest request",
            *(f"{count:8,}  records: {source}" for source, count in sorted(sources.items())),
            f"{len(self.served):8,}  attempts, says the upstream",
            f"{len(lost):8,}  of them have no record, as their worker was killed",
            f"{len(ages):8,}  of these were answered, at most {1000 * max(ages, default=0):.0f} ms before",
            "recovery took too long" if self.recovered is None else f"{self.recovered:8.1f}  s recovery took",
        ]

    def wrong(self) -> list[str]:
        """What is, one line each."""
        found = [f"{_told(one)}: {one.wrong}" for one in self.asked if one.wrong]
        cut = [one for one in self.asked if one.outcome == CUT and not one.wrong]
        found += [f"{_told(one)}: cut off though its worker lived" for one in cut if not self._killed(one)]
        slow = [one for one in self.asked if one.ended - one.began > DEADLINE]
        found += [f"{_told(one)}: ended late" for one in slow]
        if self.recovered is None:
            found.append("not every request is answered again when all faults are over")
        lost = frozenset(self.lost())
        return found[:SHOWN] + of_books(self.kept, self.served, lost=lost)

    def _killed(self, one: Asked) -> bool:
        return any(
            one.port in kill.clients and one.machine == kill.machine and one.ended > kill.at
            for kill in self.kills
        )


def _served_by(kill: Kill, client: Asked, one: Served) -> bool:
    """Whether that worker had the request; where its client has left, at least that machine."""
    if client.machine != kill.machine:
        return False
    return client.outcome == LEFT or one.port in kill.upstream or client.port in kill.clients


def _told(one: Asked) -> str:
    seconds = one.ended - one.began
    return f"request {one.plan.number} on machine {one.machine}, port {one.port}, after {seconds:.1f} s"


async def run(fleet: Fleet, *, requests: int, rate: float, seed: int) -> Outcome:
    """Ask for all meanwhile; then see that all is well again, end the gateways, and read the books."""
    chance = random.Random(f"chaos {seed}")
    numbers = count()
    plans = [draw(chance, next(numbers), most=500, streams=0.4, slow=0.1) for _ in range(requests)]
    token = fleet.credential()
    traffic = Traffic(
        lambda machine: fleet.machines[machine].port, MACHINES, token, chance, rate, leaving=LEAVING
    )
    killing = asyncio.create_task(kill_on(fleet.machines, fleet.upstream.port, chance, KILL_SECONDS))
    servers: dict[str, Server] = {"postgres": fleet.postgres, "redis": fleet.redis}
    failing = asyncio.create_task(outages_on(servers, requests / rate))
    asked = await traffic.run(plans)
    killing.cancel()
    kills = await killing
    await failing
    recovered = await _recovered(fleet, token, chance, numbers, asked)
    fleet.stop()
    return Outcome(asked, fleet.upstream.served(), await books(fleet), kills, recovered)


async def _recovered(
    fleet: Fleet, token: str, chance: random.Random, numbers: Iterator[int], asked: list[Asked]
) -> float | None:
    """Seconds until every one of many requests is answered; None where that takes too long."""
    begin = monotonic()
    while monotonic() < begin + RECOVERY_SECONDS:
        since = monotonic() - begin
        traffic = Traffic(lambda machine: fleet.machines[machine].port, MACHINES, token, chance, rate=100.0)
        plans = [
            draw(chance, next(numbers), most=500, streams=0.0, slow=0.0) for _ in range(MACHINES * _SOUND)
        ]
        answers = await traffic.run(plans)
        asked += answers
        if all(one.outcome == WHOLE for one in answers):
            return since
    return None
