"""The soak: what it finds wrong in figures that are, and a short run, which goes well and leaves nothing."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.programs import processes
from soak import report, verdict
from soak.ledger import Ledger, Line, Seen
from soak.sampling import Counted, Held, Sample
from soak.upstream import Report
from tests.support.machine import PROJECT

MEGABYTE = 1_000_000
RUN_SECONDS = 180.0
"""A deadline for a loaded machine."""


def sample(seconds: float, memory: float, *, files: int = 20, **counted: int) -> Sample:
    counts = {"open_requests": 0, "open_connections": 0, "dropped_lines": 0, "restarts": 0} | counted
    return Sample(seconds, {1: Held(int(memory), files)}, Counted(**counts, requests=Counter()))


def series(seconds: int, *memories: float) -> list[Sample]:
    """A sample every 2 s; memory in MB goes in straight lines from one of these to the next."""
    count = seconds // 2
    legs = len(memories) - 1
    samples = []
    for number in range(count):
        leg, share = divmod(number * legs / count, 1)
        start, end = memories[int(leg)], memories[int(leg) + 1]
        samples.append(sample(2.0 * number, (start + share * (end - start)) * MEGABYTE))
    return samples


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(series(600, 40, 60, 60, 60), id="grows at first"),
        pytest.param(series(600, 60, 61), id="hardly grows"),
        pytest.param(series(600, *(60, 70) * 30), id="goes up and down"),
        pytest.param(series(120, 40, 55, 60), id="settles in a short run"),
        pytest.param(series(20, 40, 80), id="too short to tell"),
    ],
)
def test_memory_that_is_no_leak(samples: Sequence[Sample]) -> None:
    assert verdict.of_memory(samples) == []


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(series(600, 60, 72), id="slowly"),
        pytest.param(series(600, 40, 60, 60, 66), id="late"),
        pytest.param(series(600, *(60, 70, 62, 72, 64, 74, 66, 76)), id="going up and down"),
        pytest.param(series(60, 40, 80), id="fast, in a short run"),
    ],
)
def test_memory_that_grows(samples: Sequence[Sample]) -> None:
    [found] = verdict.of_memory(samples)
    assert "memory grows: process 1" in found


BEFORE = sample(0, MEGABYTE, files=20)


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (sample(9, MEGABYTE, files=23), []),
        (sample(9, MEGABYTE, files=24), ["24 files are open and 20 were, with 3 more connections upstream"]),
        (sample(9, MEGABYTE, files=22), ["22 files are open and 20 were, with 3 more connections upstream"]),
        (sample(9, MEGABYTE, files=23, open_requests=1), ["1 requests are still open"]),
        (
            sample(9, MEGABYTE, files=23, open_connections=2),
            ["2 connections of clients are still open"],
        ),
        (
            sample(9, MEGABYTE, files=23, restarts=1),
            ["the gateway's processes are not those it began with (1 restarts)"],
        ),
    ],
)
def test_what_is_left_at_rest(after: Sample, found: list[str]) -> None:
    assert verdict.of_rest(BEFORE, after, Report(open_connections=4), Report(open_connections=7)) == found


def line(request_id: str, *, ending: str = "complete", response_bytes: int = 5) -> Line:
    return Line(request_id, 200, "", ending, "plain", 2, response_bytes, 7)


def seen(*, tokens: int = 7) -> Seen:
    return Seen("a request", 200, frozenset({"complete"}), 2, 5, tokens)


def test_a_request_that_both_sides_tell_alike() -> None:
    ledger = Ledger()
    ledger.saw("a", seen(), planned=True)
    ledger.wrote(line("a"))
    ledger.wrote(line("b"))
    ledger.saw("b", seen(), planned=True)
    ledger.close()
    assert ledger.violations == []


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (line("a", ending="suspect"), "ending is suspect, not complete"),
        (line("a", response_bytes=4), "response_bytes is 4, not 5"),
        (line("b"), "answered, but not in the access log"),
    ],
)
def test_a_request_that_they_tell_differently(written: Line, wanted: str) -> None:
    ledger = Ledger(left=1)
    ledger.saw("a", seen(), planned=True)
    ledger.wrote(written)
    ledger.close()
    [found] = ledger.violations
    assert wanted in found


def test_usage_that_differs() -> None:
    ledger = Ledger()
    ledger.wrote(line("a"))
    ledger.saw("a", seen(tokens=8), planned=True)
    assert "total_tokens are 7, not 8" in ledger.violations[0]


def test_a_line_of_nobody() -> None:
    ledger = Ledger()
    ledger.wrote(line("a"))
    ledger.close()
    assert ledger.violations == ["1 lines of the access log are nobody's, 0 clients left"]


def test_counts_that_differ() -> None:
    ledger = Ledger()
    ledger.saw("a", seen(), planned=True)
    ledger.wrote(line("a"))
    ledger.saw("b", seen(), planned=True)
    ledger.wrote(line("b"))
    counted = Counted(0, 0, 1, 0, Counter({("complete", 200, ""): 1}))
    assert verdict.of_counts(ledger, Sample(9, {}, counted), Report(requests=3)) == [
        "1 lines of the access log were dropped",
        "gateway_requests_total counts 1 complete with 200 , the access log 2",
        "gateway_requests_total counts 1; 2 were answered, 0 left",
        "the upstream counts 3 requests; it must have seen 2, and by the access log it was asked for 2",
    ]


def test_lines_of_the_gateways_log() -> None:
    lines = [
        "gateway listening on http://127.0.0.1:1",
        "upstream 'plain' is http://localhost:1",
        "WARNING gateway.transfer (worker 1): upstream plain: the upstream closed the connection",
        "ERROR gateway.transfer (worker 1): upstream tls refuses the gateway's key (401)",
    ]
    wrong = [
        "ERROR gateway.proxy (worker 1): internal error",
        "Traceback (most recent call last):",
        "ERROR asyncio (worker 1): Task exception was never retrieved",
        "ERROR gateway.supervisor: worker 1 was killed by SIGKILL; starting another in 0.0 s",
    ]
    assert verdict.of_log(lines + wrong) == [f"the gateway's log says: {one}" for one in wrong]


def test_what_the_gateway_logged_is_counted_by_kind() -> None:
    lines = [
        "gateway listening on http://127.0.0.1:8080",
        "WARNING gateway.transfer (worker 1): upstream plain: the upstream closed the connection",
        "WARNING gateway.transfer (worker 12): upstream plain: the upstream closed the connection",
        "ERROR gateway.transfer (worker 1): upstream tls refuses the gateway's key (401)",
        "ERROR gateway.transfer (worker 1): upstream tls refuses the gateway's key (403)",
        "ERROR gateway.transfer (worker 1): upstream plain refuses the gateway's key (403)",
    ]
    assert report.kinds(lines) == {
        "gateway listening on http://N:N": 1,
        "WARNING gateway.transfer: upstream plain: the upstream closed the connection": 2,
        "ERROR gateway.transfer: upstream tls refuses the gateway's key (N)": 2,
        "ERROR gateway.transfer: upstream plain refuses the gateway's key (N)": 1,
    }


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "soak", *arguments],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_short_run() -> None:
    soak = start("--seconds", "3", "--seed", "7")
    output, _ = soak.communicate(timeout=RUN_SECONDS)
    assert soak.returncode == 0, output
    assert output.endswith("all is well\n")
    done = {what for _, what in re.findall(r"^ *([\d,]+)  (.+)$", output, re.MULTILINE)}
    assert "upload: whole" in done
    assert "request for no fault: whole" in done
    assert "INFO gateway.worker_process: worker N is process N" in done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped(number: signal.Signals) -> None:
    soak = start()
    assert soak.stdout
    for output in soak.stdout:
        if re.match(r" +\d+ ", output):  # the first figures: traffic goes on
            break
    started = processes(soak.pid)
    soak.send_signal(number)
    assert soak.communicate(timeout=RUN_SECONDS)[0].endswith("stopped\n")
    assert soak.returncode == 128 + number
    assert len(started) >= 5  # itself, the upstream, the gateway, its two workers, perhaps a command
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
