"""The page over real parts on a real port: an SQLite store, counters, metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from aiohttp import web
from msgspec import convert

from gateway.counters.memory import MemoryCounters
from gateway.counting import Metrics
from gateway.exchange import Ending, Exchange
from gateway.limits import Limits
from gateway.metrics import Snapshot
from gateway.page import Levels, add_usage_page
from gateway.stores.rows import Store
from gateway.stores.sqlite import SqliteStore
from gateway.upstreams.target_state import TargetState
from gateway.usage_record import UsageRecord, UsageSource
from tests.support.identity import Clock, opened
from tests.support.listener import site

NOW = 1781797020.0
"""2026-06-18 15:37 UTC, a Thursday."""
MODELS = ("gemini-2-5-flash", "gemini-3-5-flash", "gemini-3-pro")
DEFAULTS = Limits(tokens_per_minute=200_000)


@dataclass
class Rig:
    """A page that is served, and what it shows."""

    url: str
    path: Path
    """Of the store."""
    store: SqliteStore
    counters: MemoryCounters
    metrics: Metrics
    clock: Clock
    """Since the epoch: the page's and the counters'."""
    timer: Clock
    """The sampler's."""
    targets: list[TargetState]

    def ended(self, ending: Ending, times: int = 1) -> None:
        """So many requests have ended so."""
        exchange = Exchange()
        exchange.ending = ending
        exchange.ended = exchange.began + 0.2
        for _ in range(times):
            self.metrics.count(exchange)


@asynccontextmanager
async def running_page(directory: Path) -> AsyncIterator[Rig]:
    """The page, its files in the directory."""
    clock, timer, metrics = Clock(NOW), Clock(), Metrics(models=MODELS)
    path = directory / "gateway.db"
    async with opened(path) as store:
        counters = MemoryCounters(directory / "counters", clock)
        try:
            targets: list[TargetState] = []
            async with served(store, counters, metrics, clock, timer, targets=targets) as url:
                yield Rig(url, path, store, counters, metrics, clock, timer, targets)
        finally:
            await counters.close()


@asynccontextmanager
async def served(
    store: Store,
    counters: Levels,
    metrics: Metrics,
    clock: Clock,
    timer: Clock,
    *,
    targets: Sequence[TargetState] = (),
) -> AsyncIterator[str]:
    """The page's URL, while these are what it shows."""
    app = web.Application()
    add_usage_page(
        app,
        store=store,
        snapshot=lambda: Snapshot(metrics.open_requests, 0, metrics.tallies()),
        counters=counters,
        targets=lambda: targets,
        defaults=DEFAULTS,
        models=MODELS,
        clock=clock,
        timer=timer,
    )
    async with site(web.AppRunner(app, access_log=None)) as url:
        yield f"{url}/usage"


async def record(rig: Rig, **fields: object) -> UsageRecord:
    """One attempt of the project `default` that began an hour ago, unless the fields say otherwise."""
    project = (await rig.store.projects())[0]
    main = (await rig.store.branches("default"))[0]
    given = {
        "request_id": f"{next(_numbers):032x}",
        "time": NOW - 3600,
        "project": project.id,
        "branch": main.id,
        "credential": "a" * 16,
        "model": MODELS[0],
        "upstream": "studio",
        "action": "generateContent",
        "status": 200,
        "ending": "complete",
        "usage_source": UsageSource.REPORTED,
        "prompt_tokens": 100,
        "cached_tokens": 40,
        "candidates_tokens": 10,
        "total_tokens": 110,
        "cost_nanos": 2_000_000,
    }
    return convert({**given, **fields}, UsageRecord)


_numbers = count(1)
