"""Asks a subject through the compiled load client, and reads what it measured."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.programs import BenchmarkError, pinned
from benchmarks.subjects import MODEL, Machine, Subject

UNARY_BYTES = 1536
"""The body of a small answer (common.h)."""
LARGE_BYTES = 8 * 1024 * 1024
SLOW_BYTES = 16 * 1024 * 1024

_RUN_SECONDS = 120.0
_PROMPT = (
    "Explain in a few sentences what a copy-on-write branch of a database is, and when it is of use. " * 4
)


class LoadFailed(BenchmarkError):
    """A subject answered wrongly, so there is no figure."""


@dataclass(frozen=True)
class Ask:
    """A request, and what makes its response a good one. The stub reads the wishes at the body's start."""

    action: str = "generateContent"
    chunked: bool = False
    length: int = UNARY_BYTES
    """Bytes of a unary response's body."""
    events: int = 0
    interval_us: int = 0
    hold_us: int = 0
    """After a stream's first event: time to open the other streams, before the pace begins."""
    upload_bytes: int = 0

    @classmethod
    def stream(cls, events: int, interval_us: int, hold_us: int = 0) -> Ask:
        """Server-sent events, so many and so far apart."""
        return cls(
            "streamGenerateContent?alt=sse", length=0, events=events, interval_us=interval_us, hold_us=hold_us
        )

    def body(self) -> bytes:
        """JSON."""
        wishes = {
            "chunked": int(self.chunked),
            "bytes": self.length,
            "events": self.events,
            "interval_us": self.interval_us,
            "hold_us": self.hold_us,
        }
        prompt = _PROMPT + "x" * max(0, self.upload_bytes - len(_PROMPT))
        return json.dumps({"labels": wishes, "contents": [{"parts": [{"text": prompt}]}]}).encode()

    def chat_body(self) -> bytes:
        """JSON, in OpenAI's form; wishes would not reach the stub."""
        return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": _PROMPT}]}).encode()


@dataclass(frozen=True)
class Outcome:
    """What the load client printed: see `report` in load.c."""

    values: dict[str, Any]

    def number(self, *names: str) -> float:
        """A figure by its path of names. Raises LoadFailed when there was nothing to take it from."""
        value: Any = self.values
        for name in names:
            if not isinstance(value, dict) or name not in value:
                raise LoadFailed(f"no {'.'.join(names)}: nothing was answered in time")
            value = value[name]
        return float(value)

    def per_second(self) -> float:
        """Responses a second."""
        return self.number("completed") / self.number("seconds")

    def cpu_us_per(self, name: str) -> float:
        """Microseconds of CPU for each of `completed` or `chunks`."""
        if not self.number(name):
            raise LoadFailed(f"no {name} in the window")
        return self.number("cpu_seconds") * 1e6 / self.number(name)


class Load:
    """The load client on its core."""

    def __init__(self, machine: Machine, binaries: Path) -> None:
        self._machine = machine
        self._binary = binaries / "load"

    def run(self, subject: Subject, mode: str, ask: Ask, *flags: str, **options: float) -> Outcome:
        """One run, options as in load.c. Raises LoadFailed unless every response was whole and right."""
        body = ask.chat_body() if subject.chat else ask.body()
        head = [
            f"POST {subject.path if subject.chat else f'{subject.path}:{ask.action}'} HTTP/1.1",
            "Host: localhost",
            "User-Agent: benchmark",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *subject.headers,
        ]
        request = self._machine.directory / "request"
        request.write_bytes("\r\n".join([*head, "", ""]).encode() + body)
        options |= {"port": subject.port, "events": ask.events}
        if not subject.chat:
            options["bytes"] = ask.length
        command = [str(self._binary), "--request", str(request), *flags]
        command += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        command.append(f"--helpers={self._machine.stub.popen.pid}")
        if subject.program:
            command.append("--subject=" + ",".join(map(str, subject.program.pids())))
        try:
            done = subprocess.run(
                pinned(self._machine.cores.helpers, [*command, mode]),
                capture_output=True,
                text=True,
                timeout=_RUN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LoadFailed(f"the load client took over {_RUN_SECONDS:.0f} s") from None
        if done.returncode:
            raise LoadFailed(done.stderr.strip())
        outcome = Outcome(json.loads(done.stdout))
        if outcome.number("failures"):
            raise LoadFailed(f"{outcome.number('failures'):.0f} failures: {outcome.values['failure']}")
        return outcome
