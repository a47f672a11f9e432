"""The admin listener's application: health, readiness and metrics, never on the public listener."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from aiohttp import web

from gateway.config import Listen
from gateway.exposition import Exposition
from gateway.http_log import http_log
from gateway.listeners import bind, url


async def serve_admin(stack: AsyncExitStack, listen: Listen, app: web.Application) -> str:
    """Serve the application there until the stack is closed. Its URL. Raises ListenError."""
    runner = web.AppRunner(app, access_log=None, logger=http_log, shutdown_timeout=1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    bound = await bind(listen)
    for sock in bound:
        await web.SockSite(runner, sock).start()
    return url("http", listen, bound)


def create_admin_app(*, ready: Callable[[], tuple[bool, str]], exposition: Exposition) -> web.Application:
    """`ready` tells whether new requests should come here, and a short reason that may be shown.

    Run it with `AppRunner(app, access_log=None)`: probes and scrapes are no requests to account for.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        is_ready, reason = ready()
        return web.json_response({"ready": is_ready, "reason": reason}, status=200 if is_ready else 503)

    async def metrics(request: web.Request) -> web.Response:
        # Tens of milliseconds where there are many series: in a thread, streams wait for a fraction of it.
        body, content_type = await asyncio.to_thread(exposition.render, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.on_response_prepare.append(_finish_head)
    return app


async def _finish_head(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "gateway"  # aiohttp's own tells its version and Python's
    response.headers["Cache-Control"] = "no-store"
