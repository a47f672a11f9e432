"""Everything between clients' sockets and upstreams, in one process: built, served, drained, taken down."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress

from gateway.accounting import Accounting
from gateway.branches import Branches
from gateway.client_connection import LINGER_SECONDS
from gateway.client_connection import Limits as ConnectionLimits
from gateway.client_server import ClientServer
from gateway.config import Config
from gateway.config import Upstream as UpstreamSettings
from gateway.deadlines import Timeouts
from gateway.errors import ConfigurationError, StoreUnavailable
from gateway.exchange import Exchange
from gateway.identity import Identity
from gateway.keeping import Keeping
from gateway.limiter import Limiter
from gateway.listeners import BACKLOG
from gateway.machine import default_limits, open_cooldowns, open_counters, open_ledger, ship
from gateway.metrics import Snapshot
from gateway.observe import Observer
from gateway.outgoing import Outgoing
from gateway.process import first_of
from gateway.proxy import Proxy
from gateway.relay import Relay
from gateway.stores import open_store
from gateway.transfer_context import Rules
from gateway.upstreams.budget import RetryBudget
from gateway.upstreams.pool import Pool
from gateway.upstreams.rest import Rest
from gateway.upstreams.roster import Roster
from gateway.upstreams.target import Target
from gateway.upstreams.target_state import TargetState

CUT_SECONDS = 2.0
"""How often the store is asked whose streams are to be ended."""
CUT_WINDOW_SECONDS = 30.0
"""How long that is asked for: a stream may still begin while a cached answer is young enough."""
_log = logging.getLogger(__name__)


class Gateway:
    """Its methods are called in the order `build`, `listen`, `start`, `drain`, `close`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.state = "starting"
        self._stack = AsyncExitStack()
        """What takes down again what was built, in reverse order."""
        self._servers: list[asyncio.Server] = []
        self._max_connections = self._part(config.server.max_connections)

    def _part(self, limit: int) -> int:
        """What of a limit of the whole gateway this process may use."""
        return -(-limit // self.config.server.workers)

    @property
    def open_connections(self) -> int:
        """Of clients."""
        return len(self._clients.connections)

    def targets(self) -> list[TargetState]:
        """How each target is, in this process."""
        return self._proxy.pool.targets()

    def snapshot(self) -> Snapshot:
        """What was counted in this process, and how it is now."""
        snapshot = self.accounting.snapshot()
        for upstream in self._proxy.pool.upstreams:
            if upstream.renewal:
                failing = any(key.failing_since is not None for key in upstream.keys)
                snapshot.tokens_failing[upstream.name] = failing
        return snapshot

    async def build(self) -> None:
        """Open the store and start upstreams. Raises StoreError or ConfigurationError; then call `close`."""
        config = self.config
        several = config.server.workers > 1
        # One of several is started again when it was killed, and then the store may be away: it says so to
        # its clients. That the store was there at first has been seen by the parent.
        self.store = await open_store(config.store.url, config.store.password, prepared=several)
        self._stack.push_async_callback(self.store.close)
        if not several:  # otherwise their parent does it
            # Closed after the ledger, so that what came last is in the store, too.
            self.shipper = ship(config, self.store, self._stack)
        identity = Identity(self.store)
        self._stack.push_async_callback(identity.close)
        branches = Branches(
            self.store, default=config.branches.default, trusted_suffixes=config.branches.trusted_suffixes
        )
        self._stack.push_async_callback(branches.close)
        default = config.branches.default
        with suppress(StoreUnavailable):
            if not branches.named_by_host and await self.store.default_lineage(default) is None:
                raise ConfigurationError(f'branches.default: project "default" has no branch "{default}"')
        models = {model.id for model in config.catalog.models}
        self.observer = Observer(models=models, shared=several)
        self._stack.push_async_callback(self.observer.close)
        self._roster = Roster(config.timeouts.connect)
        self._stack.push_async_callback(self._roster.close)
        pool = Pool(
            await self._roster.take_up(config.upstreams),
            sticky_seconds=config.routing.sticky_seconds,
            cooldowns=open_cooldowns(config, self._stack),
        )
        pool.on_rest = self._count_rest
        self._relay = Relay(
            Rules(
                Timeouts(
                    first_byte=config.timeouts.first_byte,
                    idle=config.timeouts.idle,
                    write=config.timeouts.write,
                    total=config.timeouts.total,
                ),
                config.server.max_body_bytes,
                frozenset(name.lower().encode("ascii") for name in config.server.forward_request_headers),
                config.retries.attempts,
            ),
            Keeping(each=config.retries.body_bytes, together=self._part(config.retries.body_bytes_together)),
            RetryBudget(config.retries.budget),
        )
        limiter = await self._limiter()
        self.accounting = Accounting(
            prices=config.prices,
            limiter=limiter,
            ledger=open_ledger(config, self._stack),
            observer=self.observer,
            refuse_when_full=config.ledger.when_full == "refuse",
        )
        self._proxy = Proxy(
            identity=identity,
            branches=branches,
            catalog=config.catalog,
            pool=pool,
            relay=self._relay,
            limiter=limiter,
            accounting=self.accounting,
            max_open=self._part(config.server.max_open_requests),
        )
        self._clients = ClientServer(
            self._proxy.handle,
            outgoing=Outgoing(self._relay.live),
            limits=ConnectionLimits(
                max_connections=self._max_connections,
                write_seconds=config.timeouts.write,
                trusted_proxies=tuple(config.server.trusted_proxies),
            ),
            on_malformed=self._record_malformed,
        )
        self._stack.callback(self._clients.abort)

    async def listen(self, sockets: Iterable[socket.socket]) -> None:
        """Take sockets to accept from, which are closed with the gateway; nothing is accepted yet.

        Raises ConfigurationError where the certificate, which was there when it was checked, is no more.
        """
        settings = self.config.server
        tls = None
        if settings.tls_cert and settings.tls_key:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            try:
                tls.load_cert_chain(settings.tls_cert, settings.tls_key)
            except OSError as error:
                files = f"{settings.tls_cert} with {settings.tls_key}"
                raise ConfigurationError(f"server.tls_cert: {files}: {error.strerror or error}") from None
            tls.set_alpn_protocols(["http/1.1"])
        for sock in sockets:
            self._stack.callback(sock.close)
            # Not create_unix_server for a Unix socket: it may remove the file, which others still serve.
            server = await asyncio.get_running_loop().create_server(
                self._clients,
                sock=sock,
                ssl=tls,
                ssl_handshake_timeout=10.0 if tls else None,
                backlog=BACKLOG,
                start_serving=False,
            )
            self._stack.callback(server.close)
            self._servers.append(server)

    async def start(self) -> None:
        """Accept connections."""
        # What was built until here stays, and requests leave next to no cycles: looking for some as often as
        # Python does by itself took up to a tenth of the time of a request.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        _raise_file_limit(self._max_connections)
        cutting = asyncio.create_task(self._cut_revoked())
        self._stack.callback(cutting.cancel)
        for server in self._servers:
            await server.start_serving()
        self.state = "serving"

    async def take_up(self, upstreams: Sequence[UpstreamSettings]) -> None:
        """Send new requests to these upstreams alone; those under way end where they go.

        Raises ConfigurationError where one can't be opened: then nothing changes.
        """
        self._proxy.pool.replace(await self._roster.take_up(upstreams))

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

    async def drain(self, cut: asyncio.Event) -> None:
        """Stop accepting, and let every request end; `cut` makes an end of those that are left."""
        server = self.config.server
        self.state = "draining"
        _log.warning("draining: %d requests under way", self._proxy.open)
        await first_of(cut.wait(), asyncio.sleep(server.drain_delay_seconds))
        for listener in self._servers:
            listener.close()
        self._proxy.draining = True
        self._clients.drain()
        await first_of(cut.wait(), self._drained(), asyncio.sleep(server.drain_seconds))
        self._relay.cut_all()
        # What has just been cut still tells its clients why, and ends gently.
        await first_of(self._drained(), asyncio.sleep(2 * LINGER_SECONDS))

    async def _drained(self) -> None:
        """Wait until no client waits for anything, and every request is recorded."""
        while self._clients.connections:
            await self._clients.none_open.wait()
        while self._proxy.open:
            await self._proxy.none_open.wait()
        self.accounting.flush()

    async def _limiter(self) -> Limiter:
        """What holds requests to their limits, and keeps itself informed of them."""
        counting = open_counters(self.config, self._stack)
        self.counters = counting.counters
        limiter = Limiter(
            counting.counters,
            self.store,
            defaults=default_limits(self.config),
            counters_away=counting.away,
        )
        await limiter.look_or_wait()
        looking = asyncio.create_task(limiter.keep_looking())
        self._stack.callback(looking.cancel)
        return limiter

    def _count_rest(self, target: Target, rest: Rest) -> None:
        self.observer.cools(target.upstream.name, rest.cause.value)

    def _record_malformed(self, exchange: Exchange) -> None:
        self.observer.begin()
        self.observer.finish(exchange)


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
