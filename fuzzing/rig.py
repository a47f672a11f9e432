"""The gateway that is fuzzed: the real one, on an event loop of its own that runs while an input does.

It is made once and answers input after input. After each it has to be as it was before: what is left behind
is a finding, as is anything it says in its log that only a fault of its own would explain.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fuzzing.ends import AnswerReader, End, Finding, Upstream, connect
from gateway.exchange import Exchange
from gateway.upstreams.connection import State
from tests.support.stack import Settings, Stack, running_stack

DEADLINE_SECONDS = 10.0
"""How long one thing may take. The gateway's own deadlines are far beyond: here nothing waits for them."""
QUICK_TURNS = 300
"""Turns of the event loop before whoever waits begins to sleep between them."""
QUIET_TURNS = 4
"""Turns without a byte for anybody after which the gateway has done what it was about to do."""
LOOK_EVERY = 100
"""Inputs from one search for what piles up to the next."""
LOOKS = 3
"""Searches one after another that have to find more than the one before: caches grow for a while, too."""
MAX_BODY_BYTES = 200_000

Side = Callable[["Rig", bytes], Awaitable[None]]
"""Runs one input on a rig. Raises Finding."""

_UNREACHABLE = 600.0
_SETTINGS = Settings(
    connect=_UNREACHABLE,
    first_byte=_UNREACHABLE,
    idle=_UNREACHABLE,
    write=_UNREACHABLE,
    total=_UNREACHABLE,
    body_piece=_UNREACHABLE,
    head=_UNREACHABLE,
    client_idle=_UNREACHABLE,
    max_body_bytes=MAX_BODY_BYTES,
)


class Rig:
    """A running gateway between a client's end and the upstream's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, directory: Path) -> None:
        self.upstream = Upstream()
        self._loop = loop
        self._log = _Log()
        self._running = running_stack(directory, self.upstream.url, _SETTINGS)
        self.stack: Stack = loop.run_until_complete(self._running.__aenter__())
        self._clients: list[End] = []
        self._accepted: End | None = None
        """The client last seen to be let in."""
        self._inputs = 0
        self._tasks: set[asyncio.Task[Any]] = asyncio.all_tasks(loop)
        self._files = self._sockets = 0
        """How many are open at rest."""
        self._counts: Counter[str] = Counter()
        self._growing: dict[str, int] = {}
        self.run(_warm_up, b"")
        gc.collect()
        gc.freeze()  # what the program is made of needs no search

    def run(self, side: Side, data: bytes) -> None:
        """Run one input to its end. Raises Finding."""
        self._inputs += 1
        self._loop.run_until_complete(self._run(side, data))

    def close(self) -> None:
        """Stop the gateway. Raises AssertionError if it can't come to rest."""
        self._loop.run_until_complete(self._running.__aexit__(None, None, None))
        self.upstream.close()
        self._log.close()
        self._loop.close()
        gc.unfreeze()

    async def _run(self, side: Side, data: bytes) -> None:
        await side(self, data)
        for client in self._clients:
            client.close()
        self._clients.clear()
        await self.until("everything of the requests to be gone", lambda: not self._left())
        self.upstream.clear()
        await self.until("the connections upstream to be gone", lambda: not self.stack.upstream_states)
        await self._sockets_closed()
        self.upstream.clear()
        self.exchanges.clear()
        if self._inputs % LOOK_EVERY == 0:
            self._look_for_forgotten()
            self._look_into_log()
        if self.stack.faults:
            raise Finding(f"the event loop's exception handler was told: {self.stack.faults}")
        if self._log.faults:
            raise Finding("in the log:\n" + "\n".join(self._log.faults))

    async def _sockets_closed(self) -> None:
        if not self._sockets:
            self._files, self._sockets = len(_open_files()), _open_sockets()
        elif len(_open_files()) > self._files:  # other files than sockets the store opens when it likes
            await self.until("every socket to be closed", lambda: _open_sockets() <= self._sockets)

    def _look_for_forgotten(self) -> None:
        """Objects of the gateway's own that are more with every look: at rest it keeps none for a request."""
        gc.collect()
        mine = (one for one in gc.get_objects() if type(one).__module__.startswith("gateway."))
        counts = Counter(type(one).__qualname__ for one in mine)
        growing = {
            name: self._growing.get(name, 0) + 1
            for name, count in counts.items()
            if count >= self._counts.get(name, count) + LOOK_EVERY // 2
        }
        self._counts, self._growing = counts, growing
        if forgotten := [name for name, looks in growing.items() if looks >= LOOKS]:
            raise Finding(f"more and more objects are kept: {[(name, counts[name]) for name in forgotten]}")

    def _look_into_log(self) -> None:
        """Nothing secret is there; then it is emptied. Its newest lines are there by the next time."""
        secret = self.stack.token.rpartition("_")[2].encode()
        for line in self.stack.log_path.read_bytes().splitlines():
            if secret in line:
                raise Finding(f"a token in the access log: {line!r}")
        os.truncate(self.stack.log_path, 0)

    def _left(self) -> str:
        stack = self.stack
        if stack.proxy.open or stack.relay.live:
            return "a request under way"
        if any(state is not State.IDLE for state in stack.upstream_states):
            return "an upstream connection that is not idle"
        if stack.connections:
            return "a client's connection"
        return "a task" if self._other_tasks() else ""

    def _other_tasks(self) -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks() - self._tasks - {asyncio.current_task()}

    # For a side

    def connect(self) -> tuple[End, AnswerReader]:
        """A new client."""
        client = connect(self.stack.port)
        self._clients.append(client)
        return client, AnswerReader(client)

    @property
    def exchanges(self) -> list[Exchange]:
        """The records of the present input's requests that are over."""
        return self.stack.observer.exchanges

    async def turn(self) -> bool:
        """Let the event loop turn once; whether something came for either end."""
        await asyncio.sleep(0)
        came = self.upstream.pump()
        for client in self._clients:
            came = client.pump() or came
        return came

    async def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Return as soon as `holds()`. Raises Finding when it does not in time."""
        for _ in range(QUICK_TURNS):
            if holds():
                return
            await self.turn()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not holds():
            if time.monotonic() > deadline:
                raise Finding(f"waited in vain for {what} (left: {self._left() or 'nothing'})")
            await asyncio.sleep(0.001)
            await self.turn()

    async def send(self, end: End, data: bytes, turned: Callable[[], object] = lambda: None) -> None:
        """Send all of it. Where the gateway takes no more, its client has to read on."""
        if end in self._clients and end is not self._accepted:
            # Otherwise one that leaves at once may be let in when the next input is running.
            await self.until("a client to be let in", lambda: end.address in self._served())
            self._accepted = end
        deadline = time.monotonic() + DEADLINE_SECONDS
        while rest := end.send(data):
            if len(rest) == len(data):
                for client in self._clients:
                    client.reads = True
                if time.monotonic() > deadline:
                    raise Finding("waited in vain for the gateway to read on")
            data = rest
            await self.turn()
            turned()

    def _served(self) -> list[object]:
        """The addresses of the clients that have been let in."""
        transports = [connection.transport for connection in self.stack.connections]
        return [transport.get_extra_info("peername") for transport in transports if transport]

    async def handled(self, end: End) -> None:
        """Return when all that was sent has been read by the gateway, and what it does about it is done."""
        for _ in range(QUICK_TURNS):
            if end.arrived():
                break
            await self.turn()  # the gateway is not reading, and may have its reasons
        await self.quiet()

    async def quiet(self, turns: int = QUIET_TURNS) -> None:
        """Return when for some turns nothing has come for either end."""
        left = turns
        while left:
            left = turns if await self.turn() else left - 1


async def _warm_up(rig: Rig, _: bytes) -> None:
    """One request, for all that is opened once."""
    client, answers = rig.connect()
    await rig.send(client, rig.stack.request())
    await rig.until("the first request", lambda: bool(rig.upstream.asked))
    await rig.send(rig.upstream.asked[0].end, b"HTTP/1.1 204 No Content\r\n\r\n")
    await rig.until("the first answer", answers.read)


class _Log(logging.Handler):
    """Keeps what the gateway logs where only a fault of its own explains it. Nothing reaches the terminal."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.faults: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        of_upstream = record.name == "gateway.alarms" or "refuses the gateway's key" in record.getMessage()
        if record.exc_info or (record.levelno >= logging.ERROR and not of_upstream):
            self.faults.append(self.format(record))

    def close(self) -> None:
        logging.getLogger().removeHandler(self)
        super().close()


def _open_files() -> list[str]:
    return os.listdir("/proc/self/fd")


def _open_sockets() -> int:
    count = 0
    for name in _open_files():
        with suppress(FileNotFoundError):  # the directory's own, just read
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count
