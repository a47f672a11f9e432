"""Counts requests that are over: integers on the hot path, put into Prometheus's words when somebody asks.

`labels()` of prometheus_client costs more than the rest of a request's bookkeeping, so there is one tally for
each combination of labels, found by one dictionary look-up, and the metrics are sums over the tallies.

A client can't make series: `ending`, `framing` and `reason` come from closed lists, `upstream` from the
configuration, `status` is one of 501, and a model that is not in the catalog (an `allow` pattern lets clients
choose such names) is counted as `other`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container

from gateway.exchange import Ending, Exchange, Framing
from gateway.metrics import BUCKETS, OTHER, Histogram, Labels, Tally


class Metrics:
    """Counts finished exchanges. `models` are the ids that may stand as a label."""

    def __init__(self, *, models: Container[str]) -> None:
        self.open_requests = 0
        self.retries: dict[str, int] = {}
        """See `Snapshot`, as of the next."""
        self.cooldowns: dict[str, dict[str, int]] = {}
        self._models = models
        self._tallies: dict[tuple[Ending, Framing, int, str, str, str], Tally] = {}

    def count(self, exchange: Exchange) -> None:
        """Count an exchange that is over (`ended` is set)."""
        key = (
            exchange.ending,
            exchange.route.framing,
            exchange.status,
            exchange.model,
            exchange.upstream,
            exchange.reason,
        )
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._add_tally(Labels(*key))
        tally.requests += 1
        tally.request_bytes += exchange.request_bytes
        tally.response_bytes += exchange.response_bytes
        _observe(tally.duration, exchange.ended - exchange.began)
        if exchange.first_byte:
            _observe(tally.first_byte, exchange.first_byte - exchange.began)
        usage = exchange.usage
        if usage is not None:
            tally.reported += 1
            tally.input_tokens += usage.input
            tally.output_tokens += usage.output
            tally.cached_tokens += usage.cached
        for what in exchange.unpriced:
            tally.unpriced[what] = tally.unpriced.get(what, 0) + 1
        for failed in exchange.failed_attempts:
            self.retries[failed.upstream] = self.retries.get(failed.upstream, 0) + 1

    def count_cooldown(self, upstream: str, cause: str) -> None:
        """Count that a target of the upstream, or a key, was found to need one."""
        counts = self.cooldowns.setdefault(upstream, {})
        counts[cause] = counts.get(cause, 0) + 1

    def tallies(self) -> list[Tally]:
        """Every tally there is. They go on counting: whoever reads them in another thread sees parts."""
        return list(self._tallies.values())  # one step, so that a new tally can't upset the iteration

    def _add_tally(self, labels: Labels) -> Tally:
        if labels.model and labels.model not in self._models:
            labels = labels._replace(model=OTHER)
        if not 100 <= labels.status <= 599:  # an upstream may send any three digits
            labels = labels._replace(status=0)
        return self._tallies.setdefault(labels, Tally(labels))


def _observe(histogram: Histogram, seconds: float) -> None:
    histogram.counts[bisect_left(BUCKETS, seconds)] += 1
    histogram.sum += seconds
