"""A short run of the failover under load: without faults nothing fails, with them what can't be helped."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.support.machine import PROJECT

RUN_SECONDS = 120.0
"""A deadline for a loaded machine."""


def test_a_short_run_tells_what_clients_saw() -> None:
    options = ["--requests", "60", "--rate", "60", "--clients", "2", "--first-byte", "0.5"]
    run = subprocess.run(
        [sys.executable, "-m", "soak.failover", *options],
        cwd=PROJECT,
        timeout=RUN_SECONDS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    without, having = run.stdout.split("with faults:")
    assert _figure(without, "% of them failed") == 0.0
    assert _figure(without, "requests to upstreams for each") == 1.0
    assert 0.0 < _figure(having, "% of them failed") < 50.0
    assert 1.0 <= _figure(having, "requests to upstreams for each") < 1.2
    assert "429" not in having
    failures = {line[10:] for line in having.splitlines() if "fifth" in line}
    assert {re.sub(r", fifth .", "", line) for line in failures} <= {
        "504 UPSTREAM_TIMEOUT",
        "cut off after the first byte",
    }


def _figure(printed: str, what: str) -> float:
    [line] = [line for line in printed.splitlines() if line.endswith(what)]
    return float(line.removesuffix(what))
