"""The parent of several workers: holds their sockets, starts each again that ends, and drains them all."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from gateway import control
from gateway.admin import create_admin_app, serve_admin
from gateway.config import Config, Upstream
from gateway.exposition import Exposition, ShippingFigures
from gateway.listeners import another, bind, url
from gateway.machine import default_limits, open_counters, ship
from gateway.notify import notify
from gateway.page import add_usage_page
from gateway.process import Announce, Started, catch_reload, catch_signals, first_of, warn
from gateway.reload import Reloader
from gateway.stores import open_store
from gateway.target_figures import TargetFigures
from gateway.totals import Totals
from gateway.worker_process import Worker

STEADY_SECONDS = 10.0
"""A worker that lives for as long is no sign of a fault that will come back at once."""
BACKOFF_SECONDS = 0.5
"""Before the third start in a row; the second is made at once, and each one after takes twice as long."""
BACKOFF_DOUBLINGS = 6
PATIENCE_SECONDS = 1.0
"""The longest pause during which connections may wait for the next worker."""
KILL_SECONDS = 10.0
"""What a worker may need beyond the time of the drain, to tell its last clients and to write its log."""
_log = logging.getLogger(__name__)


class StartError(Exception):
    """The workers can't be started: one line that says why."""


class Supervisor:
    """Runs the gateway in `server.workers` processes.

    `command` starts a worker when the number of its place and of its files (the channel to here, then the
    sockets to accept from) are added.
    """

    def __init__(self, config: Config, read: Callable[[], Config], command: Sequence[str]) -> None:
        """`read` gives the configuration as it is now."""
        self._config = config
        self._reloader = Reloader(config, read, self._have_taken_up)
        self._command = command
        self._totals = Totals(config.server.workers)
        self._sockets: dict[int, list[socket.socket]] = {
            place: [] for place in range(1, config.server.workers + 1)
        }
        """By place. They are kept open here, so that connections to a worker that died wait for the next."""
        self._workers: list[Worker] = []
        self._state = "starting"

    async def run(self, announce: Announce) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second signal cuts the drain short.

        What must be one is done here: the store is made or migrated, the first credential (by `announce`),
        the admin listener. Raises StoreError, ListenError or StartError when it can't start.
        """
        server = self._config.server
        self._stop, self._cut = catch_signals()
        catch_reload(self._config, self._reloader.ask)
        async with AsyncExitStack() as stack:
            store = await open_store(self._config.store.url, self._config.store.password)
            stack.push_async_callback(store.close)
            shipper = ship(self._config, store, stack)
            models = [model.id for model in self._config.catalog.models]
            figures = TargetFigures(self._totals.targets, models)
            app = create_admin_app(
                ready=self._ready,
                exposition=Exposition(
                    self._totals.snapshot,
                    self._totals,
                    ShippingFigures(shipper),
                    figures,
                    look=figures.look,
                ),
                store=store,
                targets=self._totals.targets,
                settings=self._config.admin,
                listen=server.admin_listen,
            )
            add_usage_page(
                app,
                store=store,
                snapshot=self._totals.snapshot,
                counters=open_counters(self._config, stack).counters,
                targets=self._totals.targets,
                defaults=default_limits(self._config),
                models=models,
            )
            admin_address = await serve_admin(stack, server.admin_listen, app)
            stack.callback(self._close_sockets)
            addresses = await self._bind()
            warn(self._config)
            stack.push_async_callback(self._kill)
            workers = await self._start_all()
            if self._stop.is_set():
                return
            self._state = "serving"
            await announce(Started(self._config, store, addresses, admin_address))
            notify("READY=1")
            async with asyncio.TaskGroup() as keepers:
                for worker in workers:
                    keepers.create_task(self._keep(worker))
                reloading = keepers.create_task(self._reloader.run())
                await self._stop.wait()
                reloading.cancel()
                await self._drain()

    async def _have_taken_up(self, upstreams: Sequence[Upstream]) -> None:
        """So do those workers that are started later: with no other file than was found good."""
        self._config = self._config.with_upstreams(tuple(upstreams))
        self._tell(control.UPSTREAMS + control.packed(upstreams))

    def _ready(self) -> tuple[bool, str]:
        if self._state == "serving" and not any(worker.serves for worker in self._workers):
            return False, "no worker serves"
        return self._state == "serving", self._state

    async def _bind(self) -> list[str]:
        """Bind every address once for each worker; where they are, as URLs."""
        addresses = []
        for listen in self._config.server.listen:
            bound = await bind(listen, shared=True)
            addresses.append(url(self._config.server.scheme, listen, bound))
            first, *others = self._sockets
            self._sockets[first] += bound
            for place in others:
                self._sockets[place] += [another(sock) for sock in bound]
        return addresses

    def _close_sockets(self) -> None:
        for sockets in self._sockets.values():
            for sock in sockets:
                sock.close()

    async def _start_all(self) -> list[Worker]:
        """Start every worker; when this returns all are ready, unless `stop` is set. Raises StartError."""
        workers = [self._start(place) for place in self._sockets]
        await first_of(
            asyncio.gather(*(worker.ready.wait() for worker in workers)),
            *(worker.ended.wait() for worker in workers),
            self._stop.wait(),
        )
        for worker in workers:
            if worker.ended.is_set() and not self._stop.is_set():
                raise StartError(f"worker {worker.place} {worker.fate}")
        return workers

    def _start(self, place: int) -> Worker:
        self._workers = [worker for worker in self._workers if not worker.ended.is_set()]
        self._workers.append(Worker(place, self._command, self._config, self._sockets[place], self._totals))
        return self._workers[-1]

    async def _keep(self, worker: Worker) -> None:
        """Have a worker in this one's place until the drain."""
        failures = 0
        while True:
            await first_of(worker.ended.wait(), worker.leaving.wait(), self._stop.wait())
            if self._stop.is_set():
                return
            pause = 0.0
            if worker.leaving.is_set():
                failures = 0
                _log.warning("worker %d leaves; starting another", worker.place)
            else:
                failures = 1 if worker.age > STEADY_SECONDS else failures + 1
                pause = _pause(failures)
                _log.error("worker %d %s; starting another in %.1f s", worker.place, worker.fate, pause)
            if pause > PATIENCE_SECONDS:
                self._renew_sockets(worker.place)
            await first_of(asyncio.sleep(pause), self._stop.wait())
            if self._stop.is_set():
                return
            self._totals.restarted(worker.place)
            worker = self._start(worker.place)

    def _renew_sockets(self, place: int) -> None:
        """Give up the connections that wait, so that their clients try again and find another worker.

        The new sockets listen only when a worker is ready to accept from them.
        """
        old = self._sockets[place]
        try:
            self._sockets[place] = [another(sock) for sock in old]
        except OSError as error:
            _log.error("worker %d keeps its sockets: %s", place, error.strerror)
            return
        for sock in old:
            sock.close()

    async def _drain(self) -> None:
        server = self._config.server
        self._state = "draining"
        notify("STOPPING=1")
        self._tell(control.DRAIN)
        # From now on each worker closes its sockets for good when it stops to accept.
        self._close_sockets()
        try:
            async with asyncio.timeout(server.drain_delay_seconds + server.drain_seconds + KILL_SECONDS):
                await first_of(self._ended(), self._cut.wait())
                if self._cut.is_set():
                    self._tell(control.CUT)
                await self._ended()
        except TimeoutError:
            for worker in self._workers:
                if not worker.ended.is_set():
                    _log.error("worker %d does not end and is killed", worker.place)

    def _tell(self, command: bytes) -> None:
        for worker in self._workers:
            worker.tell(command)

    async def _ended(self) -> None:
        for worker in self._workers:
            await worker.ended.wait()

    async def _kill(self) -> None:
        """End every worker that is left."""
        for worker in self._workers:
            worker.kill()
        await self._ended()


def _pause(failures: int) -> float:
    """Seconds before the next start, after so many in a row that came to nothing."""
    return BACKOFF_SECONDS * 2 ** min(failures - 2, BACKOFF_DOUBLINGS) if failures > 1 else 0.0
