"""Usage records as tests need them, and what any number of them add up to."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.stores import UsageBy, UsageSum
from gateway.usage_record import UsageRecord, UsageSource

NOON = 1_772_366_400.0
"""2026-03-01, 12:00 UTC."""
DAY = 86_400.0
PROJECT = "pr-quiet-pond-aaaaaaaa"
_numbers = itertools.count(1)


def usage_record(**fields: Any) -> UsageRecord:
    """A record of a request of its own, complete and reported, unless the fields say otherwise."""
    given: dict[str, Any] = {
        "request_id": f"{next(_numbers):032x}",
        "time": NOON,
        "project": PROJECT,
        "branch": "br-quiet-pond-aaaaaaaa",
        "credential": "c" * 16,
        "model": "gemini-3-5-flash",
        "upstream": "studio",
        "action": "generateContent",
        "status": 200,
        "ending": "complete",
        "usage_source": UsageSource.REPORTED,
        "prompt_tokens": 100,
        "cached_tokens": 40,
        "candidates_tokens": 20,
        "thoughts_tokens": 3,
        "tool_use_prompt_tokens": 5,
        "total_tokens": 128,
        "cost_nanos": 1_000,
    }
    return UsageRecord(**given | fields)


def day_of(record: UsageRecord) -> str:
    """The day (UTC) on which the request began."""
    return datetime.fromtimestamp(record.time, UTC).date().isoformat()


def summed(records: Iterable[UsageRecord], by: Sequence[UsageBy] = ()) -> list[UsageSum]:
    """What the store should say of exactly these, worked out one by one."""
    groups: dict[tuple[str, ...], list[UsageRecord]] = {}
    for record in records:
        key = tuple(day_of(record) if group is UsageBy.DAY else getattr(record, group) for group in by)
        groups.setdefault(key, []).append(record)
    return [
        UsageSum(
            group=dict(zip(by, key, strict=True)),
            requests=sum(r.attempt == 1 for r in members),
            attempts=len(members),
            input_tokens=sum((r.prompt_tokens or 0) + (r.tool_use_prompt_tokens or 0) for r in members),
            output_tokens=sum((r.candidates_tokens or 0) + (r.thoughts_tokens or 0) for r in members),
            cached_tokens=sum(r.cached_tokens or 0 for r in members),
            total_tokens=sum(r.total_tokens or 0 for r in members),
            cost_nanos=sum(r.cost_nanos or 0 for r in members),
            unknown_usage=sum(r.usage_source == "unknown" for r in members),
            unpriced=sum(r.unpriced != () for r in members),
        )
        for key, members in sorted(groups.items())
    ]
