"""What a shipper's round that came to no end leaves behind: no file held, and nothing counted."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from gateway.errors import StoreUnavailable
from gateway.ledger import Shipper
from gateway.ledger.segments import claimed, listed
from gateway.stores import Store
from tests.ledger.test_shipper import spooled
from tests.support.eventually import eventually
from tests.support.store_wrappers import WatchedStore, broken
from tests.support.usage import usage_record


async def test_nobody_holds_a_file_when_a_cancelled_round_has_ended(store: Store, folder: Path) -> None:
    """Its thread can't be cancelled, and what it holds would pass for a file that is being written."""
    await spooled(folder, 300)
    ((path, _),) = listed(folder)
    slow = folder / "9.jsonl"
    os.mkfifo(slow)
    shipper = Shipper(folder, store, retention_days=90)
    task = asyncio.create_task(shipper.ship())
    free: list[bool] = []
    task.add_done_callback(lambda _: free.append(can_be_claimed(path)))
    disk = await slow_disk(slow)
    task.cancel()
    await asyncio.wait((task,), timeout=0.1)
    os.close(disk)
    await asyncio.wait((task,))
    slow.unlink()
    assert (task.cancelled(), free) == (True, [True])
    await shipper.ship()
    assert (shipper.shipped, listed(folder)) == (300, [])


def can_be_claimed(path: Path) -> bool:
    with claimed(path) as descriptor:
        return descriptor is not None


async def slow_disk(path: Path) -> int:
    """A reader of this file has nothing to read until what is returned is closed. It reads already."""
    found: list[int] = []

    def opened() -> bool:
        with suppress(OSError):  # ENXIO: nobody reads it yet
            found.append(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        return bool(found)

    await eventually("the file is being read", opened)
    return found[0]


async def test_what_is_lost_counts_once_however_often_the_store_breaks(
    store: Store, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await spooled(folder, 4)
    unfit = usage_record(total_tokens=-1)
    (folder / "9.jsonl").write_bytes(msgspec.json.encode(unfit) + b"\nno record\n")
    watched = WatchedStore(store)
    watched.after = broken
    shipper = Shipper(folder, watched, retention_days=90)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="no answer"):
            await shipper.ship()
        assert (shipper.lost, caplog.records) == (0, [])
    watched.after = lambda: None
    await shipper.ship()
    assert (shipper.lost, len(caplog.records), listed(folder)) == (2, 2, [])
