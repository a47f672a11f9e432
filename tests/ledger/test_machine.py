"""The spool of a machine is one, whoever of its processes writes to it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.config import load
from gateway.ledger import spool_folder
from gateway.machine import open_ledger
from tests.support.spool import finished
from tests.support.usage import usage_record

CONFIGURATION = """
[server]
workers = {workers}
[store]
url = "sqlite:///{folder}/gateway.db"
[ledger]
spool_bytes = 1_000_000
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
