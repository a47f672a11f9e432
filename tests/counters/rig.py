"""The counters under test, of either kind, with a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TypeVar

from redis import Redis

from gateway.counters import Counters
from gateway.counters.memory import MemoryCounters
from gateway.counters.redis import RedisCounters
from gateway.limits import Level, Limits
from gateway.quota.admission import Admission, Estimate
from gateway.quota.rules import Rule, rules_for
from tests.support.redis_server import RedisServer

BEGIN = 1_800_000_000
"""When the clock of a test begins: a whole minute, seconds since the epoch."""
LENIENT = 20.0
"""Seconds for an answer of a server that is there, on a loaded machine."""
PROJECT = "pr-calm-lake-12345678"
T = TypeVar("T")


class Rig:
    """Some kind of counters: several may be opened, as by several processes, all with one clock."""

    def __init__(self) -> None:
        self.now: float = BEGIN
        self._opened: list[Counters] = []

    def make(self) -> Counters:
        raise NotImplementedError

    def open(self) -> Counters:
        """Counters that count together with all others of this rig."""
        counters = self.make()
        self._opened.append(counters)
        return counters

    def at(self, seconds: float) -> None:
        """Set the clock to so many seconds after the beginning."""
        self.now = BEGIN + seconds

    async def leave(self, counters: Counters) -> None:
        """Close what `open` gave."""
        self._opened.remove(counters)
        await counters.close()

    async def close(self) -> None:
        for counters in self._opened:
            await counters.close()


class MemoryRig(Rig):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "counters"

    def make(self) -> MemoryCounters:
        return MemoryCounters(self.path, lambda: self.now)


class RedisRig(Rig):
    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self.server = server
        self.client: Redis = server.client()
        self.client.flushall()
        self.at(0)

    def make(self) -> RedisCounters:
        return RedisCounters(self.server.url, clock="redis.call('GET', 'clock')", deadline=LENIENT)

    def at(self, seconds: float) -> None:
        super().at(seconds)
        self.client.set("clock", int(self.now))

    async def close(self) -> None:
        await super().close()
        self.client.close()


async def answer(verdict: T | Awaitable[T]) -> T:
    """What counters say, whether they say it at once or not."""
    return await verdict if isinstance(verdict, Awaitable) else verdict


async def admit(counters: Counters, rules: tuple[Rule, ...], tokens: int = 1, nanos: int = 0) -> Admission:
    """Ask for one request."""
    return await answer(counters.admit(rules, Estimate(tokens, nanos)))


async def levels(counters: Counters, rules: Sequence[Rule]) -> list[int]:
    """How much counts."""
    return await answer(counters.levels(rules))


def rules(
    project: Limits | None = None,
    branch: Limits | None = None,
    credential: Limits | None = None,
    *,
    credential_id: str = "abcdefgh12345678",
    model: str = "gemini-2-5-flash",
) -> tuple[Rule, ...]:
    """The rules of one project's one branch."""
    limits = {Level.PROJECT: project, Level.BRANCH: branch, Level.CREDENTIAL: credential}
    return rules_for(
        {level: limit for level, limit in limits.items() if limit},
        project_id=PROJECT,
        branch_id="br-calm-lake-12345678",
        credential_id=credential_id,
        model=model,
    )
