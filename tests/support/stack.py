"""A gateway inside the test's own event loop: the real parts on a real port, over any upstream.

What a process hides is there to look at: an exchange's record, the connections, what a request leaves behind.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gateway import config
from gateway import limits as gateway_limits
from gateway.accounting import Accounting
from gateway.branches import Branches
from gateway.catalog import Catalog, CatalogSettings, ModelSettings
from gateway.client_connection import ClientConnection, Limits
from gateway.client_server import ClientServer
from gateway.counters.memory import MemoryCounters
from gateway.deadlines import Timeouts
from gateway.exchange import Exchange
from gateway.identity import Identity
from gateway.keeping import Keeping
from gateway.ledger import Ledger, spool_folder
from gateway.limiter import Limiter
from gateway.observe import Observer
from gateway.outgoing import MANY, Outgoing
from gateway.prices import Prices
from gateway.proxy import Proxy
from gateway.relay import Relay
from gateway.stores import open_store
from gateway.transfer_context import Rules
from gateway.upstreams.budget import RetryBudget
from gateway.upstreams.connection import State
from gateway.upstreams.pool import Pool
from tests.support.census import Census, sockets
from tests.support.eventually import eventually
from tests.support.identity import issue
from tests.support.loop_thread import DEADLINE
from tests.support.places import Place
from tests.support.raw_client import RawClient

CREDENTIAL = "x-goog-api-key"
"""The header in which a stack's own requests carry the client's token."""


class RecordingObserver:
    """The real observer, and every exchange that is over."""

    def __init__(self, **arguments: Any) -> None:
        self._observer = Observer(**arguments)
        self.begin = self._observer.begin
        self.snapshot = self._observer.snapshot
        self.close = self._observer.close
        self.exchanges: list[Exchange] = []

    def finish(self, exchange: Exchange) -> None:
        self._observer.finish(exchange)
        self.exchanges.append(exchange)

    def malformed(self, exchange: Exchange) -> None:
        """An exchange that no handler saw."""
        self.begin()
        self.finish(exchange)


NO_LIMITS = gateway_limits.Limits()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What of the configuration a test of the relay may want otherwise. Times are seconds."""

    kind: config.UpstreamKind = "ai-studio"
    ca_file: Path | None = None
    connect: float = 5.0
    first_byte: float = 10.0
    idle: float = 10.0
    write: float = 10.0
    total: float = 30.0
    body_piece: float = 10.0
    head: float = 10.0
    client_idle: float = 10.0
    max_body_bytes: int = 32 * 1024 * 1024
    max_open: int = 10_000
    busy: bool = False
    """Writes as if many requests were under way."""
    limits: gateway_limits.Limits = NO_LIMITS
    forward_request_headers: frozenset[bytes] = frozenset()
    attempts: int = 3
    cooldown: bool = False
    """Off, so that one test of failures may make many."""
    retry_budget: float = 1.0
    kept_each: int = 64 * 1024
    kept_together: int = 1024 * 1024
    pause: Callable[[int], float] = lambda attempts: 0.0
    """Before another attempt."""
    fallback: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By a model's short id."""


@dataclass
class Stack:
    """A running gateway; made by `running_stack`."""

    port: int
    token: str
    """Good on branch `main`."""
    relay: Relay
    proxy: Proxy
    pool: Pool
    clients: ClientServer
    observer: RecordingObserver
    log_path: Path
    faults: list[dict[str, Any]] = field(default_factory=list)
    """What the event loop's exception handler was told."""

    def client(self, *, receive_buffer: int | None = None, deadline: float = DEADLINE) -> RawClient:
        """A client that is about to connect."""
        return RawClient("127.0.0.1", self.port, receive_buffer=receive_buffer, deadline=deadline)

    def request(
        self,
        body: bytes = b"{}",
        *,
        action: str = "streamGenerateContent?alt=sse",
        model: str = "gemini-2.5-flash",
        headers: Iterable[tuple[str, str]] = (),
        framing: bytes | None = None,
        version: str = "HTTP/1.1",
    ) -> bytes:
        """A good request as bytes. `framing` is a line in place of the body's Content-Length."""
        lines = [
            f"POST /ai-gateway/gemini/v1beta/models/{model}:{action} {version}".encode(),
            b"Host: gateway.test",
            f"{CREDENTIAL}: {self.token}".encode(),
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body) if framing is None else framing,
            *(f"{name}: {value}".encode("latin-1") for name, value in headers),
        ]
        return b"\r\n".join(line for line in lines if line) + b"\r\n\r\n" + body

    def chunked_request(self, body: bytes = b"", **arguments: Any) -> bytes:
        """A good request whose body is chunked; `body` holds its chunks, or their beginning."""
        return self.request(body, framing=b"Transfer-Encoding: chunked", **arguments)

    async def exchange(self, index: int = 0) -> Exchange:
        """The record of that number, from 0, as soon as that exchange is over."""
        await eventually(f"end of exchange {index}", lambda: len(self.observer.exchanges) > index)
        return self.observer.exchanges[index]

    async def log_lines(self) -> list[dict[str, Any]]:
        """The access log so far, of which the last line comes with a delay: the lines of every exchange."""
        count = len(self.observer.exchanges)
        await eventually(
            f"{count} lines in the log", lambda: self.log_path.read_bytes().count(b"\n") >= count
        )
        return [json.loads(line) for line in self.log_path.read_text("utf-8").splitlines()]

    @property
    def connections(self) -> list[ClientConnection]:
        """Of clients, those that are open."""
        return list(self.clients.connections)

    @property
    def upstream_states(self) -> list[State]:
        """Of each open connection to the upstream."""
        return [one.state for upstream in self.pool.upstreams for one in upstream.connector.open]

    async def at_rest(self, before: Census) -> None:
        """Return once nothing of any request is left, as the relay promises; fail where something stays."""
        await eventually("no request under way", lambda: not self.proxy.open and not self.relay.live)
        await eventually(
            "every upstream connection idle",
            lambda: all(state is State.IDLE for state in self.upstream_states),
        )
        await eventually("every client's connection gone", lambda: not self.connections)
        await eventually("no task left", lambda: not before.tasks())
        await eventually("every client's socket closed", lambda: not sockets(local={self.port}))
        ports = {upstream.connector.port for upstream in self.pool.upstreams}
        await eventually(
            "no socket but the idle ones", lambda: sockets(remote=ports) == len(self.upstream_states)
        )
        assert self.relay.keeping.kept == 0
        in_flight = {str(target): target.in_flight for target in self.pool.targets() if target.in_flight}
        assert not in_flight
        left = before.left()
        assert not left, left
        assert not self.faults, self.faults


@asynccontextmanager
async def running_stack(
    directory: Path, upstream_url: str | Sequence[Place], settings: Settings
) -> AsyncIterator[Stack]:
    """A stack with its files in the directory. Leaving it fails when a request has left anything behind."""
    places = (Place(upstream_url),) if isinstance(upstream_url, str) else upstream_url
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as cleanup:
        content, token = _database()
        (directory / "gateway.db").write_bytes(content)
        store = await open_store(_url(directory))
        cleanup.push_async_callback(store.close)
        identity = Identity(store)
        cleanup.push_async_callback(identity.close)
        branches = Branches(store, default="main", trusted_suffixes=())
        cleanup.push_async_callback(branches.close)
        log = cleanup.enter_context((directory / "access.log").open("ab"))
        fallbacks = {name: ModelSettings(fallback=given) for name, given in settings.fallback.items()}
        catalog = Catalog.build(CatalogSettings(models=fallbacks))
        observer = RecordingObserver(models={model.id for model in catalog.models}, log_fd=log.fileno())
        cleanup.push_async_callback(observer.close)
        upstreams = []
        for place in places:
            upstreams.append(
                await place.opened(
                    kind=settings.kind,
                    ca_file=settings.ca_file,
                    cooldown=settings.cooldown,
                    connect=settings.connect,
                )
            )
            cleanup.push_async_callback(upstreams[-1].close)
        pool = Pool(upstreams)
        relay = Relay(
            Rules(
                Timeouts(
                    first_byte=settings.first_byte,
                    idle=settings.idle,
                    write=settings.write,
                    total=settings.total,
                    body_piece=settings.body_piece,
                ),
                settings.max_body_bytes,
                settings.forward_request_headers,
                settings.attempts,
            ),
            Keeping(each=settings.kept_each, together=settings.kept_together),
            RetryBudget(settings.retry_budget),
            settings.pause,
        )
        counters = MemoryCounters(directory / "counters")
        cleanup.push_async_callback(counters.close)
        ledger = Ledger(spool_folder(directory), 1 << 30)
        cleanup.push_async_callback(ledger.close)
        limiter = Limiter(counters, store, defaults=settings.limits, counters_away=None)
        await limiter.look()
        proxy = Proxy(
            identity=identity,
            branches=branches,
            catalog=catalog,
            pool=pool,
            relay=relay,
            limiter=limiter,
            accounting=Accounting(prices=Prices.build(), limiter=limiter, ledger=ledger, observer=observer),
            max_open=settings.max_open,
        )
        clients = ClientServer(
            proxy.handle,
            outgoing=Outgoing(range(MANY) if settings.busy else relay.live),
            limits=Limits(
                max_connections=10_000,
                write_seconds=settings.write,
                head_seconds=settings.head,
                idle_seconds=settings.client_idle,
            ),
            on_malformed=observer.malformed,
        )
        cleanup.callback(clients.abort)
        server = await loop.create_server(clients, "127.0.0.1", 0)
        cleanup.callback(server.close)
        stack = Stack(
            port=server.sockets[0].getsockname()[1],
            token=token,
            relay=relay,
            proxy=proxy,
            pool=pool,
            clients=clients,
            observer=observer,
            log_path=directory / "access.log",
        )
        loop.set_exception_handler(lambda _, context: stack.faults.append(context))
        before = Census()
        yield stack
        await stack.at_rest(before)


@cache
def _database() -> tuple[bytes, str]:
    """A database file with one credential, and its token. Making one takes longer than most tests."""

    async def make(directory: Path) -> str:
        store = await open_store(_url(directory))
        try:
            return await issue(store)
        finally:
            await store.close()

    with TemporaryDirectory() as directory, ThreadPoolExecutor(1) as outside_of_any_loop:
        token = outside_of_any_loop.submit(asyncio.run, make(Path(directory))).result()
        return (Path(directory) / "gateway.db").read_bytes(), token


def _url(directory: Path) -> config.StoreUrl:
    return config.StoreUrl.parse(f"sqlite:///{directory / 'gateway.db'}")
