"""Under a service manager: what it is told and when, and the command line of the systemd unit."""

from __future__ import annotations

import shlex
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.service.rig import DEADLINE, EVENTS, SLOW_STREAM, accepts, at_home, get, over, port_of, request
from tests.support.process import Process, run
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream
from tests.test_service_unit import settings

KEY = "AQ.key-that-systemd-handed-over"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's socket, at `tmp_path/notify`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(str(tmp_path / "notify"))
        receiving.settimeout(DEADLINE)
        yield receiving


def test_ready_is_told_when_the_port_accepts(tmp_path: Path, manager: socket.socket) -> None:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{chosen.getsockname()[1]}"
    environment = at_home(tmp_path, SERVER__LISTEN=address) | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    process = Process(["serve"], environment)
    try:
        assert manager.recv(4096) == b"READY=1"
        assert accepts(f"http://{address}")
    finally:
        code = process.stop()
    assert code == 0


def test_a_start_that_fails_is_never_ready(tmp_path: Path, manager: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        environment = at_home(tmp_path, SERVER__LISTEN=address)
        process = Process(["serve"], environment | {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert process.wait() == 1
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


@dataclass
class Unit:
    """A gateway started as scripts/gateway.service starts it, but for its folders."""

    process: Process
    url: str
    admin_url: str
    token: str


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        running.answer_always(SLOW_STREAM)
        yield running


@pytest.fixture
def unit(tmp_path: Path, upstream: RawUpstream, manager: socket.socket) -> Iterator[Unit]:
    [credential] = settings("LoadCredential")
    name = credential.partition(":")[0]
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / name).write_text(KEY + "\n")
    config = tmp_path / "gateway.toml"
    config.write_text(
        '[server]\nlisten = "127.0.0.1:0"\nadmin_listen = "127.0.0.1:0"\n'
        f'[store]\nurl = "sqlite:///{tmp_path}/state/gateway.db"\n' + over(upstream, f"credential:{name}")
    )
    [command] = settings("ExecStart")
    _, *module, subcommand, option, file = shlex.split(command)
    assert module == ["-m", "gateway"]
    assert file == "/etc/gemini-gateway/gateway.toml"
    environment = {
        "HOME": "/",
        "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"),
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
    }
    process = Process([subcommand, option, str(config)], environment)
    try:
        assert manager.recv(4096) == b"READY=1"
        url = process.wait_for_line(r"^gateway listening on (\S+)")[1]
        admin_url = process.wait_for_line(r"^admin listening on (\S+)")[1]
        # The operator's shell has no credentials of systemd, and needs none.
        token = run(["credentials", "create", "--branch", "main", option, str(config)]).strip()
        yield Unit(process, url, admin_url, token)
    finally:
        process.kill()


async def test_the_units_command_serves_and_stops(
    unit: Unit, upstream: RawUpstream, manager: socket.socket
) -> None:
    async with RawClient("127.0.0.1", port_of(unit.url), deadline=DEADLINE) as client:
        await client.send(request(unit.token))
        answer = await client.read_body(await client.read_head(), EVENTS[0])
        assert upstream.requests[0].header("x-goog-api-key") == [KEY]
        unit.process.popen.send_signal(signal.SIGTERM)
        assert manager.recv(4096) == b"STOPPING=1"
        upstream.set("go")
        await client.read_body(answer)
        assert answer.ended == "complete"
    assert unit.process.wait() == 0
    assert KEY not in "\n".join(unit.process.log_lines())


def test_the_units_process_can_be_watched(unit: Unit) -> None:
    metrics = get(unit.admin_url, "/metrics").body
    for name in (b"process_resident_memory_bytes", b"process_open_fds", b"process_cpu_seconds_total"):
        assert b"\n" + name + b" " in metrics
    # They are read from below /proc, and only where /proc/stat tells the time of the boot, too.
    assert settings("ProcSubset") in ([], ["all"])
