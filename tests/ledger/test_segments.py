"""The spool's files: finished when they can be locked, never lost between two processes' hands."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gateway.ledger.segments import Segment, claimed, listed, read_lines
from gateway.ledger.spool import SEGMENT_BYTES, SEGMENT_SECONDS, Spool
from tests.counters.test_memory import largest_file
from tests.support.identity import Clock

LINE = b'{"a":1}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that is there."""
    return tmp_path


def content(path: Path) -> bytes | None:
    """Of a finished file."""
    with claimed(path) as descriptor:
        return None if descriptor is None else read_lines(descriptor)


def test_a_file_is_nobodys_until_it_is_closed(folder: Path) -> None:
    segment = Segment.create(folder)
    assert segment.write(LINE) == len(LINE)
    ((path, size),) = listed(folder)
    assert (size, segment.size) == (len(LINE), len(LINE))
    assert path.stat().st_mode & 0o777 == 0o600
    assert content(path) is None
    segment.close()
    assert content(path) == LINE


def test_a_file_is_one_readers_at_a_time(folder: Path) -> None:
    Segment.create(folder).close()
    ((path, _),) = listed(folder)
    with claimed(path) as first:
        assert first is not None
        assert content(path) is None
        path.unlink()
    assert content(path) is None


@pytest.mark.parametrize("torn", [b"", b"{", b'{"a":1}', b'{"a":' + b"1" * 100_000])
def test_a_last_line_that_is_torn_is_not_there(folder: Path, torn: bytes) -> None:
    path = folder / "1.jsonl"
    path.write_bytes(LINE * 3 + torn)
    assert content(path) == LINE * 3
    path.write_bytes(torn)
    assert content(path) == b""


def test_later_files_sort_behind_earlier_ones_and_other_files_are_let_be(folder: Path) -> None:
    (folder / "README").write_text("not ours")
    for number in range(20):
        segment = Segment.create(folder)
        segment.write(b"%d\n" % number)
        segment.close()
    assert [content(path) for path, _ in listed(folder)] == [b"%d\n" % number for number in range(20)]


def test_nothing_is_lost_to_a_reader_that_is_always_there(folder: Path) -> None:
    """It finds files between their making and their locking, and deletes them as finished."""
    found: list[bytes] = []
    ended = threading.Event()

    def read() -> None:
        last = False
        while not last:
            last = ended.is_set()
            for path, _ in listed(folder):
                with claimed(path) as descriptor:
                    if descriptor is not None:
                        found.append(read_lines(descriptor))
                        path.unlink()

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(2000):
        segment = Segment.create(folder)
        segment.write(b"%d\n" % number)
        segment.close()
    ended.set()
    for reader in readers:
        reader.join()
    assert sorted(line for line in found if line) == sorted(b"%d\n" % number for number in range(2000))


def files(folder: Path) -> list[bytes | None]:
    return [content(path) for path, _ in listed(folder)]


def test_a_spool_begins_a_new_file_after_a_second(folder: Path) -> None:
    clock = Clock()
    spool = Spool(folder / "new", 10**6, clock)
    assert spool.rotate() is None
    assert spool.write(LINE) == (len(LINE), None)
    clock.now += SEGMENT_SECONDS / 4
    assert spool.rotate() == SEGMENT_SECONDS * 3 / 4
    spool.write(LINE)
    assert files(folder / "new") == [None]
    clock.now += SEGMENT_SECONDS
    assert spool.rotate() is None
    assert files(folder / "new") == [LINE * 2]
    spool.write(LINE)
    clock.now += SEGMENT_SECONDS
    spool.write(LINE)
    assert files(folder / "new") == [LINE * 2, LINE, None]
    spool.close()
    assert files(folder / "new") == [LINE * 2, LINE, LINE]


def test_a_spool_begins_a_new_file_when_one_is_large(folder: Path) -> None:
    spool = Spool(folder, 10**9, Clock())
    large = b"x" * (SEGMENT_BYTES - 1) + b"\n"
    for _ in range(3):
        spool.write(large)
    assert [len(lines) if lines else None for lines in files(folder)] == [SEGMENT_BYTES] * 2 + [None]
    spool.close()


def test_files_that_wait_make_the_next_ones_longer(folder: Path) -> None:
    for _ in range(500):
        Segment.create(folder).close()
    spool = Spool(folder, 10**6, Clock())
    spool.write(LINE)
    left = spool.rotate()
    assert left is not None
    assert 4.9 < left < 5.1
    spool.close()


def test_a_spool_takes_no_more_than_its_limit_and_goes_on_when_there_is_room(folder: Path) -> None:
    clock = Clock()
    spool = Spool(folder, 100, clock)
    other = Spool(folder, 100, clock)
    assert spool.write(LINE * 20) == (160, None)  # what is begun is finished
    done, error = other.write(LINE)
    assert (done, error and error.strerror) == (0, "100 bytes wait in it already")
    clock.now += SEGMENT_SECONDS
    done, error = spool.write(LINE)
    assert (done, error and error.strerror) == (0, "100 bytes wait in it already")
    listed(folder)[0][0].unlink()
    assert other.write(LINE) == (8, None)
    assert spool.write(LINE) == (8, None)
    for each in (spool, other):
        each.close()


def test_a_line_that_was_cut_off_is_written_again_in_another_file(folder: Path) -> None:
    lines = b"".join(b'{"number":%03d}\n' % number for number in range(20))
    size = len(lines) // 20
    spool = Spool(folder, 10**6, Clock())
    with largest_file(10 * size + 3):
        done, error = spool.write(lines)
        assert (done, error and error.strerror) == (10 * size, "File too large")
    assert spool.write(lines[done:]) == (10 * size, None)
    spool.close()
    assert files(folder) == [lines[:done], lines[done:]]
