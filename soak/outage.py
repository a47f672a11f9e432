"""The store is away for ten minutes at 500 requests a second: what waits, and whether all of it arrives.

    .venv/bin/python -m soak.outage [--records 300000]

Ten minutes are not waited for: as many records go through a process's ledger into its spool as fast as it
takes them, while a real PostgreSQL is stopped. Then that is started, and the shipper does its work.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from gateway.config.schema import Ledger as LedgerSettings
from gateway.ledger import Ledger, Shipper
from gateway.ledger.segments import listed
from gateway.stores import Store, open_store
from gateway.stores.postgres_schema import SCHEMA
from gateway.usage_record import UsageRecord
from tests.support.eventually import eventually
from tests.support.postgres_server import PostgresServer
from tests.support.usage import usage_record

SECONDS = 600
RATE = 500
_AT_ONCE = 100
_HELD_BYTES = 1024 * 1024
"""How much may wait in memory, for the ledger writes ten times a second, and time is short here."""
_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Outcome:
    """What came of it. Times are in seconds."""

    records: int
    waiting: int
    """Records that were in the spool when the store came back."""
    spool_bytes: int
    files: int
    spooling: float
    """How long it took to have them there."""
    shipping: float
    """From the store's return to the last record's arrival."""
    stored: int
    in_order: bool
    """The store got them in the order in which they ended."""
    tokens: int
    """In the store's own sums."""
    lost: int

    @property
    def wrong(self) -> list[str]:
        """What must not be."""
        found = {
            "records are lost": self.lost > 0,
            "not all waited": self.waiting != self.records,
            "not all arrived, or some twice": self.stored != self.records,
            "they arrived in another order": not self.in_order,
            "the sums are others": self.tokens != 128 * self.records,
            "they would not fit into the spool": self.spool_bytes > LedgerSettings().spool_bytes,
        }
        return [text for text, is_so in found.items() if is_so]


def record(number: int, project: str) -> UsageRecord:
    """One of `RATE` a second, with a value in nearly every field."""
    return usage_record(
        request_id=f"{number:032x}",
        time=1_772_366_400.0 + number / RATE,
        client_request_id=f"0b6e2c53-9f0b-4c8c-9d1c-{number:012x}",
        project=project,
        action="streamGenerateContent",
        model_version="gemini-3.5-flash-preview-05-20",
        modalities={"prompt": {"TEXT": 100}, "cached": {"TEXT": 40}, "candidates": {"TEXT": 20}},
        traffic_type="ON_DEMAND",
        first_byte_ms=431.257,
        duration_ms=2212.031,
        request_bytes=4812,
        response_bytes=10241,
    )


async def run(server: PostgresServer, folder: Path, records: int) -> Outcome:
    """Over that server, whose database is empty, with the spool in the folder. The server runs afterwards."""
    store = await open_store(await server.empty_database(), server.password)
    shipper = Shipper(folder, store, retention_days=36500)
    shipper.start()
    try:
        project = (await store.projects())[0].id
        server.stop()
        begin = time.monotonic()
        ledger = Ledger(folder, LedgerSettings().spool_bytes)
        for number in range(records):
            ledger.add(record(number, project))
            if number % _AT_ONCE == 0:
                await eventually("there is room in memory", lambda: ledger.held_bytes < _HELD_BYTES)
        await ledger.close()
        spooling = time.monotonic() - begin
        size, waiting = shipper.backlog.look()
        files = len(listed(folder))
        server.start()
        begin = time.monotonic()
        await eventually("all is shipped", lambda: not listed(folder), _PATIENCE_SECONDS)
        shipping = time.monotonic() - begin
        stored, in_order = await _arrived(server)
        return Outcome(
            records=records,
            waiting=waiting,
            spool_bytes=size,
            files=files,
            spooling=spooling,
            shipping=shipping,
            stored=stored,
            in_order=in_order,
            tokens=await _tokens(store, project),
            lost=ledger.lost + shipper.lost,
        )
    finally:
        await shipper.close()
        await store.close()


async def _arrived(server: PostgresServer) -> tuple[int, bool]:
    """How many records there are, and whether they lie in the table as they were numbered."""
    connection = await server.connect()
    try:
        await connection.execute(f"SET search_path TO {SCHEMA}")
        rows = await connection.fetch("SELECT request_id FROM usage_records ORDER BY ctid")
    finally:
        await connection.close()
    found = [row[0] for row in rows]
    return len(found), found == sorted(found)


async def _tokens(store: Store, project: str) -> int:
    return sum(one.total_tokens for one in await store.usage(project, 0, 2e9))


def main() -> int:
    """0 when nothing was lost or out of order."""
    parser = argparse.ArgumentParser(prog="python -m soak.outage", description=__doc__)
    parser.add_argument(
        "--records", type=int, default=SECONDS * RATE, metavar="N", help="default: %(default)d"
    )
    records = parser.parse_args().records
    server = PostgresServer()
    try:
        with tempfile.TemporaryDirectory(prefix="gateway-outage-") as folder:
            outcome = asyncio.run(run(server, Path(folder) / "spool", records))
    finally:
        server.remove()
    limit = LedgerSettings().spool_bytes
    print(f"records                  {outcome.records:,}")
    print(f"in the spool             {outcome.waiting:,} in {outcome.files} files")
    print(f"bytes                    {outcome.spool_bytes:,}, {outcome.spool_bytes / limit:.0%} of {limit:,}")
    print(f"into the spool within    {outcome.spooling:.1f} s")
    print(f"out of the spool within  {outcome.shipping:.1f} s, {records / outcome.shipping:,.0f} a second")
    print(f"in the store             {outcome.stored:,}")
    for line in outcome.wrong:
        print(f"WRONG: {line}")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
