"""The file that the processes of one machine share: its bounds, its faults, and how it is opened again."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.counters.memory import MemoryCounters
from gateway.counters.slots import SLOTS, Slots
from gateway.counters.table import SORTS, Table
from gateway.limits import Limits
from gateway.quota.admission import Estimate
from gateway.quota.rules import Rule
from tests.counters.rig import BEGIN, rules
from tests.support.machine import open_files

ONE = Estimate(1, 0)
DAYS = SORTS[1].windows * SORTS[1].segments
"""How many windows of a day there may be."""


class Clock:
    def __init__(self) -> None:
        self.now: float = BEGIN

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counters"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def day_of(number: int, limit: int = 100) -> tuple[Rule, ...]:
    return rules(credential=Limits(tokens_per_day=limit), credential_id=f"{number:016}")


async def test_nobody_else_may_read_it(path: Path) -> None:
    await MemoryCounters(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_windows_that_are_empty_are_used_for_others(path: Path) -> None:
    clock = Clock()
    counters = MemoryCounters(path, clock)
    for number in range(DAYS):
        assert counters.admit(day_of(number), ONE).blocked_by is None
    size = path.stat().st_size
    clock.now += 86_460
    for number in range(DAYS, 2 * DAYS):
        assert counters.admit(day_of(number), ONE).blocked_by is None
    assert path.stat().st_size == size
    assert counters.evicted == 0
    assert counters.levels(day_of(DAYS)) == counters.levels(day_of(2 * DAYS - 1)) == [1]
    assert counters.levels(day_of(DAYS - 1)) == [0]
    await counters.close()


async def test_when_there_are_too_many_the_emptiest_are_forgotten(path: Path) -> None:
    counters = MemoryCounters(path, Clock())
    for number in range(DAYS):
        counters.admit(day_of(number), Estimate(90 if number % 50 == 0 else 2, 0))
    for number in range(DAYS, DAYS + 200):
        assert counters.admit(day_of(number), Estimate(60, 0)).blocked_by is None
    assert counters.evicted == 200
    assert all(counters.admit(day_of(number), Estimate(11, 0)).blocked_by for number in range(0, DAYS, 50))
    await counters.close()


async def test_windows_of_one_request_do_not_push_each_other_out(path: Path) -> None:
    limits = Limits(tokens_per_day=100, spend_per_day_nanos=100)
    both = rules(limits, limits, limits)
    counters = MemoryCounters(path, Clock())
    with largest_file(path.stat().st_size):
        counters.admit(rules(limits), Estimate(1, 1))  # the emptiest
        for number in range(SORTS[1].windows - 2):
            counters.admit(day_of(number), Estimate(50, 0))
        assert counters.admit(both, Estimate(5, 7)).blocked_by is None
        assert counters.levels(both) == [6, 5, 5, 8, 7, 7]
    await counters.close()


async def test_a_window_given_to_another_key_is_not_mistaken_for_its_own(path: Path) -> None:
    here, there = MemoryCounters(path, Clock()), MemoryCounters(path, Clock())
    with largest_file(path.stat().st_size):
        admission = here.admit(day_of(0), Estimate(1, 0))
        for number in range(1, SORTS[1].windows + 1):
            there.admit(day_of(number), Estimate(50, 0))
        assert there.evicted == 1
        last = day_of(SORTS[1].windows)
        here.settle(admission, 0, None, final=True)
        assert here.levels(day_of(0)) == [0]
        assert here.admit(day_of(0), Estimate(30, 0)).blocked_by is None
        assert there.levels(last) == [50]
    await here.close()
    await there.close()


async def test_nor_is_it_by_the_process_that_gave_it_away(path: Path) -> None:
    counters = MemoryCounters(path, Clock())
    first, last = day_of(0), day_of(SORTS[1].windows)
    with largest_file(path.stat().st_size):
        counters.admit(first, Estimate(1, 0))
        for number in range(1, SORTS[1].windows):
            counters.admit(day_of(number), Estimate(50, 0))
        counters.admit(last, Estimate(50, 0))
        assert counters.evicted == 1
        assert counters.levels(first) == [0]
        assert counters.admit(first, Estimate(30, 0)).blocked_by is None
        assert counters.levels(last) == [50]
    await counters.close()


async def test_an_open_request_whose_window_is_gone_takes_nothing_from_another(path: Path) -> None:
    counters = MemoryCounters(path, Clock())
    some = [
        rules(credential=Limits(concurrent_requests=9), credential_id=f"{number:016}")
        for number in range(SORTS[2].windows + 1)
    ]
    with largest_file(path.stat().st_size):
        admissions = [counters.admit(rule, ONE) for rule in some]
        assert counters.evicted == 1
        for admission in admissions:
            counters.settle(admission, 1, 1, final=True)
        assert [level for rule in some for level in counters.levels(rule) if level] == []
    await counters.close()


async def test_a_full_disk_makes_room_among_what_there_is(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counters = MemoryCounters(path, Clock())
    with largest_file(path.stat().st_size):
        for number in range(SORTS[1].windows + 5):
            assert counters.admit(day_of(number), ONE).blocked_by is None
    assert counters.evicted == 5
    assert "no room for more counters: File too large" in caplog.messages
    await counters.close()


def test_a_disk_that_was_full_at_the_start_is_an_error(path: Path) -> None:
    with largest_file(4096), pytest.raises(OSError, match="File too large"):
        MemoryCounters(path)


@pytest.mark.parametrize("damage", ["short", "empty", "garbage", "bad segment", "bad sort", "no file"])
async def test_a_damaged_file_is_begun_anew(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    counters = MemoryCounters(path, Clock())
    counters.admit(day_of(0), Estimate(70, 0))
    await counters.close()
    whole = path.read_bytes()
    if damage == "no file":
        path.unlink()
    else:
        damaged = {
            "short": whole[:-1],
            "empty": b"",
            "garbage": os.urandom(len(whole)),
            "bad segment": whole[:8] + b"\xff" + whole[9:],
            "bad sort": whole[: 64 * 1024] + b"\xff" + whole[64 * 1024 + 1 :],
        }
        path.write_bytes(damaged[damage])
    counters = MemoryCounters(path, Clock())
    assert counters.levels(day_of(0)) == [0]
    assert counters.admit(day_of(0), Estimate(100, 0)).blocked_by is None
    told = "the file of the counters can't be used; beginning anew" in caplog.messages
    assert told == (damage not in ("empty", "no file"))
    await counters.close()


async def test_versions_that_count_differently_do_not_count_together(path: Path) -> None:
    counters = MemoryCounters(path)
    with path.open("r+b") as file:
        file.write(b"another ")
    with pytest.raises(OSError, match="another version"):
        MemoryCounters(path)
    await counters.close()
    await MemoryCounters(path).close()


async def test_the_clock_may_have_gone_back_while_nobody_counted(path: Path) -> None:
    clock = Clock()
    tokens = rules(Limits(tokens_per_minute=100))
    counters = MemoryCounters(path, clock)
    counters.admit(tokens, Estimate(100, 0))
    await counters.close()
    clock.now -= 3600
    counters = MemoryCounters(path, clock)
    assert counters.admit(tokens, Estimate(1, 0)).retry_after == 61
    clock.now += 61
    assert counters.admit(tokens, Estimate(100, 0)).blocked_by is None
    await counters.close()


async def test_the_clock_may_have_jumped_and_come_back(path: Path) -> None:
    clock = Clock()
    tokens = rules(Limits(tokens_per_minute=100))
    counters = MemoryCounters(path, clock)
    clock.now += 10**9
    counters.admit(tokens, Estimate(100, 0))
    clock.now -= 10**9
    assert counters.admit(tokens, Estimate(1, 0)).retry_after == 61
    clock.now += 61
    assert counters.admit(tokens, Estimate(100, 0)).blocked_by is None
    await counters.close()


def test_a_key_is_found_where_keys_begin(path: Path) -> None:
    table = Table(path)
    first, second, third = (f"{name:<8}".encode() for name in ("first", "second", "third"))
    rule = day_of(0)[0]

    def keyed(key: bytes) -> Rule:
        return Rule(**{name: getattr(rule, name) for name in rule.__struct_fields__} | {"key": key})

    places = [table.take(keyed(key), BEGIN, ())[0] for key in (first + second, third + first)]
    assert table.find(keyed(second + third)) is None
    wanted = table.take(keyed(second + third), BEGIN, ())[0]
    found = table.find(keyed(second + third))
    assert found
    assert found[0] == wanted
    assert wanted not in places
    table.close()


def test_no_two_processes_have_one_slot(path: Path) -> None:
    with open_files(SLOTS + 500):
        files = [os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(SLOTS + 1)]
        slots = [Slots(file) for file in files]
        assert not slots[0].any_held()
        assert [each.claim() for each in slots[:-1]] == list(range(SLOTS))
        with pytest.raises(BlockingIOError):
            slots[-1].claim()
        assert slots[0].is_held(7)
        assert not slots[7].is_held(7)  # its own
        os.close(files.pop(7))
        assert not slots[0].is_held(7)
        assert slots[-1].claim() == 7
        for file in files:
            os.close(file)
