"""The admin listener: health, readiness, metrics and the admin API, never on the public listener."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.admin import branches, limits, upstreams, usage
from gateway.admin.guard import Guard
from gateway.admin.openapi import document
from gateway.admin.operation import BODY_BYTES, BODY_SECONDS, Targets, answering
from gateway.admin.refusals import Handler, tell_why
from gateway.config import Admin, Listen
from gateway.exposition import Exposition
from gateway.http_log import http_log
from gateway.listeners import BACKLOG, bind, url
from gateway.stores import Store

SERVER = "gateway"
"""aiohttp's own tells its version and Python's."""
LINGER_SECONDS = 1.0
"""How long what is left of a body is read after its request was answered, before the connection is closed."""
IDLE_SECONDS = 75.0
"""How long a connection may wait for a whole head: more than a minute, which is Prometheus's pause.
aiohttp's own is an hour, and it has no other limit for a head that has begun."""
OPERATIONS = (*branches.OPERATIONS, *limits.OPERATIONS, *usage.OPERATIONS, *upstreams.OPERATIONS)
"""All of the admin API."""


async def serve_admin(
    stack: AsyncExitStack, listen: Listen, app: web.Application, *, idle_seconds: float = IDLE_SECONDS
) -> str:
    """Serve the application there until the stack is closed. Its URL. Raises ListenError.

    `idle_seconds` is how long a connection may wait for a whole head.
    """
    loop = asyncio.get_running_loop()
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    manager = runner.server
    assert manager is not None
    connection = partial(_Connection, manager, loop=loop, idle_seconds=idle_seconds)
    bound = await bind(listen)
    for sock in bound:
        stack.callback(sock.close)
        server = await loop.create_server(connection, sock=sock, backlog=BACKLOG)
        stack.callback(server.close)
    return url("http", listen, bound)


def create_admin_app(
    *,
    ready: Callable[[], tuple[bool, str]],
    exposition: Exposition,
    store: Store,
    targets: Targets,
    settings: Admin,
    listen: Listen,
    body_seconds: float = BODY_SECONDS,
) -> web.Application:
    """`ready` tells whether new requests should come here, and a short reason that may be shown.

    `listen` is where it will be served; who may ask depends on that. `body_seconds` is how long a body may
    take to come.
    """
    guard = Guard(settings, listen)

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        guard.check(request)
        return await handler(request)

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        is_ready, reason = ready()
        return web.json_response({"ready": is_ready, "reason": reason}, status=200 if is_ready else 503)

    async def metrics(request: web.Request) -> web.Response:
        exposition.look()
        # Tens of milliseconds where there are many series: in a thread, streams wait for a fraction of it.
        body, content_type = await asyncio.to_thread(exposition.render, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def openapi(_request: web.Request) -> web.Response:
        return web.json_response(described)

    described = document(OPERATIONS)
    app = web.Application(middlewares=[tell_why, guarded], client_max_size=BODY_BYTES)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/api/v2/openapi.json", openapi)
    changing = asyncio.Lock()
    for operation in OPERATIONS:
        handler = answering(operation, store, targets, changing, body_seconds)
        app.router.add_route(operation.method, operation.path, handler)
        if operation.method == "GET":
            app.router.add_head(operation.path, handler)
    app.on_response_prepare.append(_finish_head)
    return app


class _Connection(web.RequestHandler):
    """A client's connection: what is no HTTP is refused without a word of it, which could be the token."""

    def __init__(self, manager: web.Server, *, loop: asyncio.AbstractEventLoop, idle_seconds: float) -> None:
        # Probes and scrapes are no requests to account for; changes are in the audit trail.
        super().__init__(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]
            logger=http_log,
            auto_decompress=False,
            keepalive_timeout=idle_seconds,
            lingering_time=LINGER_SECONDS,
        )

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, HttpProcessingError):
            message = "malformed http request\n"
        response = super().handle_error(request, status, exc, message)
        response.headers["Server"] = SERVER
        return response


async def _finish_head(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER
    response.headers["Cache-Control"] = "no-store"
