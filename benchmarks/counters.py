"""What the limits of a request cost: `python -m benchmarks.counters [REDIS-URL]`, in CPU time."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
import timeit
from collections.abc import Awaitable
from pathlib import Path

from gateway.counters import Counters
from gateway.counters.memory import MemoryCounters
from gateway.limits import Level, Limits
from gateway.quota.admission import Admission, Estimate
from gateway.quota.rules import Rule, rules_for

REQUESTS = 20_000
REPEATS = 5
CONCURRENCY = 64
MUCH = 10**12
ALL = Limits(
    tokens_per_minute=MUCH,
    requests_per_minute=MUCH,
    concurrent_requests=MUCH,
    tokens_per_day=MUCH,
    spend_per_day_nanos=MUCH,
)
CASES = {
    "tokens per minute of the project": {Level.PROJECT: Limits(tokens_per_minute=MUCH)},
    "all five of a credential": {Level.CREDENTIAL: ALL},
    "all five of each level": dict.fromkeys(Level, ALL),
}
RESERVED = Estimate(1000, 1000)


def rules_of(limits: dict[Level, Limits]) -> tuple[Rule, ...]:
    return rules_for(
        limits, project_id="default", branch_id="main", credential_id="benchmark", model="gemini-2-5-flash"
    )


def in_memory(rules: tuple[Rule, ...]) -> float:
    """Seconds of one request's admission and settlement; the best of some repeats."""
    with tempfile.TemporaryDirectory() as folder:
        counters = MemoryCounters(Path(folder) / "counters")

        def one() -> None:
            counters.settle(counters.admit(rules, RESERVED), 700, 700, final=True)

        return min(timeit.repeat(one, number=REQUESTS, repeat=REPEATS)) / REQUESTS


async def on_redis(url: str, rules: tuple[Rule, ...]) -> float:
    """The same: seconds of this process's CPU, with many requests at a time."""
    from gateway.counters.redis import RedisCounters  # noqa: PLC0415 - not needed without a server

    counters: Counters = RedisCounters(url, deadline=10.0)

    async def some() -> None:
        for _ in range(REQUESTS // 10 // CONCURRENCY):
            verdict = counters.admit(rules, RESERVED)
            admission: Admission = await verdict if isinstance(verdict, Awaitable) else verdict
            counters.settle(admission, 700, 700, final=True)

    await some()
    best = float("inf")
    for _ in range(REPEATS):
        begin = time.process_time()
        await asyncio.gather(*(some() for _ in range(CONCURRENCY)))
        best = min(best, time.process_time() - begin)
    await counters.close()
    return best / (REQUESTS // 10 // CONCURRENCY * CONCURRENCY)


def main() -> None:
    for name, limits in CASES.items():
        rules = rules_of(limits)
        print(f"{name:<34} memory {in_memory(rules) * 1e6:6.1f} µs", end="")
        for url in sys.argv[1:]:
            print(f"   redis {asyncio.run(on_redis(url, rules)) * 1e6:6.1f} µs", end="")
        print()


if __name__ == "__main__":
    main()
