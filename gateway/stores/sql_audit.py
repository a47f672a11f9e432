"""The audit trail in SQL: written in the transaction of the change that it tells of."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from gateway.errors import printable
from gateway.stores.database import Change, Database, Row
from gateway.stores.rows import AuditEntry

_INSERT = (
    "INSERT INTO audit_trail (time, actor, action, project_id, subject, details) "
    "VALUES ($1, $2, $3, $4, $5, $6)"
)
_ENTRIES = (
    "SELECT number, time, actor, action, project_id, subject, details FROM audit_trail WHERE number < $1"
)
_LARGEST = 2**63 - 1


async def record(
    change: Change, actor: str, action: str, project_id: str, subject: str, **details: object
) -> None:
    """Say what this change does. The details are plain JSON values, and no secret."""
    text = msgspec.json.encode(details).decode()
    await change.run(_INSERT, int(time.time()), printable(actor), action, project_id, subject, text)


async def entries(
    database: Database, project_id: str | None, before: int | None, most: int
) -> Sequence[AuditEntry]:
    """Those with numbers below `before`, the newest first; of all projects without an id."""
    first = _LARGEST if before is None else before
    if project_id is None:
        found = await database.report(f"{_ENTRIES} ORDER BY number DESC LIMIT $2", first, most)
    else:
        query = f"{_ENTRIES} AND project_id = $2 ORDER BY number DESC LIMIT $3"
        found = await database.report(query, first, project_id, most)
    return [_entry(row) for row in found]


def _entry(row: Row) -> AuditEntry:
    number, when, actor, action, project_id, subject, details = row
    return AuditEntry(number, when, actor, action, project_id, subject, msgspec.json.decode(details))
