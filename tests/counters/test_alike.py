"""Memory and Redis say the same whatever is asked, but for leases: one algorithm, written twice."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.limits import Limits
from tests.counters.rig import MemoryRig, RedisRig, Rig, admit, levels, rules
from tests.support.redis_server import RedisServer

LIMITS = Limits(
    tokens_per_minute=100,
    requests_per_minute=5,
    tokens_per_day=400,
    spend_per_day_nanos=300,
)
RULES = (
    rules(Limits(tokens_per_minute=100)),
    rules(Limits(tokens_per_minute=60, tokens_per_day=1000)),
    rules(LIMITS),
    rules(Limits(tokens_per_day=800), credential=LIMITS),
)
seconds = st.one_of(st.integers(0, 3), st.integers(0, 70), st.integers(0, 400), st.integers(0, 200_000))
amounts = st.one_of(st.integers(0, 50), st.integers(0, 2000))
asked = st.tuples(st.sampled_from(RULES), amounts, st.integers(0, 200))
ended = st.tuples(st.integers(0, 5), st.none() | amounts, st.none() | st.integers(0, 500), st.booleans())
steps = st.lists(st.tuples(seconds, asked | ended), max_size=30)


@given(steps)
@settings(deadline=None, max_examples=60)
def test_alike(redis_server: RedisServer, steps: list[tuple[int, tuple[object, ...]]]) -> None:
    asyncio.run(_compare(redis_server, steps))


async def _compare(server: RedisServer, steps: list[tuple[int, tuple[object, ...]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rigs = MemoryRig(Path(folder)), RedisRig(server)
        try:
            await _do(rigs, steps)
        finally:
            for rig in rigs:
                await rig.close()


async def _do(rigs: Sequence[Rig], steps: list[tuple[int, tuple[object, ...]]]) -> None:
    both = [rig.open() for rig in rigs]
    under_way = []
    later = 0
    for seconds, step in steps:
        later += seconds
        for rig in rigs:
            rig.at(later)
        match step:
            case (tuple() as wanted, int() as tokens, int() as nanos):
                here, there = [await admit(counters, wanted, tokens, nanos) for counters in both]
                assert here.blocked_by is there.blocked_by
                assert here.retry_after == there.retry_after
                assert here.token_standing == there.token_standing
                assert here.request_standing == there.request_standing
                if not here.blocked_by:
                    under_way.append((here, there))
            case (int() as number, tokens, nanos, bool() as final) if number < len(under_way):
                for counters, admission in zip(both, under_way.pop(number), strict=True):
                    counters.settle(admission, tokens, nanos, final=final)  # type: ignore[arg-type]
        for some in RULES:
            assert await levels(both[0], some) == await levels(both[1], some)
