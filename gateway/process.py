"""What every process of the gateway needs: its signals, its event loop, its operator's ear."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date

from gateway.config import Config
from gateway.stores import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Started:
    """A gateway that takes requests, as its operator is told of it."""

    config: Config
    store: Store
    addresses: Sequence[str]
    """Where clients connect, as URLs."""
    admin_address: str


Announce = Callable[[Started], Awaitable[None]]


async def first_of(*waits: Awaitable[object]) -> None:
    """Wait for whichever comes first."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def catch_signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Events that SIGTERM or SIGINT sets: `stop` at the first signal, `cut` at the second."""
    stop, cut = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(
            number, lambda: cut.set() if stop.is_set() else stop.set()
        )
    return stop, cut


def catch_reload(config: Config, ask: Callable[[], None]) -> None:
    """Have SIGHUP call `ask`. Without a file it ends the process, as a closed terminal means it to."""
    if config.path:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, ask)


def warn(config: Config) -> None:
    """Tell the operator what is allowed but probably not meant, and which models will be shut down."""
    for notice in config.notices(date.today()):
        _log.warning("%s", notice)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop where it is installed, asyncio's own loop otherwise."""
    try:
        import uvloop  # noqa: PLC0415 - absent on some platforms
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
