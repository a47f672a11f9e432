"""Usage in SQL: a row for each attempt, and the sums of each day, which grow in the same transaction.

The sums are never worked out a second time: they stay when rows are dropped, and nothing counts twice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec

from gateway.errors import StoreError, printable
from gateway.stores.database import Change, Database, Row
from gateway.stores.rows import UsageBy, UsageSum
from gateway.usage_record import UsageRecord, UsageSource

DAY_SECONDS = 86400
MOST = 10**15
"""The largest number that a record may hold: above what any attempt can use, and 9,000 of them add up."""
COLUMNS = {
    "request_id": "text",
    "attempt": "bigint",
    "attempts": "bigint",
    "time": "double precision",
    "day": "bigint",
    "client_request_id": "text",
    "project": "text",
    "branch": "text",
    "credential": "text",
    "model": "text",
    "model_version": "text",
    "upstream": "text",
    "action": "text",
    "status": "bigint",
    "ending": "text",
    "usage_source": "text",
    "prompt_tokens": "bigint",
    "cached_tokens": "bigint",
    "candidates_tokens": "bigint",
    "thoughts_tokens": "bigint",
    "tool_use_prompt_tokens": "bigint",
    "total_tokens": "bigint",
    "modalities": "text",
    "traffic_type": "text",
    "service_tier": "text",
    "cost_nanos": "bigint",
    "unpriced": "text",
    "first_byte_ms": "double precision",
    "duration_ms": "double precision",
    "request_bytes": "bigint",
    "response_bytes": "bigint",
}
"""Of `usage_records`: a record's fields in their order, and its day since the epoch (UTC)."""

_INSERT = " ".join(
    [
        f"INSERT INTO usage_records ({', '.join(COLUMNS)})",
        "{rows}",
        "ON CONFLICT (time, request_id, attempt) DO NOTHING RETURNING request_id, attempt",
    ]
)
_KEY = attrgetter("time", "request_id", "attempt")
_END = 253402300800
"""The end of the year 9999, the last that has a name."""
_AT_ONCE = 200
"""Rows whose values are put together without giving the event loop a turn: half a millisecond."""
_ADD_TO_DAY = """
    INSERT INTO usage_days (day, project, branch, credential, model, upstream, requests, attempts,
        input_tokens, output_tokens, cached_tokens, total_tokens, cost_nanos, unknown_usage, unpriced)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
    ON CONFLICT (project, day, branch, credential, model, upstream) DO UPDATE SET
        requests = usage_days.requests + excluded.requests,
        attempts = usage_days.attempts + excluded.attempts,
        input_tokens = usage_days.input_tokens + excluded.input_tokens,
        output_tokens = usage_days.output_tokens + excluded.output_tokens,
        cached_tokens = usage_days.cached_tokens + excluded.cached_tokens,
        total_tokens = usage_days.total_tokens + excluded.total_tokens,
        cost_nanos = usage_days.cost_nanos + excluded.cost_nanos,
        unknown_usage = usage_days.unknown_usage + excluded.unknown_usage,
        unpriced = usage_days.unpriced + excluded.unpriced
"""
# Whole days from their sums; what is left of the first and the last from the records.
_SUMS = """
    SELECT {groups}
        CAST(sum(requests) AS BIGINT), CAST(sum(attempts) AS BIGINT), CAST(sum(input_tokens) AS BIGINT),
        CAST(sum(output_tokens) AS BIGINT), CAST(sum(cached_tokens) AS BIGINT),
        CAST(sum(total_tokens) AS BIGINT), CAST(sum(cost_nanos) AS BIGINT),
        CAST(sum(unknown_usage) AS BIGINT), CAST(sum(unpriced) AS BIGINT)
    FROM (
        SELECT day, branch, credential, model, upstream, requests, attempts, input_tokens, output_tokens,
            cached_tokens, total_tokens, cost_nanos, unknown_usage, unpriced
        FROM usage_days WHERE project = $1 AND day >= $2 AND day < $3
        UNION ALL
        SELECT day, branch, credential, model, upstream, CASE WHEN attempt = 1 THEN 1 ELSE 0 END, 1,
            coalesce(prompt_tokens, 0) + coalesce(tool_use_prompt_tokens, 0),
            coalesce(candidates_tokens, 0) + coalesce(thoughts_tokens, 0),
            coalesce(cached_tokens, 0), coalesce(total_tokens, 0), coalesce(cost_nanos, 0),
            CASE WHEN usage_source = 'unknown' THEN 1 ELSE 0 END, CASE WHEN unpriced = '[]' THEN 0 ELSE 1 END
        FROM usage_records
        WHERE project = $1 AND (time >= $4 AND time < $5 OR time >= $6 AND time < $7)
    ) AS parts
    {grouped} HAVING count(*) > 0
"""
_DROP = """
    DELETE FROM usage_records WHERE (time, request_id, attempt) IN (
        SELECT time, request_id, attempt FROM usage_records WHERE time < $1 ORDER BY time LIMIT $2
    ) RETURNING attempt
"""


async def add(addition: Change, records: Iterable[UsageRecord]) -> int:
    """Keep those that are not kept yet; how many they were. Raises StoreError for one that can't be."""
    # All in one order, here and below, so that no two that add the same wait for each other.
    by_key = {(record.request_id, record.attempt): record for record in records}
    in_order = sorted(by_key.values(), key=_KEY)
    days: dict[tuple[Any, ...], list[int]] = {}
    new = 0
    for begin in range(0, len(in_order), _AT_ONCE):
        given = [row(record) for record in in_order[begin : begin + _AT_ONCE]]
        inserted = await addition.insert(_INSERT, list(COLUMNS.values()), given)
        for request_id, attempt in inserted:
            _count(days, by_key[request_id, attempt])
        new += len(inserted)
    await addition.run_many(_ADD_TO_DAY, [(*day, *days[day]) for day in sorted(days)])
    return new


def row(record: UsageRecord) -> Row:
    """A record as a row of `usage_records`. Raises StoreError for one that no database takes."""
    r = record
    _check(r)
    return (
        r.request_id,
        r.attempt,
        r.attempts,
        r.time,
        int(r.time // DAY_SECONDS),
        r.client_request_id,
        r.project,
        r.branch,
        r.credential,
        r.model,
        r.model_version,
        r.upstream,
        r.action,
        r.status,
        r.ending,
        r.usage_source.value,
        r.prompt_tokens,
        r.cached_tokens,
        r.candidates_tokens,
        r.thoughts_tokens,
        r.tool_use_prompt_tokens,
        r.total_tokens,
        msgspec.json.encode(r.modalities).decode() if r.modalities else "{}",
        r.traffic_type,
        r.service_tier,
        r.cost_nanos,
        msgspec.json.encode(r.unpriced).decode() if r.unpriced else "[]",
        r.first_byte_ms,
        r.duration_ms,
        r.request_bytes,
        r.response_bytes,
    )


def _check(r: UsageRecord) -> None:
    """What an upstream or a client chose, and the numbers: the rest is the gateway's own, and fits."""
    numbers = (
        r.prompt_tokens or 0,
        r.cached_tokens or 0,
        r.candidates_tokens or 0,
        r.thoughts_tokens or 0,
        r.tool_use_prompt_tokens or 0,
        r.total_tokens or 0,
        r.cost_nanos or 0,
        r.attempt,
    )
    try:
        text = (r.client_request_id + r.model_version + r.traffic_type + r.service_tier).encode()
    except UnicodeEncodeError:
        text = b"\0"
    if min(numbers) < 0 or max(numbers) > MOST or b"\0" in text or not 0 <= r.time < _END:
        raise StoreError(f"the record of request {printable(r.request_id)} holds what can't be kept")


def _count(days: dict[tuple[Any, ...], list[int]], r: UsageRecord) -> None:
    """Add a record to the sums of its day."""
    key = (int(r.time // DAY_SECONDS), r.project, r.branch, r.credential, r.model, r.upstream)
    sums = days.setdefault(key, [0] * 9)
    sums[0] += r.attempt == 1
    sums[1] += 1
    sums[2] += (r.prompt_tokens or 0) + (r.tool_use_prompt_tokens or 0)
    sums[3] += (r.candidates_tokens or 0) + (r.thoughts_tokens or 0)
    sums[4] += r.cached_tokens or 0
    sums[5] += r.total_tokens or 0
    sums[6] += r.cost_nanos or 0
    sums[7] += r.usage_source is UsageSource.UNKNOWN
    sums[8] += bool(r.unpriced)


async def sums(
    database: Database, project_id: str, since: float, until: float, by: Sequence[UsageBy]
) -> Sequence[UsageSum]:
    """What began in that time, by groups."""
    if not since < until:
        return []
    now = time.time()
    end_of_today = math.ceil(now / DAY_SECONDS) * DAY_SECONDS
    since, until = max(since, 0), min(until, _END)
    if now <= until < end_of_today:
        until = end_of_today  # a whole day, as nothing is in it yet that comes later
    first, last = math.ceil(since / DAY_SECONDS), math.floor(until / DAY_SECONDS)
    if first > last:  # within one day
        first = last = 0
        edges = (since, until, 0.0, 0.0)
    else:
        edges = (since, first * DAY_SECONDS, last * DAY_SECONDS, until)
    names = ", ".join(by)
    query = _SUMS.format(
        groups=f"{names}," if by else "",
        grouped=f"GROUP BY {names}" if by else "",
    )
    found = await database.report(query, project_id, first, last, *map(float, edges))
    # Sorted here, for databases have orders of their own for text.
    in_order = sorted(found, key=lambda values: tuple(values[: len(by)]))
    return [UsageSum(_group(by, values), *values[len(by) :]) for values in in_order]


def _group(by: Sequence[UsageBy], values: Row) -> dict[UsageBy, str]:
    """What a row is the sum of."""
    group = dict(zip(by, values, strict=False))
    if UsageBy.DAY in group:
        began = datetime.fromtimestamp(group[UsageBy.DAY] * DAY_SECONDS, UTC)
        group[UsageBy.DAY] = began.date().isoformat()
    return group


async def drop(change: Change, before: float, most: int) -> int:
    """Delete the oldest rows from before then; their days' sums stay."""
    return len(await change.run(_DROP, before, most))
