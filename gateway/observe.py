"""What operators see of each request: its line in the access log and its part in the metrics."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Container

from gateway.access_log import AccessLog
from gateway.counting import Metrics
from gateway.exchange import Exchange
from gateway.line_writer import LineWriter
from gateway.metrics import Snapshot


class Observer:
    """Told of every request's begin and end, on the event loop. One for each process.

    `models` are the catalog's ids: the only ones that get metrics of their own. `log_fd` is where the access
    log goes, standard output by default; `shared` says that other processes' go there, too.
    """

    def __init__(self, *, models: Container[str], log_fd: int = 1, shared: bool = False) -> None:
        self._writer = LineWriter(log_fd, shared=shared)
        self._log = AccessLog(self._writer)
        self._metrics = Metrics(models=models)

    def begin(self) -> None:
        """A request was taken. Each `begin` needs its `finish`."""
        self._metrics.open_requests += 1

    def finish(self, exchange: Exchange) -> None:
        """A request is over, in whatever way. Its `ended` becomes now, unless it is set already."""
        self._metrics.open_requests -= 1
        if not exchange.ended:
            exchange.ended = time.monotonic()
        self._metrics.count(exchange)
        self._log.record(exchange)

    def cools(self, upstream: str, cause: str) -> None:
        """A target of the upstream, or one of its keys, was found to need a cooldown."""
        self._metrics.count_cooldown(upstream, cause)

    def snapshot(self) -> Snapshot:
        """What was counted until now. Its tallies go on counting."""
        metrics = self._metrics
        return Snapshot(
            metrics.open_requests,
            self._writer.dropped,
            metrics.tallies(),
            retries=dict(metrics.retries),
            cooldowns={upstream: dict(counts) for upstream, counts in list(metrics.cooldowns.items())},
        )

    def close(self) -> Awaitable[None]:
        """Write out the access log."""
        return self._writer.close()
