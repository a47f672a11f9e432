"""Whoever is killed, at any moment: little is lost of what was written last, and nothing counts twice."""

from __future__ import annotations

import asyncio
import os
import random
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from gateway.errors import StoreUnavailable
from gateway.ledger import Shipper
from gateway.ledger.segments import Segment, listed
from gateway.stores import Store
from gateway.stores.sql_store import SqlStore
from gateway.usage_record import UsageRecord
from tests.stores.conftest import Place
from tests.support.eventually import eventually
from tests.support.machine import PROJECT
from tests.support.store_wrappers import WatchedStore, broken
from tests.support.usage import NOON, summed, usage_record

LOSS_SECONDS = 0.25
_ADDED = struct.Struct("=qd")

# Adds a thousand records a second, and says of each what its number is and when it was added.
_WRITER = """
import asyncio, os, struct, sys, time
from pathlib import Path
from gateway.ledger import Ledger
from tests.support.usage import usage_record

async def main(folder, project, run):
    ledger, number = Ledger(Path(folder), 10**9), 0
    while True:
        for _ in range(5):
            ledger.add(usage_record(project=project, request_id=f"{run}-{number}", total_tokens=number))
            os.write(1, struct.pack("=qd", number, time.monotonic()))
            number += 1
        await asyncio.sleep(0.005)

asyncio.run(main(*sys.argv[1:]))
"""

# Ships until it is killed.
_SHIPPER = """
import asyncio, os, sys
from pathlib import Path
from gateway.config.values import StoreUrl
from gateway.ledger import Shipper
from gateway.secrets import Secret
from gateway.stores import open_store

async def main(folder, url):
    password = Secret(os.environ["PASSWORD"], "env:PASSWORD") if "PASSWORD" in os.environ else None
    store = await open_store(StoreUrl.parse(url), password)
    Shipper(Path(folder), store, retention_days=90).start()
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


def program(
    source: str, *arguments: object, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """A process of ours that is to be killed."""
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        cwd=PROJECT,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


def killed_after(count: int, process: subprocess.Popen[bytes]) -> list[tuple[int, float]]:
    """Kill a writer when it has added so many: all that it has added, and when."""
    assert process.stdout is not None
    told = process.stdout.read(count * _ADDED.size)
    process.kill()
    told += process.stdout.read()
    process.stdout.close()
    process.wait()
    return list(_ADDED.iter_unpack(told))


async def kept(store: Store) -> set[str]:
    """The request ids of all records."""
    assert isinstance(store, SqlStore)
    return {row[0] for row in await store.database.report("SELECT request_id FROM usage_records")}


async def shipped(folder: Path, store: Store) -> None:
    """All that is in the spool is in the store."""
    await Shipper(folder, store, retention_days=90).ship()
    assert listed(folder) == []


async def test_a_writer_that_is_killed_loses_a_quarter_of_a_second_at_most(
    store: Store, folder: Path
) -> None:
    project = (await store.projects())[0].id
    shipper = Shipper(folder, store, retention_days=90)
    shipper.start()
    rng = random.Random(5)
    added: dict[str, float] = {}
    lost_most = 0.0
    for run in range(6):
        process = program(_WRITER, folder, project, run)
        told = await asyncio.to_thread(killed_after, rng.randint(50, 700), process)
        await eventually("all is shipped", lambda: not listed(folder))
        there = await kept(store)
        lost = [moment for number, moment in told if f"{run}-{number}" not in there]
        if lost:
            lost_most = max(lost_most, told[-1][1] - min(lost))
        added |= {f"{run}-{number}": moment for number, moment in told}
    await shipper.close()
    assert lost_most < LOSS_SECONDS
    there = await kept(store)
    assert len(there - set(added)) <= 6  # one each, added and not told of any more
    (sums,) = await store.usage(project, 0, NOON * 2)
    assert sums.attempts == len(there)
    assert sums.total_tokens == sum(int(request.partition("-")[2]) for request in there)


async def test_a_shipper_that_is_killed_leaves_nothing_out_and_counts_nothing_twice(
    place: Place, store: Store, folder: Path
) -> None:
    project = (await store.projects())[0].id
    environment = {"PASSWORD": place.password.reveal()} if place.password else {}
    rng = random.Random(7)
    records: list[UsageRecord] = []
    for _ in range(5):
        for _ in range(30):
            batch = [usage_record(project=project) for _ in range(100)]
            records += batch
            write(folder, batch)
        process = program(_SHIPPER, folder, place.url, environment=environment)
        enough = rng.randint(0, 29)
        await eventually("some of it is shipped", lambda enough=enough: len(listed(folder)) <= enough)  # type: ignore[misc]
        process.kill()
        process.communicate()
    await shipped(folder, store)
    assert await store.usage(project, 0, NOON * 2) == summed(records)


def write(folder: Path, records: Sequence[UsageRecord], torn: bytes = b"") -> None:
    """A file of a process that ended, in the middle of a line perhaps."""
    folder.mkdir(parents=True, exist_ok=True)
    segment = Segment.create(folder)
    segment.write(msgspec.json.Encoder().encode_lines(records) + torn)
    segment.close()


@pytest.mark.parametrize("seed", range(8))
async def test_each_record_counts_once_however_things_break_off(
    store: Store, folder: Path, seed: int
) -> None:
    rng = random.Random(seed)
    project = (await store.projects())[0].id
    watched = WatchedStore(store)
    shipper = Shipper(folder, watched, retention_days=90)
    records: list[UsageRecord] = []
    for _ in range(60):
        match rng.randrange(5):
            case 0 | 1:
                batch = [usage_record(project=project, attempt=rng.randint(1, 2)) for _ in range(300)]
                line = msgspec.json.encode(usage_record(project=project))
                write(folder, batch, line[: rng.randint(0, len(line))])
                records += batch
            case 2:
                folder.mkdir(parents=True, exist_ok=True)
                task = asyncio.create_task(shipper.ship())
                for _ in range(rng.randint(0, 60)):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            case 3:
                watched.before = broken if rng.random() < 0.5 else lambda: None
                watched.after = broken
                with_nothing_to_do = not folder.exists() or not listed(folder)
                try:
                    await shipper.ship()
                except StoreUnavailable:
                    assert not with_nothing_to_do
                watched.before = watched.after = lambda: None
            case _:
                await shipper.ship()
    await shipped(folder, store)
    assert await store.usage(project, 0, NOON * 2) == summed(records)
    assert shipper.lost == 0
