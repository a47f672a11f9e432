"""Standard output and standard error: what goes where, and that nobody has to read either of them."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.service.rig import access_lines, ask, at_home, get
from tests.service.test_start import LISTENING, TOKEN
from tests.support.eventually import eventually
from tests.support.machine import PROJECT
from tests.support.ports import refusing_port
from tests.support.process import STOP_SECONDS, Process, clean_environment, run

PIPE_BYTES = 4096
REQUESTS = 60
"""Several times more than a pipe of that size takes lines of."""
ADMIN = r"^admin listening on (http://\S+)$"


class Pipe:
    """A pipe that is soon full."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def read_to_its_end(self) -> str:
        """All that was written, once every writer has left."""
        os.close(self.writing)
        with os.fdopen(self.reading) as file:
            return file.read()


@dataclass
class Service:
    """A first start that has succeeded; standard error is read unless it went elsewhere."""

    process: Process
    url: str
    admin_url: str
    token: str


@contextmanager
def started(home: Path, *, stdout: int | None = None, prefix: Sequence[str] = ()) -> Iterator[Service]:
    """`serve` in an empty home; killed if it has not been stopped."""
    process = Process(["serve"], at_home(home), stdout=stdout, prefix=prefix)
    try:
        url, admin_url = process.wait_for_line(LISTENING)[1], process.wait_for_line(ADMIN)[1]
        yield Service(process, url, admin_url, process.wait_for_line(TOKEN.pattern)[0])
    finally:
        process.kill()


def test_the_log_goes_to_standard_output_and_all_else_to_standard_error(tmp_path: Path) -> None:
    with (tmp_path / "stdout").open("wb") as stdout, started(tmp_path, stdout=stdout.fileno()) as service:
        assert ask(service.url, service.token).status == 200
        assert ask(service.url, "wrong-token").status == 401
        assert service.process.stop() == 0
        said = service.process.log_lines()
    logged = (tmp_path / "stdout").read_text()
    assert [json.loads(line)["status"] for line in logged.splitlines()] == [200, 401]
    assert access_lines(said) == []
    assert said[-1] == "WARNING gateway.server: draining: 0 requests under way"
    assert "wrong-token" not in logged + "".join(said)
    assert service.token not in logged


def test_a_log_that_nobody_reads_for_a_while_loses_nothing(tmp_path: Path) -> None:
    pipe = Pipe()
    with started(tmp_path, stdout=pipe.writing) as service:
        for _ in range(REQUESTS):
            assert ask(service.url, service.token).status == 200
        service.process.popen.terminate()
        assert len(pipe.read_to_its_end().splitlines()) == REQUESTS
        assert service.process.wait() == 0


def test_a_log_that_nobody_ever_reads_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    pipe = Pipe()
    with started(tmp_path, stdout=pipe.writing) as service:
        for _ in range(REQUESTS):
            assert ask(service.url, service.token).status == 200
        assert service.process.stop() == 0
        assert "log lines left unwritten" in service.process.log_lines()[-1]
    logged = pipe.read_to_its_end()
    assert 0 < len(logged) <= PIPE_BYTES


async def test_a_log_whose_reader_has_left(tmp_path: Path) -> None:
    pipe = Pipe()
    with started(tmp_path, stdout=pipe.writing) as service:
        os.close(pipe.reading)
        os.close(pipe.writing)
        for _ in range(3):
            assert ask(service.url, service.token).status == 200
        await eventually(
            "three lost lines are counted",
            lambda: b"\ngateway_log_lines_dropped_total 3.0\n" in get(service.admin_url, "/metrics").body,
        )
        assert service.process.stop() == 0
        told = [line for line in service.process.log_lines() if "log lines are being dropped" in line]
    assert len(told) == 1
    assert told[0].endswith("Broken pipe")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
def test_a_standard_stream_that_is_closed_is_never_a_connection(tmp_path: Path, closed: str) -> None:
    """The next file or connection that a process opens gets the lowest free number."""
    prefix = ["sh", "-c", f'exec "$@" {closed}', "sh"]
    with (
        (tmp_path / "unused").open("wb") as stdout,
        started(tmp_path, stdout=stdout.fileno(), prefix=prefix) as service,
    ):
        assert ask(service.url, service.token).status == 200
        kept = [os.readlink(f"/proc/{service.process.popen.pid}/fd/{number}") for number in (0, 1)]
        assert service.process.stop() == 0
    assert kept[0] == "/dev/null"
    assert kept[1] == ("/dev/null" if ">" in closed else str(tmp_path / "unused"))


async def test_without_standard_error_the_credential_is_told_nobody(tmp_path: Path) -> None:
    path, log = tmp_path / "gateway.sock", tmp_path / "stdout"
    environment = at_home(tmp_path, SERVER__LISTEN=f"unix:{path}")
    with log.open("wb") as stdout:
        process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "gateway", "serve"],
            cwd=PROJECT,
            env=clean_environment(environment),
            stdout=stdout,
        )
    try:
        await eventually("it listens", path.exists)
        assert ask(f"http+unix:{path}", "wrong-token").status == 401
        assert os.readlink(f"/proc/{process.pid}/fd/2") == "/dev/null"
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
    [line] = log.read_text().splitlines()
    assert json.loads(line)["status"] == 401


def test_diagnostics_that_nobody_reads_hold_up_no_request(tmp_path: Path) -> None:
    pipe = Pipe()
    config = tmp_path / "gateway.toml"
    with refusing_port() as port:
        config.write_text(
            '[server]\nlisten = "127.0.0.1:0"\nadmin_listen = "127.0.0.1:0"\n'
            f'[store]\nurl = "sqlite:///{tmp_path}/gateway.db"\n'
            f'[[upstreams]]\nname = "{"n" * 64}"\nkind = "ai-studio"\n'
            f'base_url = "http://127.0.0.1:{port}"\nkeys = ["env:KEY"]\ncooldown = false\n'
        )
        options = ["--config", str(config)]
        token = run(["credentials", "create", "--branch", "main", *options]).strip()
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", *options],
            cwd=PROJECT,
            env=clean_environment({"KEY": "unused"}),
            stdout=subprocess.DEVNULL,
            stderr=pipe.writing,
        )
        try:
            said = ""
            while not (url := re.search(r"gateway listening on (\S+)\n", said)):
                said += os.read(pipe.reading, PIPE_BYTES).decode()
            for _ in range(REQUESTS):  # each is a warning
                assert ask(url[1], token).status == 502
            process.terminate()
            assert process.wait(STOP_SECONDS) == 0
        finally:
            process.kill()
            process.wait()
    assert len(pipe.read_to_its_end()) <= PIPE_BYTES
