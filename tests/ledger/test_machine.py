"""The spool of a machine is one, whoever of its processes writes to it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from gateway.config import load
from gateway.ledger import spool_folder
from gateway.machine import open_ledger, ship
from gateway.stores import open_store
from tests.support.eventually import eventually
from tests.support.spool import finished
from tests.support.usage import DAY, usage_record

DAYS = 7
"""For which records are kept."""
CONFIGURATION = """
[server]
workers = {workers}
[store]
url = "sqlite:///{folder}/gateway.db"
[ledger]
spool_bytes = 1_000_000
retention_days = 7
[[upstreams]]
name = "simulated"
kind = "simulated"
"""


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize(("waiting", "lost"), [(999_999, 0), (1_000_000, 1)])
async def test_as_much_may_wait_with_several_workers_as_with_one(
    tmp_path: Path, workers: int, waiting: int, lost: int
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIGURATION.format(workers=workers, folder=tmp_path))
    config = load(path, {})
    spool = spool_folder(config.store.state_dir)
    spool.mkdir(parents=True)
    (spool / "0.jsonl").write_bytes(b" " * waiting)
    async with AsyncExitStack() as stack:
        ledger = open_ledger(config, stack)
        ledger.add(usage_record())
    assert ledger.lost == lost
    (spool / "0.jsonl").unlink()
    assert len(finished(spool)) == 1 - lost


async def test_records_are_dropped_when_they_are_as_old_as_is_set(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIGURATION.format(workers=1, folder=tmp_path))
    config = load(path, {})
    now = time.time()
    ages = {"an-hour-too-old": DAYS * DAY + 3600, "an-hour-left": DAYS * DAY - 3600}
    async with AsyncExitStack() as stack:
        store = await open_store(config.store.url)
        stack.push_async_callback(store.close)
        await store.add_usage([usage_record(request_id=name, time=now - age) for name, age in ages.items()])
        ship(config, store, stack)
        await eventually("one is dropped", lambda: kept(tmp_path) == ["an-hour-left"])


def kept(folder: Path) -> list[str]:
    """The request ids of all records."""
    with closing(sqlite3.connect(folder / "gateway.db")) as connection:
        return [row[0] for row in connection.execute("SELECT request_id FROM usage_records ORDER BY time")]
