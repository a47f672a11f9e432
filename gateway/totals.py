"""What all workers have counted together, those that ended included."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.control import Report
from gateway.metrics import Snapshot, add_up
from gateway.upstreams.target_state import TargetState, merge


@dataclass(frozen=True, slots=True)
class Member:
    """One worker process, and the place that it fills: from 1, the label that its figures have."""

    place: int
    process: int
    """Its id."""


class Totals(Collector):
    """Adds up reports. No counter goes back when a worker ends; its gauges end with it.

    Reports come on the event loop while another thread renders.
    """

    def __init__(self, places: int) -> None:
        self._places = range(1, places + 1)
        self._lock = threading.Lock()
        self._latest: dict[Member, Report] = {}
        self._past = Snapshot()
        self._past_cpu_seconds: defaultdict[int, float] = defaultdict(float)
        self._restarts: defaultdict[int, float] = defaultdict(float)

    def report(self, member: Member, report: Report) -> None:
        """Take a worker's newest report in the place of its last one."""
        with self._lock:
            self._latest[member] = report

    def ended(self, member: Member) -> None:
        """Keep what a worker leaves behind."""
        with self._lock:
            if report := self._latest.pop(member, None):
                self._past = add_up([self._past, report.metrics.left])
                self._past_cpu_seconds[member.place] += report.cpu_seconds

    def restarted(self, place: int) -> None:
        """Count that a worker was started in the place of another."""
        with self._lock:
            self._restarts[place] += 1

    def snapshot(self) -> Snapshot:
        """All together."""
        with self._lock:
            return add_up([self._past, *(report.metrics for report in self._latest.values())])

    def targets(self) -> list[TargetState]:
        """All workers' view of the targets."""
        with self._lock:
            return merge(report.targets for report in self._latest.values())

    def collect(self) -> Iterator[Metric]:
        """What is told of each worker by itself. Called by the registry."""
        with self._lock:
            latest = dict(self._latest)
            cpu_seconds, restarts = self._past_cpu_seconds.copy(), self._restarts.copy()
        connections: defaultdict[int, float] = defaultdict(float)
        resident: defaultdict[int, float] = defaultdict(float)
        files: defaultdict[int, float] = defaultdict(float)
        for member, report in latest.items():
            cpu_seconds[member.place] += report.cpu_seconds
            connections[member.place] += report.open_connections
            resident[member.place] += report.resident_bytes
            with suppress(OSError):  # it has just ended
                files[member.place] += len(os.listdir(f"/proc/{member.process}/fd"))
        yield self._family(
            CounterMetricFamily, "restarts_total", "Starts of a worker in the place of another.", restarts
        )
        yield self._family(CounterMetricFamily, "cpu_seconds_total", "User and system CPU time.", cpu_seconds)
        yield self._family(GaugeMetricFamily, "open_connections", "Connections of clients.", connections)
        yield self._family(GaugeMetricFamily, "resident_memory_bytes", "Memory in RAM.", resident)
        yield self._family(GaugeMetricFamily, "open_fds", "Open file descriptors.", files)

    def _family(
        self,
        kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
        name: str,
        text: str,
        values: Mapping[int, float],
    ) -> Metric:
        family = kind(f"gateway_worker_{name}", text, labels=["worker"])
        for place in self._places:
            family.add_metric([str(place)], values.get(place, 0))
        return family
