"""The upstream's process: answers as each request's plan says, and remembers what it has served.

`python -m fleet.upstream` prints its port; for each line on standard input it prints what it has served
since the last one, as JSON, and with standard input it ends.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from time import monotonic
from typing import cast

import httptools
import msgspec
import uvloop

from fleet.plan import HEADER, Plan
from tests.support.machine import PROJECT
from tests.support.process import clean_environment
from tests.support.script import LAST_CHUNK, chunk

TIED = ("setpriv", "--pdeathsig", "TERM")
"""Ends a program when the one that started it is gone, however that ended."""


class Served(msgspec.Struct):
    """One request as the upstream saw it. Times are by the machine's monotonic clock, in seconds."""

    number: int
    port: int
    """The gateway's end of the connection."""
    began: float
    """When the whole request was here."""
    ended: float = 0.0
    """When the answer was on its way, or the connection gone."""
    events: int = 0
    """How many pieces of the answer were sent."""
    whole: bool = False
    tokens: int = 0
    """Of the last report sent."""


class _Connection(asyncio.Protocol):
    def __init__(self, served: list[Served]) -> None:
        self._served = served
        self._parser = httptools.HttpRequestParser(self)
        self._plan = b""
        self._answering: asyncio.Task[None] | None = None
        self._current: Served | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._port: int = transport.get_extra_info("peername")[1]

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering:
            self._answering.cancel()
        if self._current and not self._current.ended:
            self._current.ended = monotonic()

    def on_header(self, name: bytes, value: bytes) -> None:
        """For the parser."""
        if name.lower() == HEADER.encode():
            self._plan = value

    def on_message_complete(self) -> None:
        """For the parser."""
        plan = msgspec.json.decode(self._plan, type=Plan)
        self._current = Served(plan.number, self._port, monotonic())
        self._served.append(self._current)
        self._answering = asyncio.get_running_loop().create_task(self._answer(plan, self._current))

    async def _answer(self, plan: Plan, served: Served) -> None:
        pieces = plan.pieces()
        framing = "Transfer-Encoding: chunked" if plan.events else f"Content-Length: {len(pieces[0])}"
        kind = "text/event-stream" if plan.events else "application/json"
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n".encode()
        for piece, candidates in zip(pieces, plan.reports(), strict=True):
            if plan.gap:
                await asyncio.sleep(plan.gap)
            self._transport.write(head + (chunk(piece) if plan.events else piece))
            head = b""
            served.events += 1
            served.tokens = plan.prompt + candidates
        if plan.events:
            self._transport.write(LAST_CHUNK)
        served.whole = True
        served.ended = monotonic()


class Upstream:
    """That process."""

    def __init__(self) -> None:
        self._popen = subprocess.Popen(
            [*TIED, sys.executable, "-m", "fleet.upstream"],
            cwd=PROJECT,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.port = int(self._line())

    def served(self) -> list[Served]:
        """What it has served since it was last asked; to be asked when nothing is under way."""
        assert self._popen.stdin
        self._popen.stdin.write(b"\n")
        self._popen.stdin.flush()
        return msgspec.json.decode(self._line(), type=list[Served])

    def stop(self) -> None:
        """Ends it."""
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            assert pipe
            pipe.close()

    def _line(self) -> bytes:
        assert self._popen.stdout
        return self._popen.stdout.readline()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    served: list[Served] = []
    server = await loop.create_server(lambda: _Connection(served), "127.0.0.1", 0, backlog=1024)
    _say(server.sockets[0].getsockname()[1])
    over = asyncio.Event()

    def told() -> None:
        if os.read(sys.stdin.fileno(), 100):
            _say(served)
            served.clear()
        else:
            over.set()

    loop.add_reader(sys.stdin.fileno(), told)
    await over.wait()


def _say(document: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(document) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_serve())
