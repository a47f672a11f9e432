"""What the ledger says of a run, beside what the upstream says that it has served: the same, to the token."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from fleet.machines import Fleet
from fleet.upstream import Served
from gateway.stores.postgres_schema import SCHEMA

SHOWN = 10
"""How many things of one kind that are wrong are told."""


class Row(msgspec.Struct, frozen=True):
    """One record of the ledger."""

    request_id: str
    attempt: int
    number: int
    """The client's."""
    ending: str
    usage_source: str
    tokens: int | None


@dataclass(frozen=True)
class Books:
    """All records, and what `usage` adds them up to."""

    rows: Sequence[Row]
    summed_tokens: int
    summed_attempts: int
    """Of the sums by day, which the store keeps beside the records."""

    @property
    def tokens(self) -> int:
        return sum(row.tokens or 0 for row in self.rows)


async def books(fleet: Fleet) -> Books:
    """As they are now."""
    connection = await fleet.postgres.connect()
    try:
        fields = "request_id, attempt, client_request_id, ending, usage_source, total_tokens"
        found = await connection.fetch(f"SELECT {fields} FROM {SCHEMA}.usage_records")
        attempts = await connection.fetchval(f"SELECT sum(attempts) FROM {SCHEMA}.usage_days")
    finally:
        await connection.close()
    rows = [Row(one[0], one[1], int(one[2]), *one[3:]) for one in found]
    sums = json.loads(fleet.machines[0].command("usage", "--by", "model", "--json"))
    return Books(rows, sum(one["total_tokens"] for one in sums), int(attempts or 0))


def of_books(kept: Books, served: Iterable[Served], *, lost: frozenset[int] = frozenset()) -> list[str]:
    """What is wrong with the books; the records of `lost` may lack.

    Each attempt that the upstream has seen has one record and no more; one that was served whole to the end
    says so, to the token; one that was cut says what the upstream had reported by some moment, or nothing.
    """
    found: list[str] = []
    seen: dict[int, list[Served]] = {}
    for one in served:
        seen.setdefault(one.number, []).append(one)
    rows = Counter(row.number for row in kept.rows)
    ids = Counter((row.request_id, row.attempt) for row in kept.rows)
    found += [f"{key} is in the ledger {count} times" for key, count in ids.items() if count > 1]
    for number, attempts in seen.items():
        if rows[number] > len(attempts):
            found.append(f"request {number}: {rows[number]} records of {len(attempts)} attempts")
        elif rows[number] < len(attempts) and number not in lost:
            found.append(f"request {number}: {rows[number]} records of {len(attempts)} attempts: {attempts}")
    for row in kept.rows:
        told = [one.tokens for one in seen.get(row.number, ()) if one.events]
        if row.usage_source == "reported" and row.tokens not in told:
            found.append(f"{row}: the upstream has reported {told}")
        elif row.tokens is not None and row.tokens > max(told, default=0):
            found.append(f"{row}: the upstream has reported no more than {told}")
    if (kept.summed_tokens, kept.summed_attempts) != (kept.tokens, len(kept.rows)):
        found.append(
            f"the sums by day are {kept.summed_tokens} tokens of {kept.summed_attempts} attempts, "
            f"the records {kept.tokens} of {len(kept.rows)}"
        )
    return found[:SHOWN]
