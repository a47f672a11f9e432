"""What waits in the spool is counted as it grows and goes, to the record, and whole lines only."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.ledger.backlog import Backlog
from gateway.ledger.segments import Segment, count_lines, listed


def test_nothing_waits_where_nothing_was_used(folder: Path) -> None:
    assert Backlog(folder).look() == (0, 0)


def test_files_are_counted_as_they_grow_and_go(folder: Path) -> None:
    folder.mkdir(parents=True)
    backlog = Backlog(folder)
    first = Segment.create(folder)
    first.write(b"1\n2\n")
    assert backlog.look() == (4, 2)
    second = Segment.create(folder)
    second.write(b"3\n4")
    assert backlog.look() == (7, 3)
    second.write(b"4\n")
    first.write(b"5\n")
    assert backlog.look() == (11, 5)
    listed(folder)[0][0].unlink()
    assert backlog.look() == (5, 2)
    listed(folder)[0][0].unlink()
    assert backlog.look() == (0, 0)
    for segment in (first, second):
        segment.close()


def test_long_files_are_counted_whole_and_only_once(folder: Path) -> None:
    folder.mkdir(parents=True)
    path = folder / "0.jsonl"
    path.write_bytes(b"%0999d\n" % 7 * 500)
    backlog = Backlog(folder)
    assert backlog.look() == (500_000, 500)
    with path.open("r+b") as file:  # nobody writes there: whoever reads it again would count it
        file.write(b"\n" * 1000)
    assert backlog.look() == (500_000, 500)
    with path.open("ab") as file:
        file.write(b"x\n" * 100_000)
    assert backlog.look() == (700_000, 100_500)


@pytest.mark.parametrize("line", [b"1\n", b"%099d\n" % 7])
def test_what_a_file_has_grown_by_since_counts_the_next_time(tmp_path: Path, line: bytes) -> None:
    path, size = tmp_path / "0.jsonl", len(line)
    path.write_bytes(line * 70_000)
    assert count_lines(path, 0, 50_000 * size) == 50_000
    assert count_lines(path, 50_000 * size, 70_000 * size) == 20_000
    assert count_lines(path, 70_000 * size, 80_000 * size) == 0  # it is shorter than it was said to be
