"""Which limits a request is judged by: a rule for each that its project, branch or credential has."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b

from msgspec import Struct

from gateway.limits import Level, Limits


class Kind(StrEnum):
    """The limits there are, named as in `Limits`."""

    TOKENS_PER_MINUTE = "tokens_per_minute"
    REQUESTS_PER_MINUTE = "requests_per_minute"
    CONCURRENT_REQUESTS = "concurrent_requests"
    TOKENS_PER_DAY = "tokens_per_day"
    SPEND_PER_DAY = "spend_per_day_nanos"


TOKENS, COST, REQUESTS = range(3)
"""The measures: what of a request counts, and where it stands among the amounts of a request."""


class Span(Struct, frozen=True):
    """A time for which amounts count, in buckets.

    A bucket leaves when it is wholly older than that time: so nothing counts for less, and everything for at
    most one bucket's width longer. (That is why there is one more than would fill the time.)
    """

    unit: int
    """Seconds: a bucket's width."""
    buckets: int


MINUTE = Span(unit=1, buckets=61)
DAY = Span(unit=60, buckets=1441)

_MEASURES = {
    Kind.TOKENS_PER_MINUTE: TOKENS,
    Kind.REQUESTS_PER_MINUTE: REQUESTS,
    Kind.CONCURRENT_REQUESTS: REQUESTS,
    Kind.TOKENS_PER_DAY: TOKENS,
    Kind.SPEND_PER_DAY: COST,
}
_SPANS = {
    Kind.TOKENS_PER_MINUTE: MINUTE,
    Kind.REQUESTS_PER_MINUTE: MINUTE,
    Kind.CONCURRENT_REQUESTS: None,
    Kind.TOKENS_PER_DAY: DAY,
    Kind.SPEND_PER_DAY: DAY,
}


class Rule(Struct, frozen=True, kw_only=True):
    """One limit and what counts towards it. Made once for many requests: see `rules_for`."""

    kind: Kind
    level: Level
    limit: int
    """At least 1, in the measure's unit: tokens, billionths of a dollar, or requests."""
    measure: int
    span: Span | None
    """None: what is under way counts, and nothing else."""
    name: str
    """Of what is counted, the same everywhere: `{project}:tokens_per_minute:branch:br-…:gemini-2-5-pro`.

    The braces make a cluster of Redis servers keep all that is judged together in one place.
    """
    key: bytes
    """16 bytes: the name's hash."""


def rules_for(
    limits: Mapping[Level, Limits], *, project_id: str, branch_id: str, credential_id: str, model: str
) -> tuple[Rule, ...]:
    """The rules for one combination of these; `limits` may lack levels. A limit of 0, or None, is none.

    `model` is the catalog's short id.
    """
    ids = {Level.PROJECT: project_id, Level.BRANCH: branch_id, Level.CREDENTIAL: credential_id}
    rules = []
    for kind in Kind:
        for level, identity in ids.items():
            limit: int | None = getattr(limits.get(level), kind, None)
            if not limit:
                continue
            name = f"{{{project_id}}}:{kind}:{level}:{identity}"
            if kind is Kind.TOKENS_PER_MINUTE:
                name += f":{model}"
            rules.append(
                Rule(
                    kind=kind,
                    level=level,
                    limit=limit,
                    measure=_MEASURES[kind],
                    span=_SPANS[kind],
                    name=name,
                    key=blake2b(name.encode(), digest_size=16).digest(),
                )
            )
    return tuple(rules)
