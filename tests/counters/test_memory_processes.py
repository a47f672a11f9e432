"""Processes of one machine that count together, and what becomes of the counts when one is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.counters.memory import MemoryCounters
from gateway.counters.mutex import HOLDER_DIED
from gateway.counters.table import Table
from gateway.limits import Limits
from gateway.quota.admission import Estimate
from gateway.quota.windows import BUCKETS, TOTAL
from tests.counters.busy import LIMITS, RULES
from tests.counters.rig import BEGIN, rules
from tests.support.machine import PROJECT

ONE = Estimate(1, 0)
OPEN = rules(Limits(concurrent_requests=2))


@contextmanager
def busy(path: Path, kind: str, count: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    """So many processes that count (see `busy`), killed at the end if they still run."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.counters.busy", str(path), kind],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


async def test_no_process_admits_what_another_has(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    with busy(path, "until-refused", 3) as processes:
        admitted = [int(said(process)) for process in processes]
    assert sum(admitted) == LIMITS.requests_per_minute
    counters = MemoryCounters(path, lambda: BEGIN)
    assert counters.levels(RULES[2:4]) == [2_000, 2_000]
    await counters.close()


async def test_who_is_killed_with_the_lock_held_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    counters = MemoryCounters(path, lambda: BEGIN)
    counters.admit(RULES, Estimate(100, 0))
    with busy(path, "holding") as (process,):
        assert said(process) == "holding"
    assert counters.admit(RULES, Estimate(200, 0)).blocked_by is None
    assert counters.levels(RULES[:1]) == [300 + 12345]  # the debt might have been real
    assert counters.admit(RULES, Estimate(1, 0)).blocked_by is None  # and nobody has to mend it again
    await counters.close()


@pytest.mark.parametrize("first", ["admit", "settle", "levels", "another process"])
async def test_whoever_gets_the_lock_of_a_killed_process_mends_what_it_left(
    tmp_path: Path, first: str
) -> None:
    path = tmp_path / "counters"
    counters = MemoryCounters(path, lambda: BEGIN)
    admission = counters.admit(RULES, Estimate(100, 0))
    with busy(path, "holding") as (process,):
        assert said(process) == "holding"
    left = 100 + 12345
    match first:
        case "admit":
            assert counters.admit(RULES, Estimate(200, 0)).blocked_by is None
            left += 200
        case "settle":
            counters.settle(admission, 50, 0, final=True)
            left -= 50
        case "levels":
            assert counters.levels(RULES[:1]) == [left]
        case _:
            await MemoryCounters(path, lambda: BEGIN).close()
    assert counters.levels(RULES[:1]) == [left]
    assert counters.admit(RULES, ONE).blocked_by is None
    await counters.close()


def test_who_opens_the_file_leaves_the_lock_to_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    MemoryCounters(path, lambda: BEGIN).admit(RULES, ONE)
    with busy(path, "holding") as (process,):
        assert said(process) == "holding"
        table = Table(path)
    assert table.mutex.acquire() == HOLDER_DIED
    table.mutex.mended()
    table.mutex.release()
    table.close()


async def test_killed_at_any_moment_a_process_leaves_windows_whole(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    begin = time.time()
    for _ in range(4):
        with busy(path, "for-ever", 2) as processes:
            for process in processes:
                assert said(process) == "counting"
            processes[0].kill()  # at a moment that nobody chose
            assert processes[1].poll() is None
    counters = MemoryCounters(path)
    table = Table(path)
    cells = [window for span, window in table.windows() if span is not None]
    assert cells
    for window in cells:
        assert window[TOTAL] == sum(window[BUCKETS:])
        assert min(window) >= 0
    table.close()
    assert counters.levels([rule for rule in RULES if rule.span is None]) == [0, 0]
    day = next(rule for rule in RULES if rule.kind == "tokens_per_day")
    assert counters.levels([day])[0] > 0
    assert time.time() - begin < 86_400
    await counters.close()


async def test_what_a_killed_process_had_under_way_is_given_back_when_it_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    here, there = (MemoryCounters(path, lambda: BEGIN) for _ in range(2))
    with busy(path, "for-ever") as (process,):
        assert said(process) == "counting"
        limit = here.levels([rule for rule in RULES if rule.span is None])[0]
        assert limit
    busy_rules = rules(Limits(concurrent_requests=2))
    mine, theirs = here.admit(busy_rules, ONE), there.admit(busy_rules, ONE)
    assert here.admit(busy_rules, ONE).blocked_by  # whose process lives
    assert mine.blocked_by is theirs.blocked_by is None
    await there.close()  # without having settled, as when it is killed
    assert here.admit(busy_rules, ONE).blocked_by is None
    assert here.levels(busy_rules) == [2]
    await here.close()


async def test_a_killed_process_keeps_the_tokens_it_had_reserved(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    tokens = rules(Limits(tokens_per_minute=1000))
    here, there = (MemoryCounters(path, lambda: BEGIN) for _ in range(2))
    there.admit(tokens, Estimate(700, 0))
    await there.close()
    assert here.levels(tokens) == [700]
    await here.close()
