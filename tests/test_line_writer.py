"""The writer of log lines against real pipes and files: whole lines, never waiting, bounded."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import resource
import select
import socket
import struct
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.line_writer import LineWriter
from tests.support.eventually import eventually
from tests.support.machine import PROJECT

LIMIT = 256 * 1024
"""More than a pipe holds (64 KiB), so that the worker gets stuck first and then the limit is reached."""


class Pipe:
    """A pipe whose reader is a thread that reads only once it was told to.

    Or after 10 s unasked: a writer that blocks the event loop then fails its test instead of hanging it.
    """

    def __init__(self) -> None:
        self.reading, self.fd = os.pipe()
        self.received = bytearray()
        self.rescued = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._rescuer = threading.Timer(10, self._rescue)
        self._rescuer.start()

    def start_reader(self) -> None:
        self._rescuer.cancel()
        self._thread.start()

    def close(self) -> None:
        self._rescuer.cancel()
        assert not self.rescued, "the event loop was blocked"

    def lines(self) -> list[bytes]:
        return bytes(self.received).split(b"\n")[:-1]

    def all_lines(self) -> list[bytes]:
        """Close the writing end and read to the end."""
        os.close(self.fd)
        if not self._thread.ident:
            self.start_reader()
        self._thread.join(10)
        assert not self._thread.is_alive()
        assert self.received.endswith(b"\n") or not self.received
        return self.lines()

    def _rescue(self) -> None:
        self.rescued = True
        self._thread.start()

    def _read(self) -> None:
        while data := os.read(self.reading, 65536):
            self.received += data
        os.close(self.reading)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def numbered(count: int) -> list[bytes]:
    return [b"line %06d %s" % (number, b"x" * 300) for number in range(count)]


async def test_a_line_is_written_soon_without_being_asked(pipe: Pipe) -> None:
    writer = LineWriter(pipe.fd)
    pipe.start_reader()
    writer.write(b"one")
    await eventually("the first line is there", lambda: pipe.lines() == [b"one"])
    writer.write(b"two")
    writer.write(b"three")
    await eventually("the next are there", lambda: pipe.lines() == [b"one", b"two", b"three"])
    await writer.close()
    assert pipe.all_lines() == [b"one", b"two", b"three"]


async def test_close_writes_everything_that_is_held(pipe: Pipe) -> None:
    lines = numbered(5000)
    writer = LineWriter(pipe.fd)
    pipe.start_reader()
    for line in lines:
        writer.write(line)
    await writer.close()
    assert pipe.all_lines() == lines
    assert writer.dropped == 0


async def test_lines_written_while_a_batch_is_stuck_are_flushed_by_close(pipe: Pipe) -> None:
    lines = numbered(500)
    writer = LineWriter(pipe.fd)
    for line in lines:
        writer.write(line)
    await eventually("the pipe is full", lambda: pipe_is_full(pipe.fd))
    writer.write(b"last")
    closing = asyncio.create_task(writer.close())
    pipe.start_reader()
    await closing
    assert pipe.all_lines() == [*lines, b"last"]


async def test_a_stalled_reader_blocks_nothing_and_costs_only_lines(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    lines = numbered(4000)
    writer = LineWriter(pipe.fd, limit=LIMIT)
    for line in lines[:400]:
        writer.write(line)
    await eventually("the pipe is full", lambda: pipe_is_full(pipe.fd))
    for line in lines[400:]:
        writer.write(line)
    assert not pipe.rescued
    assert 0 < writer.dropped < len(lines) - 400
    assert [record.getMessage() for record in caplog.records] == [
        "log lines are being dropped: the reader does not keep up"
    ]

    pipe.start_reader()
    await writer.close()
    received = pipe.all_lines()
    assert received == lines[: len(lines) - writer.dropped]
    assert sum(len(line) + 1 for line in received) <= LIMIT
    assert len(caplog.records) == 1


async def test_once_all_is_written_again_the_next_loss_is_said_again(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    writer = LineWriter(pipe.fd, limit=1000)
    pipe.start_reader()
    for said in (1, 2):
        writer.write(b"x" * 900)
        writer.write(b"y" * 900)
        writer.write(b"z" * 900)
        assert writer.dropped == 2 * said
        assert len(caplog.records) == said
        await eventually("the line got through", lambda: writer.held == 0)
    await writer.close()
    assert pipe.all_lines() == [b"x" * 900] * 2


async def test_close_does_not_wait_for_ever(pipe: Pipe, caplog: pytest.LogCaptureFixture) -> None:
    writer = LineWriter(pipe.fd, close_seconds=0.2)
    for line in numbered(1000):
        writer.write(line)
    began = time.monotonic()
    await writer.close()
    assert 0.2 <= time.monotonic() - began < 5
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("log lines left unwritten at close: ")
    pipe.start_reader()
    await eventually("what the worker was stuck with is written", lambda: writer.held == 0)
    assert pipe.all_lines() == numbered(1000)


async def test_where_others_may_write_too_each_write_is_whole_lines_that_they_cannot_break() -> None:
    """Sockets of this kind keep apart what was written apart; a pipe is written to in the same way."""
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    lines = [*numbered(40), b"z" * (2 * select.PIPE_BUF), *numbered(40)]
    with reading, writing:
        writer = LineWriter(writing.fileno(), shared=True)
        for line in lines:
            writer.write(line)
        pieces: list[bytes] = []
        while sum(map(len, pieces)) < sum(map(len, lines)) + len(lines):
            pieces.append(await asyncio.to_thread(reading.recv, 1 << 20))
        await writer.close()
    assert b"".join(pieces) == b"".join(line + b"\n" for line in lines)
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert [piece.count(b"\n") for piece in pieces if len(piece) > select.PIPE_BUF] == [1]
    assert len(pieces) < len(lines) / 5


ALONE = """
import asyncio, sys
from gateway.line_writer import LineWriter
async def main():
    writer = LineWriter(1)
    for number in range(1000):
        writer.write(b"%0100d" % number)
    await writer.close()
asyncio.run(main())
"""


@pytest.mark.parametrize("together", [True, False])
async def test_the_diagnostics_of_this_very_process_break_no_line(together: bool) -> None:
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with reading, writing:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            ALONE,
            stdout=writing.fileno(),
            stderr=asyncio.subprocess.STDOUT if together else asyncio.subprocess.DEVNULL,
            cwd=PROJECT,
        )
        writing.close()
        pieces: list[bytes] = []
        while piece := await asyncio.to_thread(reading.recv, 1 << 20):
            pieces.append(piece)
        assert await process.wait() == 0
    assert b"".join(pieces) == b"".join(b"%0100d\n" % number for number in range(1000))
    assert (max(map(len, pieces)) <= select.PIPE_BUF) == together


async def test_a_line_after_close_is_counted_as_lost(pipe: Pipe) -> None:
    writer = LineWriter(pipe.fd)
    writer.write(b"one")
    await writer.close()
    writer.write(b"two")
    assert writer.dropped == 1
    await writer.close()
    assert pipe.all_lines() == [b"one"]


async def test_a_reader_that_went_away_loses_lines_and_nothing_else(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    os.close(pipe.reading)
    writer = LineWriter(pipe.fd)
    for _ in range(2):
        writer.write(b"one")
        writer.write(b"two")
        await eventually("the write was tried", lambda: writer.held == 0)
    await writer.close()
    assert writer.dropped == 4
    assert [record.getMessage() for record in caplog.records] == ["log lines are being dropped: Broken pipe"]
    os.close(pipe.fd)


async def test_a_non_blocking_pipe_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.fd, False)
    lines = numbered(2000)
    writer = LineWriter(pipe.fd)
    for line in lines:
        writer.write(line)
    await eventually("the pipe is full", lambda: pipe_is_full(pipe.fd))
    pipe.start_reader()
    await writer.close()
    assert pipe.all_lines() == lines
    assert writer.dropped == 0


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file grows beyond 1000 bytes: what a full disk does to a write."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def test_a_line_torn_by_a_full_disk_does_not_spoil_the_next_one(
    tmp_path: Path, small_files: None
) -> None:
    path = tmp_path / "access.log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    writer = LineWriter(fd)
    for letter in (b"a", b"b", b"c"):
        writer.write(letter * 450)
    await eventually("the loss is counted", lambda: writer.dropped == 1)
    assert path.stat().st_size == 1000
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    writer.write(b"d" * 450)
    await writer.close()
    os.close(fd)
    assert path.read_bytes().split(b"\n") == [b"a" * 450, b"b" * 450, b"c" * 98, b"d" * 450, b""]


def pipe_is_full(fd: int) -> bool:
    """Whether less than a page of the pipe is free, so that a blocking write of more is stuck."""
    held: int = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))[0]
    return held > fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) - 4096
