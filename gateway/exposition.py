"""What was counted, in Prometheus's words: the names, labels and texts of every metric."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import accumulate

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
from gateway.exchange import Ending
from gateway.metrics import BUCKETS, Histogram, Labels, Snapshot, Tally

_BOUNDS = (*(str(bound) for bound in BUCKETS), "+Inf")


class Exposition(Collector):
    """Renders a snapshot, taken anew each time, together with this process's own figures and the `others`."""

    def __init__(self, snapshot: Callable[[], Snapshot], *others: Collector) -> None:
        self._snapshot = snapshot
        self._registry = CollectorRegistry()
        for collector in (self, *others):
            self._registry.register(collector)
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its content type, in the format that the `Accept` header asks for.

        Safe in another thread than the one that counts: a request counted meanwhile may show in part.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Every metric of the gateway itself. Called by the registry."""
        snapshot = self._snapshot()
        yield InfoMetricFamily(
            "gateway_build",
            "The version that runs.",
            {"version": __version__, "python": platform.python_version()},
        )
        yield GaugeMetricFamily(
            "gateway_open_requests", "Requests begun and not finished.", snapshot.open_requests
        )
        yield CounterMetricFamily(
            "gateway_log_lines_dropped_total", "Access-log lines lost.", snapshot.dropped_lines
        )
        yield _requests(snapshot.tallies)
        yield _bytes(snapshot.tallies)
        yield from _tokens(snapshot.tallies)
        yield from _times(snapshot.tallies)


def _requests(tallies: list[Tally]) -> Metric:
    requests = CounterMetricFamily("gateway_requests_total", "Requests finished.", labels=Labels._fields)
    for tally in tallies:
        requests.add_metric([str(value) for value in tally.labels], tally.requests)
    return requests


def _bytes(tallies: list[Tally]) -> Metric:
    body_bytes = CounterMetricFamily(
        "gateway_body_bytes_total", "Body bytes exchanged with clients.", labels=["direction"]
    )
    body_bytes.add_metric(["request"], sum(tally.request_bytes for tally in tallies))
    body_bytes.add_metric(["response"], sum(tally.response_bytes for tally in tallies))
    return body_bytes


def _tokens(tallies: list[Tally]) -> Iterator[Metric]:
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


def _times(tallies: list[Tally]) -> Iterator[Metric]:
    first_byte: defaultdict[tuple[str, str, str], Histogram] = defaultdict(Histogram)
    duration: defaultdict[tuple[str, str, str], Histogram] = defaultdict(Histogram)
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
                family.add_metric(labels, _buckets(histogram), histogram.sum)
        yield family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    return list(zip(_BOUNDS, accumulate(histogram.counts), strict=True))
