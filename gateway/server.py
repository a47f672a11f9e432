"""Build everything from the configuration, listen, serve until told to stop, drain, take everything down."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import date

from aiohttp import web

from gateway.admin import create_admin_app
from gateway.branches import Branches
from gateway.client_connection import LINGER_SECONDS, ClientServer
from gateway.config import Config, Listen
from gateway.config import Upstream as UpstreamSettings
from gateway.deadlines import Timeouts
from gateway.errors import StoreUnavailable
from gateway.exchange import Exchange
from gateway.exposition import Exposition
from gateway.identity import Identity
from gateway.notify import notify
from gateway.observe import Observer
from gateway.proxy import Proxy
from gateway.relay import Relay
from gateway.stores import open_store
from gateway.upstreams import Upstream, simulated
from gateway.upstreams.pool import Pool, build

BACKLOG = 1024
CUT_SECONDS = 2.0
"""How often the store is asked whose streams are to be ended."""
CUT_WINDOW_SECONDS = 30.0
"""How long that is asked for: a stream may still begin while a cached answer is young enough."""
_log = logging.getLogger(__name__)


class ListenError(Exception):
    """An address can't be listened on: one line that says which and why."""


class Gateway:
    """A running gateway: what was built, and what takes it down again, in reverse order."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._stack = AsyncExitStack()
        self._servers: list[asyncio.Server] = []
        self._state = "starting"
        self.addresses: list[str] = []
        """Where it listens, as URLs."""
        self.admin_address = ""

    async def build(self) -> None:
        """Open the store, start upstreams, bind every address; nothing is accepted yet.

        Raises StoreError or ListenError; what was opened by then is closed again by `close`.
        """
        config = self.config
        self.store = await open_store(config.store.url)
        self._stack.push_async_callback(self.store.close)
        identity = Identity(self.store)
        self._stack.push_async_callback(identity.close)
        branches = Branches(
            self.store, default=config.branches.default, trusted_suffixes=config.branches.trusted_suffixes
        )
        self._stack.push_async_callback(branches.close)
        self.observer = Observer(models={model.id for model in config.catalog.models})
        self._stack.push_async_callback(self.observer.close)
        pool = Pool([await self._upstream(settings) for settings in config.upstreams])
        self._stack.callback(pool.close)
        self._relay = Relay(
            Timeouts(
                first_byte=config.timeouts.first_byte,
                idle=config.timeouts.idle,
                write=config.timeouts.write,
                total=config.timeouts.total,
            ),
            config.server.max_body_bytes,
            frozenset(name.lower().encode("ascii") for name in config.server.forward_request_headers),
        )
        self._proxy = Proxy(
            identity=identity,
            branches=branches,
            catalog=config.catalog,
            pool=pool,
            relay=self._relay,
            observer=self.observer,
        )
        self._clients = ClientServer(
            self._proxy.handle,
            max_connections=config.server.max_connections,
            write_timeout=config.timeouts.write,
            trusted_proxies=config.server.trusted_proxies,
            on_malformed=self._record_malformed,
        )
        self._stack.push_async_callback(self._clients.shutdown, LINGER_SECONDS)
        await self._listen_admin()
        for listen in config.server.listen:
            await self._listen(listen)

    async def serve(self, announce: Callable[[Gateway], Awaitable[None]]) -> None:
        """Accept requests until SIGTERM or SIGINT, then drain. A second signal cuts the drain short.

        `announce` is called when every address accepts connections and a signal ends the gateway gently.
        """
        stop, cut = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: cut.set() if stop.is_set() else stop.set())
        cutting = loop.create_task(self._cut_revoked())
        self._stack.callback(cutting.cancel)
        for server in self._servers:
            await server.start_serving()
        self._state = "serving"
        await announce(self)
        notify("READY=1")
        await stop.wait()
        await self._drain(cut)

    async def close(self) -> None:
        """Take everything down that was built."""
        await self._stack.aclose()

    async def _cut_revoked(self) -> None:
        """End the streams of credentials that were revoked with them (`credentials revoke --now`)."""
        while True:
            await asyncio.sleep(CUT_SECONDS)
            if self._relay.live:
                with suppress(StoreUnavailable):
                    self._relay.cut(await self.store.cut_since(time.time() - CUT_WINDOW_SECONDS))

    async def _drain(self, cut: asyncio.Event) -> None:
        server = self.config.server
        self._state = "draining"
        notify("STOPPING=1")
        _log.warning("draining: %d requests under way", self._proxy.open)
        await _first(cut.wait(), asyncio.sleep(server.drain_delay_seconds))
        for listener in self._servers:
            listener.close()
        self._proxy.draining = True
        self._clients.drain()
        await _first(cut.wait(), self._drained(), asyncio.sleep(server.drain_seconds))
        self._relay.cut_all()
        # What has just been cut still tells its clients why, and ends gently.
        await _first(self._drained(), asyncio.sleep(2 * LINGER_SECONDS))

    async def _drained(self) -> None:
        """Wait until no client waits for anything, and every request is recorded."""
        await self._clients.drained()
        await self._proxy.drained()

    async def _upstream(self, settings: UpstreamSettings) -> Upstream:
        port = 0
        if settings.kind == simulated.KIND:
            runner, port = await simulated.start(settings.pace / 1000)
            self._stack.push_async_callback(runner.cleanup)
        return build(settings, self.config.timeouts.connect, port)

    async def _listen_admin(self) -> None:
        app = create_admin_app(
            ready=lambda: (self._state == "serving", self._state),
            exposition=Exposition(self.observer.snapshot),
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        listen = self.config.server.admin_listen
        site: web.BaseSite
        if listen.path:
            _check_unused(listen)
            site = web.UnixSite(runner, listen.path)
        else:
            site = web.TCPSite(runner, listen.host, listen.port)
        try:
            await site.start()
        except OSError as error:
            raise _cannot_listen(listen, error) from None
        address = runner.addresses[0]
        self.admin_address = _url("http", listen, address if isinstance(address, str) else address[1])

    async def _listen(self, listen: Listen) -> None:
        loop = asyncio.get_running_loop()
        settings = self.config.server
        tls = None
        if settings.tls_cert and settings.tls_key:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(settings.tls_cert, settings.tls_key)
            tls.set_alpn_protocols(["http/1.1"])
        handshake = 10.0 if tls else None
        try:
            if listen.path:
                _check_unused(listen)
                server = await loop.create_unix_server(
                    self._clients,
                    listen.path,
                    ssl=tls,
                    ssl_handshake_timeout=handshake,
                    backlog=BACKLOG,
                    start_serving=False,
                )
            else:
                server = await loop.create_server(
                    self._clients,
                    listen.host,
                    listen.port,
                    ssl=tls,
                    ssl_handshake_timeout=handshake,
                    backlog=BACKLOG,
                    start_serving=False,
                )
            self._stack.callback(server.close)
            # Two may have bound the same address; which of them gets it, uvloop would not tell.
            for bound in server.sockets:
                with socket.fromfd(bound.fileno(), bound.family, bound.type) as same:
                    same.listen(BACKLOG)
        except OSError as error:
            raise _cannot_listen(listen, error) from None
        self._servers.append(server)
        name = server.sockets[0].getsockname()
        self.addresses.append(
            _url("https" if tls else "http", listen, name if isinstance(name, str) else name[1])
        )

    def _record_malformed(self, exchange: Exchange) -> None:
        self.observer.begin()
        self.observer.finish(exchange)


async def _first(*waits: Awaitable[object]) -> None:
    """Wait for whichever comes first."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _cannot_listen(listen: Listen, error: OSError) -> ListenError:
    # uvloop puts the address into its text, too; an address that can't be resolved has no such number.
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    return ListenError(f"cannot listen on {listen}: {why.lower()}")


def _check_unused(listen: Listen) -> None:
    """Raise ListenError where somebody listens on a Unix socket: the event loop would take it from them."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(listen.path)
        except BlockingIOError:  # they have more connections waiting than they take
            pass
        except OSError:
            return
    raise ListenError(f"cannot listen on {listen}: address already in use")


def _url(scheme: str, listen: Listen, bound: object) -> str:
    if listen.path:
        return f"{scheme}+unix:{listen.path}"
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return f"{scheme}://{host}:{bound}"


async def run(config: Config, announce: Callable[[Gateway], Awaitable[None]]) -> None:
    """Serve until told to stop; `announce` says so to the operator.

    Raises StoreError or ListenError when it can't start.
    """
    gateway = Gateway(config)
    try:
        await gateway.build()
        _raise_file_limit(config.server.max_connections)
        _warn(config)
        await gateway.serve(announce)
    finally:
        await gateway.close()


def _warn(config: Config) -> None:
    for warning in config.warnings:
        _log.warning("%s", warning)
    kinds = {upstream.kind for upstream in config.upstreams}
    for warning in config.catalog.shutdown_warnings(kinds, date.today()):
        _log.warning("%s", warning)


def _raise_file_limit(connections: int) -> None:
    """A connection needs two files, its own and its upstream's; the usual soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        if limit < wanted:
            _log.warning("open files are limited to %d: fewer than %d connections fit", limit, connections)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop where it is installed, asyncio's own loop otherwise."""
    try:
        import uvloop  # noqa: PLC0415 - absent on some platforms
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
