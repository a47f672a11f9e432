"""What is counted of requests, and adding it up: the shapes in which processes send it to each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.exchange import Ending, Framing

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds in seconds: from a refusal to a model that thinks for minutes."""
OTHER = "other"


class Labels(NamedTuple):
    """The labels of `gateway_requests_total`; every other metric has fewer."""

    ending: Ending
    framing: Framing
    status: int
    model: str
    upstream: str
    reason: str


@dataclass(slots=True)
class Histogram:
    """How many times fell below each bound and above the one before; the last count is of those above all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    sum: float = 0.0

    def add(self, other: Histogram) -> None:
        """Count all that the other has counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


@dataclass(slots=True)
class Tally:
    """What the requests of one combination of labels add up to."""

    labels: Labels
    requests: int = 0
    reported: int = 0
    """Of those, the ones whose upstream reported usage."""
    request_bytes: int = 0
    response_bytes: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    unpriced: dict[str, int] = field(default_factory=dict)
    """Those that used something without a price, by what that is; see `prices`."""
    first_byte: Histogram = field(default_factory=Histogram)
    duration: Histogram = field(default_factory=Histogram)

    def add(self, other: Tally) -> None:
        """Count all that the other has counted."""
        self.requests += other.requests
        self.reported += other.reported
        self.request_bytes += other.request_bytes
        self.response_bytes += other.response_bytes
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cached_tokens += other.cached_tokens
        for what, requests in other.unpriced.items():
            self.unpriced[what] = self.unpriced.get(what, 0) + requests
        self.first_byte.add(other.first_byte)
        self.duration.add(other.duration)


@dataclass(slots=True)
class Snapshot:
    """What one process, or several, had counted at one time. Processes send it to each other."""

    open_requests: int = 0
    dropped_lines: int = 0
    tallies: list[Tally] = field(default_factory=list)
    records_lost: int = 0
    """Of usage."""
    unwritten_bytes: int = 0
    """Of records that wait in memory."""
    spool_full: bool = False
    """Records can't be written to disk."""
    unsettled: int = 0
    """Requests whose reservation stands, as their end could not be counted."""
    counters_away: bool = False
    store_away: bool = False
    retries: dict[str, int] = field(default_factory=dict)
    """Attempts that failed and were followed by another, by upstream."""
    cooldowns: dict[str, dict[str, int]] = field(default_factory=dict)
    """How often a target or a key was found to need one, by upstream and cause."""
    tokens_failing: dict[str, bool] = field(default_factory=dict)
    """By upstream whose access tokens are renewed: whether that fails just now."""

    @property
    def left(self) -> Snapshot:
        """What stays of a process that ends: what it counted, not how it was."""
        return Snapshot(
            dropped_lines=self.dropped_lines,
            tallies=self.tallies,
            records_lost=self.records_lost,
            unsettled=self.unsettled,
            retries=self.retries,
            cooldowns=self.cooldowns,
        )


def add_up(snapshots: Iterable[Snapshot]) -> Snapshot:
    """A new snapshot: what all of them have counted together."""
    total = Snapshot()
    tallies: dict[Labels, Tally] = {}
    for snapshot in snapshots:
        total.open_requests += snapshot.open_requests
        total.dropped_lines += snapshot.dropped_lines
        total.records_lost += snapshot.records_lost
        total.unwritten_bytes += snapshot.unwritten_bytes
        total.spool_full |= snapshot.spool_full
        total.unsettled += snapshot.unsettled
        total.counters_away |= snapshot.counters_away
        total.store_away |= snapshot.store_away
        for upstream, retries in snapshot.retries.items():
            total.retries[upstream] = total.retries.get(upstream, 0) + retries
        for upstream, causes in snapshot.cooldowns.items():
            counts = total.cooldowns.setdefault(upstream, {})
            for cause, count in causes.items():
                counts[cause] = counts.get(cause, 0) + count
        for upstream, failing in snapshot.tokens_failing.items():
            total.tokens_failing[upstream] = failing or total.tokens_failing.get(upstream, False)
        for tally in snapshot.tallies:
            tallies.setdefault(tally.labels, Tally(tally.labels)).add(tally)
    total.tallies = list(tallies.values())
    return total
