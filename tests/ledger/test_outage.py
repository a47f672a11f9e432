"""A store that is away for long: all that waits arrives, in its order, and what would be wrong is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from soak.outage import run
from tests.support.postgres_server import PostgresServer


async def test_what_waits_while_the_store_is_away_arrives_in_order(
    folder: Path, postgres: Callable[[], PostgresServer]
) -> None:
    outcome = await run(postgres(), folder, 8_000)
    assert outcome.wrong == []
    assert (outcome.waiting, outcome.stored, outcome.lost) == (8_000, 8_000, 0)
    # Ten minutes at 500 a second take up a quarter of what may wait by default.
    assert 0.15 < outcome.spool_bytes / 8_000 * 300_000 / 2**30 < 0.25
    for change, complaint in (
        ({"stored": 7_999}, "not all arrived, or some twice"),
        ({"in_order": False}, "they arrived in another order"),
        ({"lost": 1}, "records are lost"),
        ({"tokens": 1}, "the sums are others"),
    ):
        assert replace(outcome, **change).wrong == [complaint]
