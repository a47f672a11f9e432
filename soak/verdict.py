"""Whether a soak has gone well: what it found wrong, one line for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from soak.ledger import SHOWN, Ledger
from soak.sampling import Sample
from soak.upstream import Report

LEAST_SAMPLES = 9
"""In the second half of the run; with fewer, memory is not judged."""
GROWTH_BYTES = 3 << 20
"""What a process may grow by between the beginning and the end of the second half. Without a leak it was at
most half of that: garbage in cycles comes and goes by some megabytes, and the heap has gaps."""
SETTLING_SECONDS = 150.0
SETTLING_BYTES = 2 << 20
"""What it may grow by in addition where the second half begins before that time: the heap is still being laid
out, and grew by up to 3.8 MB without a leak."""
LOST_SHARE = 0.002
"""How many of all requests may be uploads that met a connection which the upstream was just closing."""
_ADMITTED = re.compile(
    r"(?:INFO|WARNING) gateway|ERROR gateway\.alarms|ERROR gateway\S* .*refuses the gateway's key"
    r"|(?:gateway|admin) listening on|upstream '"
)
"""How a line of the gateway's log may begin: its only errors are about the upstream."""


@dataclass(frozen=True)
class Growth:
    """How one process's memory went over the second half of the run."""

    pid: int
    before: float
    """Bytes: the median of the second half's first third."""
    after: float
    """Bytes: the median of its last third."""
    settling: bool

    @property
    def bytes(self) -> float:
        return self.after - self.before

    @property
    def limit(self) -> int:
        """Bytes; more is a leak."""
        return GROWTH_BYTES + (SETTLING_BYTES if self.settling else 0)

    def __str__(self) -> str:
        return (
            f"process {self.pid}: {self.before / 1e6:.2f} MB, then {self.after / 1e6:.2f} MB: "
            f"{self.bytes / 1e6:+.2f} MB, {self.limit / 1e6:.2f} MB are allowed"
        )


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """Of every process that lived through the run's second half; none where that was too short."""
    half = samples[len(samples) // 2 :]
    if len(half) < LEAST_SAMPLES:
        return []
    third = len(half) // 3
    return [
        Growth(
            pid,
            median(sample.held[pid].memory for sample in half[:third]),
            median(sample.held[pid].memory for sample in half[-third:]),
            settling=half[0].seconds < SETTLING_SECONDS,
        )
        for pid in half[0].held
        if all(pid in sample.held for sample in half)
    ]


def of_memory(samples: Sequence[Sample]) -> list[str]:
    """What is wrong with the memory."""
    return [f"memory grows: {growth}" for growth in growths(samples) if growth.bytes > growth.limit]


def of_rest(before: Sample, after: Sample, upstream_before: Report, upstream_after: Report) -> list[str]:
    """What is wrong with the gateway when all traffic is over, compared to before it began."""
    found = []
    counted = after.counted
    if counted.open_requests:
        found.append(f"{counted.open_requests} requests are still open")
    if counted.open_connections:
        found.append(f"{counted.open_connections} connections of clients are still open")
    if counted.restarts or before.held.keys() != after.held.keys():
        found.append(f"the gateway's processes are not those it began with ({counted.restarts} restarts)")
    idle = upstream_after.open_connections - upstream_before.open_connections
    if after.files - before.files != idle:
        found.append(
            f"{after.files} files are open and {before.files} were, with {idle} more connections upstream"
        )
    return found


def of_counts(ledger: Ledger, after: Sample, upstream: Report) -> list[str]:
    """What is wrong with the numbers of requests, as clients, gateway and upstream counted them."""
    found = []
    counted = after.counted
    if counted.dropped_lines:
        found.append(f"{counted.dropped_lines} lines of the access log were dropped")
    differing = {
        key: (counted.requests[key], ledger.lines[key])
        for key in counted.requests.keys() | ledger.lines.keys()
        if counted.requests[key] != ledger.lines[key]
    }
    for (ending, status, reason), (metric, lines) in sorted(differing.items()):
        found.append(
            f"gateway_requests_total counts {metric} {ending} with {status} {reason}, the access log {lines}"
        )
    total = counted.requests.total()
    if not ledger.answered <= total <= ledger.answered + ledger.left:
        found.append(
            f"gateway_requests_total counts {total}; {ledger.answered} were answered, {ledger.left} left"
        )
    if not ledger.planned <= upstream.requests <= ledger.asked:
        found.append(
            f"the upstream counts {upstream.requests} requests; it must have seen {ledger.planned}, "
            f"and by the access log it was asked for {ledger.asked}"
        )
    if ledger.lost > LOST_SHARE * ledger.planned:
        found.append(f"{ledger.lost} uploads are lost, too many to have met closed connections")
    return found


def of_log(lines: Iterable[str]) -> list[str]:
    """What is wrong with the gateway's log, standard error."""
    found = [f"the gateway's log says: {line}" for line in lines if not _ADMITTED.match(line)]
    return found[:SHOWN]
