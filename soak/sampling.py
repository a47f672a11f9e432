"""What the gateway holds at a moment: memory and files of each of its processes, and its own counters."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.programs import processes
from tests.support.raw_client import RawClient


@dataclass(frozen=True)
class Held:
    """What one process holds."""

    memory: int
    """Bytes that are its own (Anonymous). Pages of files, libraries' above all, it shares with whatever else
    runs; what its part of them is changes by no doing of its own."""
    files: int


@dataclass(frozen=True)
class Counted:
    """What the gateway's metrics say, of all its processes together. At most a second old."""

    open_requests: int
    open_connections: int
    """Of clients."""
    dropped_lines: int
    restarts: int
    requests: Counter[tuple[str, int, str]]
    """By ending, status and reason."""


@dataclass(frozen=True)
class Sample:
    """One moment of the run."""

    seconds: float
    held: dict[int, Held]
    """By process."""
    counted: Counted

    @property
    def memory(self) -> int:
        """Bytes, of all processes."""
        return sum(held.memory for held in self.held.values())

    @property
    def files(self) -> int:
        """Of all processes."""
        return sum(held.files for held in self.held.values())

    @property
    def requests(self) -> int:
        """That are over."""
        return self.counted.requests.total()


class Sampler:
    """Takes samples of a gateway."""

    def __init__(self, pid: int, admin_port: int) -> None:
        self._pid = pid
        self._admin_port = admin_port
        self._began = monotonic()

    async def take(self) -> Sample:
        """One now. Raises OSError when the gateway is gone."""
        held = {pid: _held(pid) for pid in processes(self._pid)}
        return Sample(monotonic() - self._began, held, await self._count())

    async def _count(self) -> Counted:
        async with RawClient("127.0.0.1", self._admin_port, deadline=30.0) as client:
            await client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            text = (await client.read_response("GET")).body.decode()
        sums: Counter[str] = Counter()
        requests: Counter[tuple[str, int, str]] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name] += int(sample.value)
                if sample.name == "gateway_requests_total":
                    labels = sample.labels
                    requests[labels["ending"], int(labels["status"]), labels["reason"]] += int(sample.value)
        return Counted(
            open_requests=sums["gateway_open_requests"],
            open_connections=sums["gateway_worker_open_connections"],
            dropped_lines=sums["gateway_log_lines_dropped_total"],
            restarts=sums["gateway_worker_restarts_total"],
            requests=requests,
        )


def _held(pid: int) -> Held:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    found = re.search(r"^Anonymous:\s+(\d+) kB$", rollup, re.MULTILINE)
    assert found
    return Held(int(found[1]) * 1024, sum(map(_counts, Path(f"/proc/{pid}/fd").iterdir())))


def _counts(descriptor: Path) -> bool:
    """All but the file of the spool, which is open for up to a second behind the last request."""
    try:
        return "/spool/" not in os.readlink(descriptor)
    except FileNotFoundError:  # closed meanwhile
        return False
