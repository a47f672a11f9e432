"""Messages to the service manager over real sockets, each from a process of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import PROJECT


def notify(state: str, address: str | None) -> subprocess.CompletedProcess[str]:
    """Run `notify(state)` where the service manager has set NOTIFY_SOCKET to the address, or not at all."""
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    if address is not None:
        environment["NOTIFY_SOCKET"] = address
    code = "import sys; from gateway.notify import notify; notify(sys.argv[1])"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, state],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.settimeout(10)
        yield receiving


def test_a_message_reaches_a_socket_in_the_file_system(manager: socket.socket, tmp_path: Path) -> None:
    manager.bind(str(tmp_path / "notify"))
    result = notify("READY=1\nSTATUS=serving on 127.0.0.1:8080 …", str(tmp_path / "notify"))
    assert manager.recv(4096).decode() == "READY=1\nSTATUS=serving on 127.0.0.1:8080 …"
    assert result.stderr == ""


def test_a_message_reaches_an_abstract_socket(manager: socket.socket) -> None:
    manager.bind("")  # the kernel chooses a free abstract name
    name: bytes = manager.getsockname()
    assert name.startswith(b"\0")
    notify("STOPPING=1", "@" + name[1:].decode())
    assert manager.recv(4096) == b"STOPPING=1"


@pytest.mark.parametrize("address", [None, ""])
def test_without_a_manager_nothing_is_said(address: str | None) -> None:
    result = notify("READY=1", address)
    assert (result.stdout, result.stderr) == ("", "")


def test_a_manager_that_is_gone_is_a_warning(tmp_path: Path) -> None:
    result = notify("READY=1", str(tmp_path / "nobody"))
    assert result.stderr == "the service manager could not be notified: No such file or directory\n"


def test_a_manager_that_does_not_read_holds_nobody_up(manager: socket.socket, tmp_path: Path) -> None:
    manager.bind(str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
        sending.setblocking(False)
        with contextlib.suppress(BlockingIOError):  # the queue is full
            while True:
                sending.sendto(b"x", str(tmp_path / "notify"))
    result = notify("READY=1", str(tmp_path / "notify"))
    assert result.stderr == "the service manager could not be notified: timed out\n"
