"""What was used and what was changed, as an operator asks for it: from the API and on the command line."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gateway import durations
from gateway.admin import schema
from gateway.admin.operation import PROJECT, Call, Operation
from gateway.admin.refusals import Refused
from gateway.admin.schema import AuditQuery, Usage, UsageQuery
from gateway.stores import Store
from gateway.stores.rows import UsageBy, UsageSum
from gateway.usage_record import NANOS

GROUP_FIELDS: Mapping[UsageBy, tuple[str, ...]] = {
    **{by: (by.value,) for by in UsageBy},
    UsageBy.BRANCH: ("branch", "branch_id"),
    UsageBy.CREDENTIAL: ("credential", "credential_name"),
}
"""The fields of `Usage` that name a group."""
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?)?"
)
_LAST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def moment(text: str, now: float) -> float:
    """Seconds since the epoch, from its begin to the year 9999: of `7d` (ago), `2026-11-01` (UTC), or a time
    of RFC 3339. Raises ValueError.
    """
    if ago := durations.seconds(text):
        return max(0.0, now - ago)
    if not _DATE.fullmatch(text):
        raise ValueError(
            "expected a time as 2026-11-01T12:00:00Z, a day as 2026-11-01, or 7d for so long ago"
        )
    found = datetime.fromisoformat(text.upper())
    return min(max(0.0, found.replace(tzinfo=found.tzinfo or UTC).timestamp()), _LAST)


async def usage_of(store: Store, project: str, since: float, until: float, by: UsageBy) -> list[Usage]:
    """The groups' usage with their names beside their ids. Raises StoreError."""
    sums = await store.usage(project, since, until, [by])
    names: Mapping[str, str] = {}
    if by is UsageBy.BRANCH:
        names = {branch.id: branch.name for branch in await store.branches(project)}
    elif by is UsageBy.CREDENTIAL:
        names = {credential.id: credential.name for credential in await store.credentials(project)}
    return [_usage(one, by, names) for one in sums]


def _usage(found: UsageSum, by: UsageBy, names: Mapping[str, str]) -> Usage:
    key = found.group[by]
    values: tuple[Any, ...] = (key,)
    if by is UsageBy.BRANCH:
        values = (names.get(key), key)
    elif by is UsageBy.CREDENTIAL:
        values = (key, names.get(key, ""))
    is_more = found.unknown_usage or found.unpriced
    return Usage(
        **dict(zip(GROUP_FIELDS[by], values, strict=True)),
        requests=found.requests,
        attempts=found.attempts,
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        cached_tokens=found.cached_tokens,
        total_tokens=found.total_tokens,
        cost_usd=found.cost_nanos / NANOS if found.cost_nanos or not is_more else None,
        unknown_usage=found.unknown_usage,
        unpriced=found.unpriced,
    )


async def _show_usage(call: Call[UsageQuery, None]) -> schema.UsageAnswer:
    query, now = call.query, time.time()
    try:
        since = moment(query.since, now)
        until = now if query.until is None else moment(query.until, now)
    except ValueError as error:
        raise Refused(400, "BAD_REQUEST", f"query: since or until: {error}") from None
    return schema.UsageAnswer(usage=await usage_of(call.store, call.path["project"], since, until, query.by))


async def _show_audit(call: Call[AuditQuery, None]) -> schema.AuditAnswer:
    entries = await call.store.audit_trail(
        call.path["project"], before=call.query.before, most=call.query.limit
    )
    return schema.AuditAnswer(
        audit=[
            schema.AuditEntry(
                number=entry.number,
                time=schema.at(entry.time),
                actor=entry.actor,
                action=entry.action,
                project_id=entry.project_id,
                subject=entry.subject,
                details=dict(entry.details),
            )
            for entry in entries
        ]
    )


OPERATIONS = (
    Operation(
        id="getProjectUsage",
        summary="Show what a project used, in groups",
        method="GET",
        path=f"{PROJECT}/usage",
        run=_show_usage,
        query=UsageQuery,
        answer=schema.UsageAnswer,
    ),
    Operation(
        id="getProjectAuditTrail",
        summary="Show who changed what in a project, the newest first",
        method="GET",
        path=f"{PROJECT}/audit",
        run=_show_audit,
        query=AuditQuery,
        answer=schema.AuditAnswer,
    ),
)
