"""What is in the spool comes into the store, each record once, whatever the store does meanwhile."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec
import pytest

from gateway.errors import StoreUnavailable
from gateway.ledger import Ledger, Shipper
from gateway.ledger.segments import listed
from gateway.ledger.shipper import CLOSE_SECONDS, UsageStore
from gateway.stores import Store
from gateway.stores.sqlite_file import BUSY_SECONDS
from gateway.usage_record import UsageRecord
from tests.stores.conftest import Place
from tests.support.eventually import eventually
from tests.support.postgres_server import PostgresServer
from tests.support.spool import finished
from tests.support.store_wrappers import WatchedStore, broken
from tests.support.usage import DAY, NOON, summed, usage_record

ROOM = 10**9


@asynccontextmanager
async def shipping(folder: Path, store: UsageStore, *, now: float = NOON) -> AsyncIterator[Shipper]:
    shipper = Shipper(folder, store, retention_days=90, clock=lambda: now)
    shipper.start()
    try:
        yield shipper
    finally:
        await shipper.close()


async def spooled(folder: Path, count: int, *, files: int = 1, project: str = "p") -> list[UsageRecord]:
    """So many records in as many files of processes that have ended."""
    records = [usage_record(project=project) for _ in range(count)]
    for number in range(files):
        ledger = Ledger(folder, ROOM)
        for record in records[number::files]:
            ledger.add(record)
        await ledger.close()
    return records


async def project_id(store: Store) -> str:
    return (await store.projects())[0].id


async def test_all_that_is_spooled_comes_into_the_store(store: Store, folder: Path) -> None:
    project = await project_id(store)
    records = await spooled(folder, 2500, files=7, project=project)
    async with shipping(folder, store) as shipper:
        await eventually("the spool is empty", lambda: not listed(folder))
        ledger = Ledger(folder, ROOM)
        records.append(usage_record(project=project))
        ledger.add(records[-1])
        await eventually("another file came into the store", lambda: shipper.shipped == 2501)
        await ledger.close()
    assert await store.usage("default", 0, NOON * 2) == summed(records)
    assert (shipper.lost, listed(folder)) == (0, [])


async def test_files_go_in_in_their_order_and_in_large_batches(store: Store, folder: Path) -> None:
    watched = WatchedStore(store)
    records = []
    for _ in range(30):
        records += await spooled(folder, 100)
    async with shipping(folder, watched) as shipper:
        await eventually("all is shipped", lambda: shipper.shipped == 3000)
    assert [record for batch in watched.batches for record in batch] == records
    assert [len(batch) for batch in watched.batches] == [1000, 1000, 1000]


async def test_closing_takes_what_came_last(store: Store, folder: Path) -> None:
    async with shipping(folder, store) as shipper:
        await spooled(folder, 50)
    assert (shipper.shipped, listed(folder)) == (50, [])


async def test_a_file_under_way_is_left_alone(store: Store, folder: Path) -> None:
    ledger = Ledger(folder, ROOM)
    ledger.add(usage_record())
    await eventually("the file is begun", lambda: bool(folder.exists() and listed(folder)))
    shipper = Shipper(folder, store, retention_days=90)
    await shipper.ship()
    assert (shipper.shipped, len(listed(folder))) == (0, 1)
    await ledger.close()
    await shipper.ship()
    assert (shipper.shipped, listed(folder)) == (1, [])


async def test_while_the_store_breaks_records_wait_and_then_go_in_once_in_order(
    store: Store, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    watched = WatchedStore(store)
    watched.before = broken
    records = []
    for _ in range(3):
        records += await spooled(folder, 700)
    async with shipping(folder, watched) as shipper:
        await eventually("the trouble is told", lambda: len(caplog.records) == 1)
        size, count = shipper.backlog.look()
        assert (count, shipper.away) == (2100, True)
        assert size > 2100 * 400
        taken = []

        def unheard() -> None:
            taken.append(True)
            broken()

        watched.before, watched.after = lambda: None, unheard
        await eventually("the first are in the store, and nobody hears of it", lambda: bool(taken))
        watched.after = lambda: None
        await eventually("the spool is empty", lambda: not listed(folder))
        await eventually("all is well", lambda: not shipper.away)
        assert shipper.backlog.look() == (0, 0)
    assert [record for batch in watched.batches for record in batch] == records
    assert (await store.usage(await project_id(store), 0, NOON * 2)) == []
    assert [record.getMessage() for record in caplog.records] == [
        "usage waits on disk: no answer",
        "usage goes into the store again",
    ]


async def test_what_the_store_took_without_saying_so_counts_once(store: Store, folder: Path) -> None:
    project = await project_id(store)
    watched = WatchedStore(store)
    watched.after = broken
    records = await spooled(folder, 500, project=project)
    shipper = Shipper(folder, watched, retention_days=90)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="no answer"):
            await shipper.ship()
    assert len(listed(folder)) == 1
    watched.after = lambda: None
    await shipper.ship()
    assert listed(folder) == []
    assert await store.usage(project, 0, NOON * 2) == summed(records)


async def test_a_locked_sqlite_file_keeps_records_waiting(tmp_path: Path, folder: Path) -> None:
    place = Place.sqlite(tmp_path / "gateway.db")
    store = await place.open()
    await spooled(folder, 300)
    with closing(sqlite3.connect(place.url.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        shipper = Shipper(folder, store, retention_days=90)
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            await asyncio.wait_for(shipper.ship(), BUSY_SECONDS * 4)
        assert len(finished(folder)) == 300
        other.execute("COMMIT")
    await shipper.ship()
    assert shipper.shipped == 300
    await store.close()


async def test_a_postgresql_server_that_is_down_keeps_records_waiting(
    postgres: Callable[[], PostgresServer], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = postgres()
    store = await Place(await server.empty_database(), server.password).open()
    project = await project_id(store)
    async with shipping(folder, store) as shipper:
        records = await spooled(folder, 300, project=project)
        await eventually("the first are shipped", lambda: shipper.shipped == 300)
        server.stop()
        records += await spooled(folder, 300, files=3, project=project)
        await eventually("the trouble is told", lambda: len(caplog.records) == 1)
        assert shipper.shipped == 300
        server.start()
        await eventually("the others are shipped", lambda: shipper.shipped == 600)
    assert await store.usage("default", 0, NOON * 2) == summed(records)
    await store.close()


async def test_closing_while_the_store_is_away_ends_in_time_and_loses_nothing(
    store: Store, folder: Path
) -> None:
    watched = WatchedStore(store)
    watched.before = broken
    await spooled(folder, 300)
    async with asyncio.timeout(CLOSE_SECONDS + 1):
        async with shipping(folder, watched):
            pass
    assert len(finished(folder)) == 300
    async with shipping(folder, store) as shipper:
        pass
    assert (shipper.shipped, listed(folder)) == (300, [])


async def test_what_is_no_record_or_cannot_be_kept_is_lost_alone(
    store: Store, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = await spooled(folder, 400)
    encode = msgspec.json.encode
    unfit = [usage_record(total_tokens=-1), usage_record(model_version="a\0"), usage_record(cost_nanos=2**63)]
    lines = [*map(encode, unfit), b"{}", b"", b"\xff\xfe", b'{"request_id": "x', b"\0" * 100, b"[" * 10_000]
    good = [encode(usage_record()) for _ in range(90)]
    mixed = [
        line for n, line in enumerate(good) for line in ((line, lines[n // 10]) if n % 10 == 5 else (line,))
    ]
    (folder / "9.jsonl").write_bytes(b"\n".join(mixed) + b"\n" + encode(usage_record()))
    async with shipping(folder, store) as shipper:
        await eventually("the spool is empty", lambda: not listed(folder))
    assert (shipper.shipped, shipper.lost) == (len(records) + 90, 9)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 9
    assert told.count("usage of one attempt is lost: a line of the spool is no record") == 6
    assert any(unfit[0].request_id in line for line in told)


async def test_a_file_that_cannot_be_read_keeps_no_other_waiting(
    store: Store, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "0.jsonl").mkdir(parents=True)
    await spooled(folder, 10)
    shipper = Shipper(folder, store, retention_days=90)
    for _ in range(3):
        await shipper.ship()
    assert shipper.shipped == 10
    assert [record.getMessage() for record in caplog.records] == [
        f"usage can't be read from {folder}/0.jsonl: Is a directory"
    ]


async def test_two_shippers_count_each_record_once(place: Place, folder: Path) -> None:
    stores = [await place.open() for _ in range(2)]
    project = await project_id(stores[0])
    records = await spooled(folder, 3000, files=40, project=project)
    async with shipping(folder, stores[0]) as first, shipping(folder, stores[1]) as second:
        await eventually("the spool is empty", lambda: not listed(folder))
    assert first.shipped + second.shipped == 3000
    assert await stores[0].usage(project, 0, NOON * 2) == summed(records)
    for store in stores:
        await store.close()


async def test_old_records_are_dropped_from_the_store_and_their_sums_stay(store: Store, folder: Path) -> None:
    project = await project_id(store)
    old, recent = (
        [usage_record(project=project, time=NOON - age * DAY) for _ in range(7000)] for age in (91, 89)
    )
    await store.add_usage(old)
    await store.add_usage(recent)
    async with shipping(folder, store, now=NOON):
        left: list[int] = []
        async with asyncio.timeout(20):
            while left != [0]:  # asked of the edge of a day, which only records can answer
                sums = await store.usage(project, NOON - 91 * DAY - 1, NOON - 91 * DAY + 1)
                left = [group.attempts for group in sums] or [0]
    assert await store.usage(project, NOON - 89 * DAY - 1, NOON - 89 * DAY + 1) == summed(recent)
    assert await store.usage(project, 0, NOON * 2) == summed([*old, *recent])
