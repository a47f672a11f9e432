"""Metrics: integers counted on the hot path, put into Prometheus's words only when somebody asks.

`labels()` of prometheus_client costs more than the rest of a request's bookkeeping, so there is one tally for
each combination of labels, found by one dictionary look-up, and the metrics are sums over the tallies.

A client can't make series: `ending`, `framing` and `reason` come from closed lists, `upstream` from the
configuration, `status` is one of 501, and a model that is not in the catalog (an `allow` pattern lets clients
choose such names) is counted as `other`.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Container, Iterator
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.exchange import Ending, Exchange, Framing

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds in seconds: from a refusal to a model that thinks for minutes."""
OTHER = "other"

_BOUNDS = (*(str(bound) for bound in BUCKETS), "+Inf")


class Metrics(Collector):
    """Counts finished exchanges, and renders every metric of the gateway and of its process.

    `models` are the ids that may stand as a label. `dropped_lines` tells how many log lines were lost so far.
    """

    def __init__(self, *, models: Container[str], dropped_lines: Callable[[], int]) -> None:
        self.open_requests = 0
        self._models = models
        self._dropped_lines = dropped_lines
        self._tallies: dict[tuple[Ending, Framing, int, str, str, str], _Tally] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

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
            tally = self._add_tally(_Labels(*key))
        tally.requests += 1
        tally.request_bytes += exchange.request_bytes
        tally.response_bytes += exchange.response_bytes
        tally.duration.observe(exchange.ended - exchange.began)
        if exchange.first_byte:
            tally.first_byte.observe(exchange.first_byte - exchange.began)
        usage = exchange.usage
        if usage is not None:
            tally.reported += 1
            tally.input_tokens += usage.input
            tally.output_tokens += usage.output
            tally.cached_tokens += usage.cached

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its content type, in the format that the `Accept` header asks for.

        Safe in another thread than the one that counts: a request counted meanwhile may show in part.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _add_tally(self, labels: _Labels) -> _Tally:
        if labels.model and labels.model not in self._models:
            labels = labels._replace(model=OTHER)
        if not 100 <= labels.status <= 599:  # an upstream may send any three digits
            labels = labels._replace(status=0)
        return self._tallies.setdefault(labels, _Tally(labels))

    def collect(self) -> Iterator[Metric]:
        """Every metric of the gateway itself. Called by the registry."""
        yield InfoMetricFamily(
            "gateway_build",
            "The version that runs.",
            {"version": __version__, "python": platform.python_version()},
        )
        yield GaugeMetricFamily(
            "gateway_open_requests", "Requests begun and not finished.", self.open_requests
        )
        yield CounterMetricFamily(
            "gateway_log_lines_dropped_total", "Access-log lines lost.", self._dropped_lines()
        )
        tallies = list(self._tallies.values())  # one step, so that a new tally can't upset the iteration
        yield _requests(tallies)
        yield _bytes(tallies)
        yield from _tokens(tallies)
        yield from _times(tallies)


class _Labels(NamedTuple):
    """The labels of `gateway_requests_total`; every other metric has fewer."""

    ending: Ending
    framing: Framing
    status: int
    model: str
    upstream: str
    reason: str


class _Histogram:
    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * len(_BOUNDS)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds

    def add(self, other: _Histogram) -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def buckets(self) -> list[tuple[str, float]]:
        return list(zip(_BOUNDS, accumulate(self.counts), strict=True))


class _Tally:
    """What the requests of one combination of labels add up to."""

    __slots__ = (
        "cached_tokens",
        "duration",
        "first_byte",
        "input_tokens",
        "labels",
        "output_tokens",
        "reported",
        "request_bytes",
        "requests",
        "response_bytes",
    )

    def __init__(self, labels: _Labels) -> None:
        self.labels = labels
        self.requests = 0
        self.reported = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cached_tokens = 0
        self.first_byte = _Histogram()
        self.duration = _Histogram()


def _requests(tallies: list[_Tally]) -> Metric:
    requests = CounterMetricFamily("gateway_requests_total", "Requests finished.", labels=_Labels._fields)
    for tally in tallies:
        requests.add_metric([str(value) for value in tally.labels], tally.requests)
    return requests


def _bytes(tallies: list[_Tally]) -> Metric:
    body_bytes = CounterMetricFamily(
        "gateway_body_bytes_total", "Body bytes exchanged with clients.", labels=["direction"]
    )
    body_bytes.add_metric(["request"], sum(tally.request_bytes for tally in tallies))
    body_bytes.add_metric(["response"], sum(tally.response_bytes for tally in tallies))
    return body_bytes


def _tokens(tallies: list[_Tally]) -> Iterator[Metric]:
    tokens: defaultdict[tuple[str, str], int] = defaultdict(int)
    unknown: defaultdict[str, int] = defaultdict(int)
    for tally in tallies:
        model = tally.labels.model
        if tally.reported:
            tokens[model, "input"] += tally.input_tokens
            tokens[model, "output"] += tally.output_tokens
            tokens[model, "cached"] += tally.cached_tokens
        # Where no upstream was asked, or one answered with its error, nothing was used: that is known.
        if tally.labels.upstream and tally.labels.ending != Ending.UPSTREAM_ERROR:
            unknown[model] += tally.requests - tally.reported
    family = CounterMetricFamily(
        "gateway_tokens_total", "Tokens that upstreams reported.", labels=["model", "kind"]
    )
    for labels, value in tokens.items():
        family.add_metric(labels, value)
    yield family
    family = CounterMetricFamily(
        "gateway_usage_unknown_requests_total",
        "Requests whose upstream reported no usage.",
        labels=["model"],
    )
    for model, value in unknown.items():
        family.add_metric([model], value)
    yield family


def _times(tallies: list[_Tally]) -> Iterator[Metric]:
    first_byte: defaultdict[tuple[str, str, str], _Histogram] = defaultdict(_Histogram)
    duration: defaultdict[tuple[str, str, str], _Histogram] = defaultdict(_Histogram)
    for tally in tallies:
        labels = (tally.labels.model, tally.labels.upstream, str(tally.labels.framing))
        first_byte[labels].add(tally.first_byte)
        duration[labels].add(tally.duration)
    for name, text, series in (
        ("gateway_first_byte_seconds", "Begin to the upstream's first byte.", first_byte),
        ("gateway_request_duration_seconds", "Begin to end.", duration),
    ):
        family = HistogramMetricFamily(name, text, labels=["model", "upstream", "framing"])
        for labels, histogram in series.items():
            if any(histogram.counts):
                family.add_metric(labels, histogram.buckets(), histogram.sum)
        yield family
