"""What requests may leave behind in a test's own process, counted: objects, timers, tasks and sockets."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import types
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any

_LIBRARIES = ("gateway.", "aiohttp.")
"""Whose objects are counted: the program's own, and those of the server beneath it."""
_OUTLIVING = (
    "gateway.exchange",  # the records, which the tests' observer keeps
    "gateway.identity",
    "gateway.branches",
    "gateway.counters.memory",  # windows in use
    "gateway.ledger",  # the file of the spool that is written to now
    "gateway.limiter",
    "gateway.lookup_cache",
    "gateway.metrics",
    "gateway.quota",  # limits that were looked up
    "gateway.upstreams.faults",  # why targets rest
    "gateway.upstreams.rest",
    "gateway.upstreams.target",
    "gateway.upstreams.tls_sessions",
    "gateway.upstreams.connection",  # those in the pool, which are counted by their states and as sockets
)
"""What there may be more of after a request than before it: what is known of credentials, of models, …"""
_METHODS = (types.MethodType, types.BuiltinMethodType)  # the latter: of a compiled class


class Census:
    """What there is before the first request, for comparison with what there is after the last."""

    def __init__(self) -> None:
        gc.collect()
        self._objects = _ours(gc.get_objects())
        """Held, so that nothing newer gets the address of one of them."""
        self._count = Counter(map(type, self._objects))
        self._tasks = asyncio.all_tasks()

    def tasks(self) -> set[asyncio.Task[Any]]:
        """Those that began since, but for the one that asks."""
        return asyncio.all_tasks() - self._tasks - {asyncio.current_task()}

    def left(self) -> list[str]:
        """What is left over: objects by their type, and each timer that is set for something newer. Once."""
        timers = [repr(timer) for timer in _timers(gc.get_objects()) if not self._is_older(timer)]
        self._objects.clear()
        gc.collect()
        grown = Counter(map(type, _ours(gc.get_objects()))) - self._count
        names = {f"{kind.__module__}.{kind.__qualname__}": count for kind, count in grown.items()}
        found = [f"{count} more {name}" for name, count in names.items() if not name.startswith(_OUTLIVING)]
        return found + timers

    def _is_older(self, timer: object) -> bool:
        """Whether it is of something that was there before: an object whose method it calls, or a task."""
        called = [one.__self__ for one in gc.get_referents(timer) if isinstance(one, _METHODS)]
        older = {*map(id, self._objects), *map(id, self._tasks)}
        return any(id(one) in older for one in [*called, *gc.get_referents(*called)])


def sockets(*, local: Collection[int] = (), remote: Collection[int] = ()) -> int:
    """How many connections of this process have one of these ports on its own side, or on the other one."""
    return sum(here in local or there in remote for _, here, there in connections())


def connections() -> Iterator[tuple[int, int, int]]:
    """Of each open TCP connection over IPv4: descriptor, local and remote port (0: no longer connected)."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # it is no socket, or closed by now
            one = socket.socket(fileno=int(name))
            try:
                tcp = (one.family, one.type) == (socket.AF_INET, socket.SOCK_STREAM)
                if tcp and not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    yield int(name), one.getsockname()[1], _remote_port(one)
            finally:
                one.detach()


def _remote_port(one: socket.socket) -> int:
    with suppress(OSError):
        return int(one.getpeername()[1])
    return 0


def _ours(objects: Iterable[object]) -> list[object]:
    kinds = {kind for kind in set(map(type, objects)) if str(kind.__module__).startswith(_LIBRARIES)}
    return [one for one in objects if type(one) in kinds]


def _timers(objects: Iterable[object]) -> list[Any]:
    """Those that are set in this event loop: asyncio's, or uvloop's, which has no list of them."""
    loop = asyncio.get_running_loop()
    timers: list[Any] = [one for one in objects if type(one).__name__ == "TimerHandle"]
    return [
        one
        for one in timers
        if not one.cancelled() and one.when() > loop.time() and loop in gc.get_referents(one)
    ]
