"""What was counted, in Prometheus's words: the names, labels and texts of every metric."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
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

from gateway import COMPILED, __version__
from gateway.ledger import Shipper
from gateway.metrics import BUCKETS, Histogram, Labels, Snapshot, Tally

_BOUNDS = (*(str(bound) for bound in BUCKETS), "+Inf")


def _nothing() -> None: ...


class Exposition(Collector):
    """Renders a snapshot, taken anew each time, together with this process's own figures and the `others`."""

    def __init__(
        self, snapshot: Callable[[], Snapshot], *others: Collector, look: Callable[[], None] = _nothing
    ) -> None:
        """look: has the others see what they can see on the event loop alone."""
        self.look = look
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
            {
                "version": __version__,
                "python": platform.python_version(),
                "compiled": "yes" if COMPILED else "no",
            },
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
        yield from _unknown(snapshot.tallies)
        yield from _keeping(snapshot)
        yield from _attempts(snapshot)
        yield from _renewing(snapshot)
        yield from _times(snapshot.tallies)


class ShippingFigures(Collector):
    """What the process of a machine that moves usage into the store knows of that."""

    def __init__(self, shipper: Shipper) -> None:
        self._shipper = shipper

    def collect(self) -> Iterator[Metric]:
        """Called by the registry, in a thread: it reads files."""
        shipper = self._shipper
        with suppress(OSError):  # what can't be read has no figure
            size, records = shipper.backlog.look()
            yield GaugeMetricFamily("gateway_spool_bytes", "Usage records on disk, in bytes.", size)
            yield GaugeMetricFamily("gateway_spool_records", "Usage records on disk.", records)
        yield GaugeMetricFamily(
            "gateway_shipping_stopped", "1 while usage can't be moved into the store.", shipper.away
        )
        yield CounterMetricFamily(
            "gateway_usage_records_stored_total", "Usage records moved into the store.", shipper.shipped
        )
        yield CounterMetricFamily(
            "gateway_usage_records_rejected_total",
            "Lines of the spool that are no records, or that the store can't keep.",
            shipper.lost,
        )


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
    for tally in tallies:
        model = tally.labels.model
        if tally.reported:
            tokens[model, "input"] += tally.input_tokens
            tokens[model, "output"] += tally.output_tokens
            tokens[model, "cached"] += tally.cached_tokens
    family = CounterMetricFamily(
        "gateway_tokens_total", "Tokens that upstreams reported.", labels=["model", "kind"]
    )
    for labels, value in tokens.items():
        family.add_metric(labels, value)
    yield family


def _unknown(tallies: list[Tally]) -> Iterator[Metric]:
    unknown: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    unpriced: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for tally in tallies:
        labels = tally.labels
        if labels.upstream:  # where none was asked, nothing was used: that is known
            # What was begun to be answered well should have told its usage; an error need not.
            answered = "yes" if 200 <= labels.status < 300 else "no"
            unknown[labels.model, labels.upstream, answered] += tally.requests - tally.reported
        for what, requests in tally.unpriced.items():
            unpriced[labels.model, labels.upstream, what] += requests
    family = CounterMetricFamily(
        "gateway_usage_unknown_requests_total",
        "Requests whose upstream reported no usage.",
        labels=["model", "upstream", "answered"],
    )
    for series, value in unknown.items():
        family.add_metric(series, value)
    yield family
    family = CounterMetricFamily(
        "gateway_unpriced_requests_total",
        "Requests that used something without a price.",
        labels=["model", "upstream", "what"],
    )
    for series, value in unpriced.items():
        family.add_metric(series, value)
    yield family


def _keeping(snapshot: Snapshot) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "gateway_usage_records_lost_total", "Usage records lost for want of room.", snapshot.records_lost
    )
    yield GaugeMetricFamily(
        "gateway_usage_unwritten_bytes", "Usage records in memory, not on disk.", snapshot.unwritten_bytes
    )
    yield GaugeMetricFamily(
        "gateway_spool_full", "1 while usage can't be written to disk.", snapshot.spool_full
    )
    yield CounterMetricFamily(
        "gateway_unsettled_requests_total", "Requests whose end could not be counted.", snapshot.unsettled
    )
    yield GaugeMetricFamily(
        "gateway_counters_away", "1 while the counters give no answer.", snapshot.counters_away
    )
    yield GaugeMetricFamily("gateway_store_away", "1 while the store gives no answer.", snapshot.store_away)


def _attempts(snapshot: Snapshot) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "gateway_upstream_retries_total",
        "Attempts that failed and were followed by another.",
        labels=["upstream"],
    )
    for upstream, retries in snapshot.retries.items():
        family.add_metric([upstream], retries)
    yield family
    family = CounterMetricFamily(
        "gateway_upstream_cooldowns_total",
        "Cooldowns that targets or keys were found to need.",
        labels=["upstream", "cause"],
    )
    for upstream, causes in snapshot.cooldowns.items():
        for cause, count in causes.items():
            family.add_metric([upstream, cause], count)
    yield family


def _renewing(snapshot: Snapshot) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "gateway_upstream_token_failing", "1 while access tokens can't be renewed.", labels=["upstream"]
    )
    for upstream, failing in snapshot.tokens_failing.items():
        family.add_metric([upstream], failing)
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
