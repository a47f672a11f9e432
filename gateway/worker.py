"""One of several processes that serve: it is given its sockets, and reports to the parent that started it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from gateway import control
from gateway.config import Config
from gateway.control import Report
from gateway.process import first_of
from gateway.reload import Reloader
from gateway.server import Gateway

REPORT_SECONDS = 1.0
"""How old the parent's figures may be: what a killed worker has counted since is lost."""


async def run(
    config: Config, read: Callable[[], Config], sockets: Iterable[socket.socket], channel: socket.socket
) -> None:
    """Serve until the parent says so or goes away, or SIGTERM or SIGINT comes; then drain.

    A second signal changes nothing, nor does SIGHUP: a service manager may signal the parent and its workers
    alike, and the parent tells them of it, too. `read` gives the configuration as it is now.
    Raises StoreError when it can't start.
    """
    stop, cut = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    gateway = Gateway(config)
    reloader = Reloader(config, read, gateway.take_up, leads=False)
    reader, writer = await asyncio.open_unix_connection(sock=channel)
    obeying = asyncio.create_task(_obey(reader, reloader, stop, cut))
    try:
        await gateway.build()
        await gateway.listen(sockets)
        await gateway.start()
        reporting = asyncio.create_task(_report(gateway, writer, stop))
        reloading = asyncio.create_task(reloader.run())
        await stop.wait()
        reloading.cancel()
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
    reader: asyncio.StreamReader, reloader: Reloader, stop: asyncio.Event, cut: asyncio.Event
) -> None:
    with suppress(ConnectionError):  # a parent that died with reports unread
        while command := await reader.read(1):
            if command == control.RELOAD:
                reloader.ask()
                continue
            if command == control.CUT:
                cut.set()
            stop.set()
    stop.set()


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
