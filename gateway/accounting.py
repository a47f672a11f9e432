"""What is done when requests are over: their usage is read, priced, settled with their limits, kept and told.

All that ended in one turn of the event loop are done together, one step for each of them and then the next:
code that has just run is in the processor's caches, and a request runs through more than they hold. That
saves a tenth of a request's CPU.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from gateway.alarms import UsageAlarms
from gateway.errors import described
from gateway.exchange import Exchange
from gateway.limiter import Limiter
from gateway.metrics import Snapshot
from gateway.prices import Prices
from gateway.recording import failed_records, price, usage_record
from gateway.usage_record import UsageRecord

_log = logging.getLogger(__name__)


class Ledger(Protocol):
    """Where the records of attempts go; see `ledger`."""

    lost: int
    """Records that were dropped."""
    full: bool
    """It can't keep any more for now."""

    @property
    def held_bytes(self) -> int:
        """How much waits in memory."""

    def add(self, record: UsageRecord) -> None:
        """Keep a record. Never waits and never raises."""


class Observer(Protocol):
    """Who tells operators of requests; see `observe`."""

    def begin(self) -> None:
        """A request was taken."""

    def finish(self, exchange: Exchange) -> None:
        """A request is over."""

    def snapshot(self) -> Snapshot:
        """What was counted until now."""


class Accounting:
    """Told of every request's begin and end, on the event loop.

    `refuse_when_full`: no request is to be taken whose usage could not be kept.
    """

    def __init__(
        self,
        *,
        prices: Prices,
        limiter: Limiter,
        ledger: Ledger,
        observer: Observer,
        refuse_when_full: bool = False,
    ) -> None:
        self._prices = prices
        self._limiter = limiter
        self._ledger = ledger
        self._observer = observer
        self._refuse_when_full = refuse_when_full
        self._alarms = UsageAlarms()
        self._over: list[Exchange] = []
        """Not counted yet."""

    @property
    def closed(self) -> bool:
        """Whether no request should be taken for now."""
        return self._refuse_when_full and self._ledger.full

    def snapshot(self) -> Snapshot:
        """What was counted until now, and how those are who keep it."""
        snapshot = self._observer.snapshot()
        snapshot.records_lost = self._ledger.lost
        snapshot.unwritten_bytes = self._ledger.held_bytes
        snapshot.spool_full = self._ledger.full
        snapshot.unsettled = self._limiter.unsettled
        snapshot.counters_away = self._limiter.counters_away
        snapshot.store_away = self._limiter.store_away
        return snapshot

    def begin(self) -> None:
        """A request was taken. Each `begin` needs its `finish`."""
        self._observer.begin()

    def finish(self, exchange: Exchange) -> None:
        """A request is over, in whatever way: it will be counted in this turn of the event loop."""
        exchange.ended = time.monotonic()
        if not self._over:
            asyncio.get_running_loop().call_soon(self.flush)
        self._over.append(exchange)

    def flush(self) -> None:
        """Count what is over, now."""
        over, self._over = self._over, []
        for step in (_read, self._price, self._limiter.settle, self._observer.finish, self._keep):
            for exchange in over:
                try:
                    step(exchange)
                except Exception as error:  # the others are to be counted all the same
                    _log.error("internal error: a request was not counted whole: %s", described(error))

    def _price(self, exchange: Exchange) -> None:
        if exchange.upstream:
            price(exchange, self._prices)
            if exchange.usage is None or exchange.unpriced:
                self._alarms.look(exchange)

    def _keep(self, exchange: Exchange) -> None:
        if exchange.failed_attempts:
            for record in failed_records(exchange):
                self._ledger.add(record)
        if exchange.upstream:
            self._ledger.add(usage_record(exchange))


def _read(exchange: Exchange) -> None:
    reading, exchange.reading = exchange.reading, None
    if reading is not None:
        reading()
