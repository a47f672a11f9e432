"""What a process has used is on disk before long, whatever the disk does; what is lost is counted."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.ledger import Ledger
from gateway.ledger.segments import listed
from gateway.usage_record import UsageRecord
from tests.support.eventually import eventually
from tests.support.machine import PROJECT, left_out
from tests.support.spool import finished, on_disk
from tests.support.usage import usage_record

ROOM = 10**9


async def test_what_is_added_is_on_disk_before_long_and_finished_after_a_second(folder: Path) -> None:
    ledger = Ledger(folder, ROOM)
    records = [usage_record() for _ in range(100)]
    for record in records:
        ledger.add(record)
    assert on_disk(folder) == 0
    await eventually("all lines are written", lambda: on_disk(folder) == 100)
    await eventually("the file is finished", lambda: finished(folder) == records)
    more = usage_record(model_version="ö")
    ledger.add(more)
    await eventually("another file is finished", lambda: finished(folder) == [*records, more])
    await ledger.close()
    assert (ledger.lost, ledger.full) == (0, False)


async def test_closing_writes_all_in_order(folder: Path) -> None:
    ledger = Ledger(folder, ROOM)
    records = []
    for _ in range(40):
        for _ in range(50):
            records.append(usage_record())
            ledger.add(records[-1])
        await asyncio.sleep(0.005)
    await ledger.close()
    assert finished(folder) == records


async def test_a_ledger_that_was_never_used_leaves_no_trace(folder: Path) -> None:
    await Ledger(folder, ROOM).close()
    assert not folder.exists()


async def test_what_cannot_be_encoded_is_lost_alone(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(folder, ROOM)
    good = [usage_record() for _ in range(100)]
    bad = usage_record(model_version="\ud800")
    for record in (*good[:50], bad, *good[50:]):
        ledger.add(record)
    await ledger.close()
    assert finished(folder) == good
    assert ledger.lost == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"usage of request {bad.request_id} is lost: it can't be encoded"
    ]


async def test_a_full_spool_holds_some_in_memory_then_loses_and_counts(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    folder.mkdir(parents=True)
    (folder / "0.jsonl").write_bytes(b"x" * 1000 + b"\n")
    ledger = Ledger(folder, 1000, held=50_000)
    records = [usage_record() for _ in range(2000)]
    for record in records[:10]:
        ledger.add(record)
    await eventually("the spool is full", lambda: ledger.full)
    for record in records[10:]:
        ledger.add(record)
    assert ledger.lost > 1500
    (folder / "0.jsonl").unlink()
    await eventually("there is room again", lambda: not ledger.full)
    last = usage_record()
    ledger.add(last)
    await ledger.close()
    kept = finished(folder)
    assert kept == [*records[: 2000 - ledger.lost], last]
    assert [record.getMessage() for record in caplog.records] == [
        "usage can't be written to the spool: 1000 bytes wait in it already; it waits in memory, "
        "which holds little",
        "usage is being lost: no more of it fits into memory",
        f"usage is written to the spool again; {ledger.lost} records have been lost by now",
    ]


async def test_what_is_left_at_the_end_is_counted_as_lost(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(parents=True)
    (folder / "0.jsonl").write_bytes(b"x" * 1000)
    ledger = Ledger(folder, 1000)
    for _ in range(70):
        ledger.add(usage_record())
    await ledger.close()
    assert ledger.lost == 70
    assert caplog.records[-1].getMessage() == (
        "usage of 70 attempts is lost: it could not be written at the end"
    )


async def test_a_folder_that_cannot_be_made_is_tried_again(folder: Path) -> None:
    folder.parent.write_text("a file where the folder should be")
    ledger = Ledger(folder, ROOM)
    record = usage_record()
    ledger.add(record)
    await eventually("writing fails", lambda: ledger.full)
    folder.parent.unlink()
    await eventually("writing succeeds", lambda: not ledger.full)
    await ledger.close()
    assert finished(folder) == [record]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    if os.geteuid():
        left_out("only root can mount a small file system")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_a_disk_that_is_full_loses_nothing_that_memory_holds(small_disk: Path) -> None:
    ledger = Ledger(small_disk / "spool", ROOM)
    records = [usage_record() for _ in range(1500)]
    for record in records:
        ledger.add(record)
    await eventually("the disk is full", lambda: ledger.full)
    # A reader makes room time and again; the lines that were cut off are whole in the next files.
    found: list[UsageRecord] = []

    def all_found() -> bool:
        found.extend(finished(small_disk / "spool", delete=True))
        return len(found) == len(records)

    await eventually("all records went through the small disk", all_found)
    await ledger.close()
    assert found == records
    assert ledger.lost == 0


_LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from gateway.ledger import Ledger
from tests.support.eventually import eventually
from tests.support.spool import on_disk
from tests.support.usage import usage_record

async def main() -> None:
    folder = Path(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    ledger = Ledger(folder, 10**9)
    for number in range(300):
        ledger.add(usage_record(total_tokens=number))
    await eventually("all is written", lambda: on_disk(folder) == 300)
    await ledger.close()
    print(ledger.lost)

asyncio.run(main())
"""


def test_files_that_may_not_grow_are_followed_by_others(folder: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(folder)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    assert ran.stdout == b"0\n"
    assert [record.total_tokens for record in finished(folder)] == list(range(300))
    assert max(size for _, size in listed(folder)) <= 50_000
