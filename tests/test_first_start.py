"""The first start, without any configuration: what is printed is enough to ask, and it is printed once."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.machine import program
from tests.support.process import Process, clean_environment

TOKEN = re.compile(r"nt_live_[a-z0-9]{16}_[0-9a-f]{64}")


@contextmanager
def started(home: Path) -> Iterator[Process]:
    """`serve` as a newcomer starts it, but on free ports."""
    environment = {
        "HOME": str(home),
        "GATEWAY_SERVER__LISTEN": "127.0.0.1:0",
        "GATEWAY_SERVER__ADMIN_LISTEN": "127.0.0.1:0",
    }
    process = Process(["serve"], environment)
    try:
        process.wait_for_line(r"^admin listening on ")
        yield process
    finally:
        code = process.stop()
    assert code == 0, process.log_lines()


def test_the_printed_line_works_when_pasted(tmp_path: Path) -> None:
    program("curl")
    with started(tmp_path) as process:
        line = process.wait_for_line(r"^curl .*")[0]
        finished = subprocess.run(
            ["sh", "-c", line],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        answer = json.loads(finished.stdout)
        assert "Say hello." in answer["candidates"][0]["content"]["parts"][0]["text"]
        assert answer["modelVersion"].endswith("-simulated")


def test_it_says_plainly_that_answers_are_simulated(tmp_path: Path) -> None:
    with started(tmp_path) as process:
        process.wait_for_line("SIMULATED")


def test_with_a_key_it_names_google_and_never_the_key(tmp_path: Path) -> None:
    key = "AQ.planted-key-0123456789"
    environment = {
        "HOME": str(tmp_path),
        "GEMINI_API_KEY": key,
        "GATEWAY_SERVER__LISTEN": "127.0.0.1:0",
        "GATEWAY_SERVER__ADMIN_LISTEN": "127.0.0.1:0",
    }
    process = Process(["serve"], environment)
    process.wait_for_line(r"^curl .*")
    assert process.stop() == 0
    said = "\n".join(process.log_lines())
    assert "https://generativelanguage.googleapis.com" in said
    assert "SIMULATED" not in said
    assert key not in said


def test_the_credential_is_made_and_shown_once(tmp_path: Path) -> None:
    with started(tmp_path) as process:
        process.wait_for_line(r"^curl .*")
    first = {token for line in process.log_lines() for token in TOKEN.findall(line)}
    assert len(first) == 1
    with started(tmp_path) as process:
        process.wait_for_line("gateway credentials create")
    assert not any(TOKEN.search(line) for line in process.log_lines())
