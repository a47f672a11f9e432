"""A start that succeeds: how soon it listens, what it says, and what it says only when it is true."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from tests.service.rig import accepts, ask, at_home, get
from tests.support.process import Process

TOKEN = re.compile(r"nt_live_[a-z0-9]{16}_[0-9a-f]{64}")
LISTENING = r"^gateway listening on (http://\S+)$"
LISTENS_WITHIN = 10.0
"""Seconds: 2 are promised for a machine that does nothing else."""


def test_it_listens_soon_and_says_so_only_then(tmp_path: Path) -> None:
    began = time.monotonic()
    process = Process(["serve"], at_home(tmp_path))
    try:
        url = process.wait_for_line(LISTENING)[1]
        assert accepts(url)
        assert time.monotonic() - began < LISTENS_WITHIN
        admin_url = process.wait_for_line(r"^admin listening on (http://\S+)$")[1]
        token = process.wait_for_line(TOKEN.pattern)[0]
        assert get(admin_url, "/readyz").status == 200
        assert ask(url, token).status == 200
    finally:
        code = process.stop()
    assert code == 0
    said = "\n".join(line for line in process.log_lines() if not line.startswith("{"))
    assert said.count(url) == 2, "the address, and the line of curl"
    assert TOKEN.findall(said) == [token, token], "the credential, and the line of curl"
    assert said.count("curl ") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_right_after_the_announcement_ends_it_gently(tmp_path: Path, number: signal.Signals) -> None:
    process = Process(["serve"], at_home(tmp_path))
    process.wait_for_line(LISTENING)
    process.popen.send_signal(number)
    assert process.wait() == 0, process.log_lines()
    assert not [line for line in process.log_lines() if "Traceback" in line]


def test_the_option_listen_wins_over_the_environment(tmp_path: Path) -> None:
    process = Process(["serve", "--listen", "localhost:0"], at_home(tmp_path, SERVER__LISTEN="127.0.0.1:1"))
    try:
        assert process.wait_for_line(LISTENING)[1].startswith("http://localhost:")
    finally:
        code = process.stop()
    assert code == 0
