"""A process of ours under test: its output is read as it comes, and it always ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from tests.support.machine import PROJECT

START_SECONDS = 60.0
STOP_SECONDS = 30.0
"""Deadlines for a loaded machine; a healthy process needs a small part of them."""


class Process:
    """`python -m gateway …` in the background, standard output and error read as one list of lines.

    With `stdout`, a file descriptor, standard output goes there, and only standard error is read. `prefix` is
    a program that becomes it.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        stdout: int | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.popen = subprocess.Popen(
            [*prefix, sys.executable, "-m", "gateway", *arguments],
            cwd=PROJECT,
            env=clean_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.STDOUT if stdout is None else subprocess.PIPE,
            text=True,
            errors="replace",
        )
        output = self.popen.stdout or self.popen.stderr
        assert output is not None
        self._output = output
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._output:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def log_lines(self) -> list[str]:
        """Every line printed so far, oldest first."""
        with self._changed:
            return list(self._lines)

    def wait_for_line(self, pattern: str, seconds: float = START_SECONDS) -> re.Match[str]:
        """The first match of the pattern in what was or will be printed; fails when none comes in time."""
        deadline = time.monotonic() + seconds
        seen = 0
        with self._changed:
            while True:
                for line in self._lines[seen:]:
                    if match := re.search(pattern, line):
                        return match
                seen = len(self._lines)
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    end = "before its output ended" if self._ended else f"within {seconds} s"
                    raise AssertionError(f"{pattern!r} not printed {end}:\n" + "\n".join(self._lines))
                self._changed.wait(left)

    def stop(self) -> int:
        """SIGTERM, then the exit code; a process that outlives its deadline is killed, which fails."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """The exit code, once the process ends by itself; one that does not is killed, which fails."""
        try:
            code = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the process does not end:\n" + "\n".join(self.log_lines())) from None
        self._close()
        return code

    def kill(self) -> None:
        """SIGKILL; the process and its reader are gone afterwards."""
        self.popen.kill()
        self.popen.wait()
        self._close()

    def _close(self) -> None:
        self._reader.join(STOP_SECONDS)
        self._output.close()


def run(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """What `python -m gateway …` prints on standard output; fails when it does not exit with 0."""
    finished = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=PROJECT,
        env=clean_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would configure a gateway or a client behind a test's back."""
    ours = re.compile(r"GATEWAY_|GEMINI_|GOOGLE_|XDG_|NOTIFY_SOCKET$|(?:https?|all|no)_proxy$", re.IGNORECASE)
    return {k: v for k, v in os.environ.items() if not ours.match(k)} | dict(extra or {})
