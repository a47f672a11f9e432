"""Background programs of a benchmark: each pinned to one core, its output in a file, and always ended."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

START_SECONDS = 120.0
STOP_SECONDS = 10.0

T = TypeVar("T")


class BenchmarkError(Exception):
    """The benchmark can't go on: why, and the end of what the program at fault printed."""


@dataclass(frozen=True)
class Cores:
    """What is measured has a core of its own; the stub, the load client and the rest share another."""

    subject: int
    helpers: int

    @classmethod
    def of_this_machine(cls) -> Cores:
        """The first two that this process may use. Raises BenchmarkError where there is only one."""
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            raise BenchmarkError("needs two cores: one for what is measured, one for what measures it")
        return cls(*usable[:2])


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """The command on that core, told to end when the process that started it does."""
    return ["setpriv", "--pdeathsig", "TERM", "taskset", "--cpu-list", str(core), *command]


@dataclass(frozen=True)
class Program:
    """A running program. What it prints is in the file `output`, unless its standard output is drained."""

    name: str
    popen: subprocess.Popen[bytes]
    drain: subprocess.Popen[bytes] | None
    output: Path

    def pids(self) -> list[int]:
        """The process and all that descend from it."""
        return processes(self.popen.pid)

    def wait_for_line(self, pattern: str) -> re.Match[str]:
        """The first match in its output, now or soon. Raises BenchmarkError."""
        return self._wait(
            lambda: re.search(pattern, self.output.read_text(errors="replace"), re.MULTILINE), pattern
        )

    def wait_for_port(self, port: int) -> None:
        """Returns as soon as the port of the loopback interface is listened on. Raises BenchmarkError."""

        def connected() -> bool:
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0

        self._wait(connected, f"port {port}")

    def stop(self) -> None:
        """Ends the program and all that it started, by force if need be."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):  # a second one cuts a drain short
            if self.popen.poll() is not None:
                break
            os.killpg(self.popen.pid, number)
            try:
                self.popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        if self.drain:
            self.drain.wait(STOP_SECONDS)

    def _wait(self, look: Callable[[], T | None], what: str) -> T:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            ended = self.popen.poll() is not None
            if found := look():
                return found
            if ended:
                break
            time.sleep(0.02)
        lines = self.output.read_text(errors="replace").splitlines()[-20:]
        raise BenchmarkError("\n".join([f"{self.name}: waited in vain for {what}", *lines]))


def start(
    name: str,
    command: Sequence[str],
    directory: Path,
    *,
    core: int,
    environment: Mapping[str, str] | None = None,
    drain_to: int | None = None,
) -> Program:
    """Starts a program on a core, its output in a new file of the directory.

    drain_to: the core of a process that reads its standard output and throws it away. The environment is
    added to this process's own.
    """
    output = directory / f"{name}.{time.monotonic_ns()}.out"
    drain = None
    with output.open("wb") as file:
        if drain_to is not None:
            drain = subprocess.Popen(
                pinned(drain_to, ["cat"]),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        popen = subprocess.Popen(
            pinned(core, command),
            cwd=directory,
            env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=drain.stdin if drain else file,
            stderr=file,
            start_new_session=True,
        )
        if drain and drain.stdin:
            drain.stdin.close()
    return Program(name, popen, drain, output)


def processes(pid: int) -> list[int]:
    """That process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal():
            try:
                parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has just ended
            children.setdefault(parent, []).append(int(directory.name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, []))
    return found


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert isinstance(port, int)
        return port
