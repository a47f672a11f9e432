"""Requests that are over are counted together, at the end of the event loop's turn in which they ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.accounting import Accounting
from gateway.counters.memory import MemoryCounters
from gateway.limiter import Limiter
from gateway.limits import Limits
from gateway.observe import Observer
from gateway.prices import Prices
from gateway.usage_record import UsageRecord
from tests.support.finished import finished
from tests.support.identity import opened


@dataclass
class Book:
    """A ledger that can't take one of the records."""

    refused: str = ""
    """The request whose record that is."""
    records: list[UsageRecord] = field(default_factory=list)
    lost = 0
    full = False
    held_bytes = 0

    def add(self, record: UsageRecord) -> None:
        if record.request_id == self.refused:
            raise MemoryError
        self.records.append(record)

    @property
    def requests(self) -> list[str]:
        return [record.request_id for record in self.records]


@dataclass
class Rig:
    """Accounting, and where it counts."""

    accounting: Accounting
    book: Book
    observer: Observer

    @property
    def told(self) -> int:
        """How many requests have been counted in the metrics."""
        return sum(tally.requests for tally in self.observer.snapshot().tallies)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    log = os.open(tmp_path / "access.log", os.O_WRONLY | os.O_CREAT)
    observer = Observer(models=("gemini-2-5-flash",), log_fd=log)
    counters = MemoryCounters(tmp_path / "counters")
    async with opened(tmp_path / "gateway.db") as store:
        limiter = Limiter(counters, store, defaults=Limits(), counters_away=None)
        book = Book()
        accounting = Accounting(prices=Prices.build(), limiter=limiter, ledger=book, observer=observer)
        yield Rig(accounting, book, observer)
    await counters.close()
    await observer.close()
    os.close(log)


async def test_it_is_done_in_the_turn_in_which_they_end_for_all_of_them(rig: Rig) -> None:
    exchanges = [finished(ended=0.0) for _ in range(3)]
    for exchange in exchanges:
        rig.accounting.begin()
        rig.accounting.finish(exchange)
        assert exchange.ended
    assert (rig.told, rig.book.requests) == (0, [])
    await asyncio.sleep(0)
    assert (rig.told, rig.book.requests) == (3, [exchange.id for exchange in exchanges])


async def test_when_it_is_asked_for_at_once_it_is_not_done_again(rig: Rig) -> None:
    first, second = finished(), finished()
    rig.accounting.finish(first)
    rig.accounting.flush()
    assert rig.book.requests == [first.id]
    rig.accounting.finish(second)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert rig.book.requests == [first.id, second.id]


async def test_one_that_can_not_be_counted_whole_keeps_nobody_else_from_it(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = finished(), finished()
    rig.book.refused = first.id
    for exchange in (first, second):
        rig.accounting.finish(exchange)
    await asyncio.sleep(0)
    assert (rig.told, rig.book.requests) == (2, [second.id])
    assert "internal error: a request was not counted whole: MemoryError in flush" in caplog.text
