"""One of several processes that serve: it is given its sockets, and reports to the parent that started it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from gateway import control
from gateway.config import Config, Upstream
from gateway.control import Report
from gateway.errors import ConfigurationError, described
from gateway.process import first_of
from gateway.server import Gateway

REPORT_SECONDS = 1.0
"""How old the parent's figures may be: what a killed worker has counted since is lost."""
_log = logging.getLogger(__name__)


async def run(config: Config, sockets: Iterable[socket.socket], channel: socket.socket) -> None:
    """Serve until the parent says so or goes away, or SIGTERM or SIGINT comes; then drain.

    A second signal changes nothing, nor does SIGHUP: a service manager may signal the parent and its workers
    alike, and the parent tells them what it comes to. Raises StoreError or ConfigurationError when it can't
    start.
    """
    stop, cut = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    gateway = Gateway(config)
    reader, writer = await asyncio.open_unix_connection(sock=channel)
    news: asyncio.Queue[Sequence[Upstream]] = asyncio.Queue()
    obeying = asyncio.create_task(_obey(reader, news, stop, cut))
    try:
        await gateway.build()
        await gateway.listen(sockets)
        await gateway.start()
        reporting = asyncio.create_task(_report(gateway, writer, stop))
        taking_up = asyncio.create_task(_take_up(news, gateway))
        await stop.wait()
        taking_up.cancel()
        await gateway.drain(cut)
        reporting.cancel()
    finally:
        await gateway.close()
    await _tell(gateway, writer, leaving=True)
    obeying.cancel()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def _obey(
    reader: asyncio.StreamReader,
    news: asyncio.Queue[Sequence[Upstream]],
    stop: asyncio.Event,
    cut: asyncio.Event,
) -> None:
    try:
        while command := await reader.read(1):
            if command == control.UPSTREAMS:
                news.put_nowait(await control.receive_upstreams(reader))
                continue
            if command == control.CUT:
                cut.set()
            stop.set()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # a parent that died with reports unread
    finally:
        stop.set()


async def _take_up(news: asyncio.Queue[Sequence[Upstream]], gateway: Gateway) -> None:
    while True:
        upstreams = await news.get()
        try:
            await gateway.take_up(upstreams)
        except ConfigurationError as error:
            _log.error("the upstreams stay as they were: %s", error)
        except Exception as error:  # the next ones are to be taken up all the same
            _log.error("the upstreams stay as they were: internal error: %s", described(error))
        else:
            _log.info("the upstreams were taken up")


async def _report(gateway: Gateway, writer: asyncio.StreamWriter, stop: asyncio.Event) -> None:
    """Report every second, and at once when the worker is about to leave: its successor can start then."""
    while not stop.is_set():
        await _tell(gateway, writer, leaving=False)
        await first_of(stop.wait(), asyncio.sleep(REPORT_SECONDS))
    while True:
        await _tell(gateway, writer, leaving=True)
        await asyncio.sleep(REPORT_SECONDS)


async def _tell(gateway: Gateway, writer: asyncio.StreamWriter, *, leaving: bool) -> None:
    with suppress(ConnectionError):  # without a parent, nobody counts any more
        await control.send(writer, _state(gateway, leaving=leaving))


def _state(gateway: Gateway, *, leaving: bool) -> Report:
    resident_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Report(
        leaving=leaving,
        metrics=gateway.snapshot(),
        targets=gateway.targets(),
        open_connections=gateway.open_connections,
        cpu_seconds=time.process_time(),
        resident_bytes=resident_pages * os.sysconf("SC_PAGE_SIZE"),
    )
