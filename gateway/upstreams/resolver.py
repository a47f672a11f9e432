"""The addresses of one host: asked of the system once for all who want to connect, and kept for seconds.

`getaddrinfo` has a small pool of threads: of a thousand look-ups at once the last might come seconds late.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain

from aiohappyeyeballs import AddrInfoType

FRESH = 5.0
"""Seconds that an answer, or the lack of one, counts without asking again."""
STALE = 3600.0
"""Seconds that an answer may serve while the system gives no other."""
PATIENCE = 0.5
"""Seconds to wait for a new answer while there is an old one."""

LookUp = Callable[[str, int], Awaitable[Sequence[AddrInfoType]]]
"""Host and port to addresses. Raises OSError, or UnicodeError for what can't be a host's name."""


async def system_look_up(host: str, port: int) -> Sequence[AddrInfoType]:
    """The system's own answer, in the order in which it would try the addresses (RFC 6724)."""
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Resolver:
    """The addresses of one host and port. `clock` is in seconds and never goes back."""

    def __init__(
        self,
        host: str,
        port: int,
        look_up: LookUp = system_look_up,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._port = port
        self._look_up = look_up
        self._clock = clock
        self._flight: asyncio.Task[OSError | None] | None = None
        self._turn = 0
        self._families: list[list[AddrInfoType]] = []
        """What was answered last, by address family."""
        self._fresh_until = self._stale_until = -1.0
        try:  # an address in place of a name: no name server is asked, not even here
            literal = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return
        self._families = [list(literal)]
        self._fresh_until = float("inf")

    async def addresses(self) -> list[AddrInfoType]:
        """The addresses in the order in which to try them, beginning with another one each time.

        Raises OSError when the system has none, and gave none lately. A caller who is cancelled leaves the
        look-up to the others.
        """
        if self._clock() >= self._fresh_until:
            await self._ask()
        turn = self._turn
        self._turn += 1
        # Each family begins with another address, but the system's order of families stays: it knows what
        # is reachable from here.
        shifts = ((family, turn % len(family)) for family in self._families)
        return list(chain.from_iterable(family[shift:] + family[:shift] for family, shift in shifts))

    async def _ask(self) -> None:
        flight = self._flight
        if flight is None or flight.done():
            flight = self._flight = asyncio.create_task(self._fly())
        has_old = self._clock() < self._stale_until
        # Unlike wait_for and shield, wait() leaves the task alone, whatever becomes of the one who waits.
        done, _ = await asyncio.wait((flight,), timeout=PATIENCE if has_old else None)
        if done:
            error = OSError("the look-up was given up") if flight.cancelled() else flight.result()
            if error is None:
                return
            if not has_old:
                raise type(error)(*error.args)  # one of its own for each who waits: tracebacks add up
        self._fresh_until = self._clock() + FRESH

    async def _fly(self) -> OSError | None:
        try:
            answer = await self._look_up(self._host, self._port)
        except OSError as error:
            return error
        except UnicodeError:
            return OSError("not the name of a host")
        families: dict[int, list[AddrInfoType]] = {}
        for address in answer:
            families.setdefault(address[0], []).append(address)
        self._families = list(families.values())
        self._fresh_until = self._clock() + FRESH
        self._stale_until = self._clock() + STALE
        return None

    def close(self) -> None:
        """End the look-up under way, if there is one."""
        if self._flight:
            self._flight.cancel()
            self._flight = None
