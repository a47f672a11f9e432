"""Limits in SQL: a row for each project, branch or credential with any, and a version for those who poll."""

from __future__ import annotations

import msgspec
from msgspec import structs

from gateway.errors import StoreError
from gateway.limits import Level, Limits
from gateway.stores.database import Change, Database, Run
from gateway.stores.rows import LimitsTable

_READ = """
    SELECT requests_per_minute, tokens_per_minute, concurrent_requests, tokens_per_day, spend_per_day_nanos
    FROM limits WHERE level = $1 AND subject = $2
"""
_WRITE = """
    INSERT INTO limits (level, subject, requests_per_minute, tokens_per_minute, concurrent_requests,
        tokens_per_day, spend_per_day_nanos)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (level, subject) DO UPDATE SET requests_per_minute = excluded.requests_per_minute,
        tokens_per_minute = excluded.tokens_per_minute, concurrent_requests = excluded.concurrent_requests,
        tokens_per_day = excluded.tokens_per_day, spend_per_day_nanos = excluded.spend_per_day_nanos
"""
# One statement, so that version and limits are of one moment.
_TABLE = """
    SELECT version, level, subject, requests_per_minute, tokens_per_minute, concurrent_requests,
        tokens_per_day, spend_per_day_nanos
    FROM limits_version LEFT JOIN limits ON true
"""


def check(limits: Limits) -> None:
    """Raise StoreError unless every limit is in its range."""
    try:
        msgspec.convert(structs.asdict(limits), Limits)
    except msgspec.ValidationError as error:
        raise StoreError(f"limits: {error}") from None


async def read(run: Run, level: Level, subject: str) -> Limits:
    """What is set for one; nothing, where nothing was."""
    found = await run(_READ, level.value, subject)
    return Limits(*found[0]) if found else Limits()


async def write(change: Change, level: Level, subject: str, limits: Limits) -> None:
    """Set all of them for one."""
    await change.run("UPDATE limits_version SET version = version + 1")
    if limits == Limits():
        await change.run("DELETE FROM limits WHERE level = $1 AND subject = $2", level.value, subject)
    else:
        await change.run(_WRITE, level.value, subject, *structs.astuple(limits))


async def version(database: Database) -> int:
    """Grows with every `write`."""
    found = await database.look_up("SELECT version FROM limits_version")
    return int(found[0][0])


async def table(database: Database) -> LimitsTable:
    """All that are set."""
    found = await database.look_up(_TABLE)
    limits = {(Level(row[1]), row[2]): Limits(*row[3:]) for row in found if row[1] is not None}
    return LimitsTable(found[0][0], limits)
