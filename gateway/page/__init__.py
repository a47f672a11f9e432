"""The page `/usage` of the admin listener: what was used, what happens now, how full limits are, for people.

`selection` reads what the query asks for, `content` gathers it (`figures` from the store, `activity` from
the metrics, `fullness` from the counters), `render` makes HTML of it with `templates`, `chart` and `units`.
It has no script, and nothing that a browser would load besides. Who may see it is not judged here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress
from typing import TypeVar

from aiohttp import web

from gateway.errors import StoreNotFound, StoreUnavailable
from gateway.limits import Limits
from gateway.metrics import Snapshot
from gateway.page import render, selection
from gateway.page.activity import Sampler
from gateway.page.content import Sources, gather
from gateway.page.fullness import Levels, LimitLevels
from gateway.page.selection import BadSelection
from gateway.stores import Store
from gateway.upstreams.target_state import TargetState

__all__ = ["Levels", "add_usage_page"]

T = TypeVar("T")

PATH = "/usage"


def add_usage_page(
    app: web.Application,
    *,
    store: Store,
    snapshot: Callable[[], Snapshot],
    counters: Levels,
    targets: Callable[[], Sequence[TargetState]],
    defaults: Limits,
    models: Collection[str],
    clock: Callable[[], float] = time.time,
    timer: Callable[[], float] = time.monotonic,
) -> None:
    """Add the page, and what samples snapshots for it while the application runs.

    `targets` tells how all targets are, each once; `defaults` are the configuration's limits, for projects;
    `models` the catalog's short ids; `clock` gives seconds since the epoch, `timer` seconds that never go
    back. The page shows names and what was used: it is for who has the admin token.
    """
    sampler = Sampler(snapshot, timer)
    sources = Sources(store, sampler, LimitLevels(store, counters, defaults, models), targets, clock)

    async def usage(request: web.Request) -> web.Response:
        try:
            asked = selection.parse(request.query)
            content = await gather(sources, asked)
        except BadSelection as error:
            return await _problem(400, str(error))
        except StoreNotFound as error:
            return await _problem(404, str(error))
        except StoreUnavailable as error:
            return await _problem(503, str(error))
        return await _answer(200, render.page, content)

    async def sampling(_app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(sampler.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app.router.add_get(PATH, usage)
    app.cleanup_ctx.append(sampling)


async def _problem(status: int, text: str) -> web.Response:
    response = await _answer(status, render.problem, text)
    if status == 503:
        response.headers["Retry-After"] = "5"
    return response


async def _answer(status: int, page: Callable[[T], str], of: T) -> web.Response:
    # In a thread, so that streams wait for a fraction of it.
    text = await asyncio.to_thread(page, of)
    return web.Response(status=status, text=text, content_type="text/html", headers=render.HEADERS)
