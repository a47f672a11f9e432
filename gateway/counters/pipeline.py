"""Runs of one Redis script, gathered and sent together: one round trip for all that wait.

Nobody who waits for an answer touches the connection. So a request that is given up can't leave its answer
there for the next, and what a command costs is shared by all that are sent with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from gateway.errors import CountersUnavailable

DEADLINE = 0.25
"""Seconds that a command may take, from when it is given here."""
_WAIT, _ANSWER, _GRACE = 0.4, 0.4, 0.2
"""The parts of that: to be sent; to be answered, with the time that a connection takes; and for an answer
that is here, but could not be read because the event loop was busy.
"""
RETRY = 0.5
"""Seconds between two attempts to reach the server while it is away."""
PROBE = "gateway:probe"
MOST_TOGETHER = 256
MOST_WAITING = 20_000
"""Commands that may wait to be sent; one more is refused."""


@dataclass(slots=True, eq=False)
class Command:
    """One run of the script. `done` gets its answer, or the error that came instead of one."""

    arguments: bytes
    """Encoded: how many keys, the keys, what the script takes beside them. See `encoded`."""
    count: int
    """How many that are."""
    done: Callable[[Any, CountersUnavailable | None], None]
    waited_for: bool
    """A request waits for the answer, and is told in time that there will be none; else it is sent late."""
    due: float = math.inf
    """When it is to be sent, by the event loop's clock."""


def encoded(arguments: Sequence[bytes]) -> bytes:
    """Arguments as the server's protocol has them."""
    return b"".join(b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments)


class Pipeline:
    """Sends commands while the server answers; otherwise they get CountersUnavailable at once."""

    def __init__(self, url: str, script: str, deadline: float) -> None:
        """url: `redis://`, `rediss://` or `unix://`, as redis-py reads it; it may hold a password."""
        self._deadline = deadline
        self._redis = Redis.from_url(
            url,
            socket_timeout=None,  # there is one deadline for everything
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        body = script.encode()
        digest = hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()
        self._known = encoded([b"EVALSHA", digest])
        self._whole = encoded([b"EVAL", body])
        self._waiting: deque[Command] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._reason = ""

    @property
    def available(self) -> bool:
        """Whether the server answered when it was last asked."""
        return self._recovery is None

    def submit(self, command: Command) -> None:
        """Send it with all others of this turn of the event loop. Raises CountersUnavailable."""
        if self._recovery:
            raise CountersUnavailable(self._reason)
        if len(self._waiting) >= MOST_WAITING:
            raise CountersUnavailable("too many requests wait for an answer")
        loop = asyncio.get_running_loop()
        if command.waited_for:
            command.due = loop.time() + _WAIT * self._deadline
        self._waiting.append(command)
        if self._sender is None:
            self._sender = loop.create_task(self._send())

    async def flush(self) -> None:
        """Return when nothing waits any more."""
        if self._sender:
            await self._sender

    async def close(self) -> None:
        """Send what waits, then let go of the connection."""
        await self.flush()
        if self._recovery:
            self._recovery.cancel()
            await asyncio.wait([self._recovery])
        await self._redis.aclose()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch: list[Command] = []
            while self._waiting and len(batch) < MOST_TOGETHER:
                command = self._waiting.popleft()
                if command.due < loop.time():
                    command.done(None, CountersUnavailable("the server is too slow"))
                else:
                    batch.append(command)
            if not batch:
                continue
            for command, answer in zip(batch, await self._answers_or_error(batch), strict=True):
                self._give(command, answer)
            if self._recovery:
                while self._waiting:
                    self._waiting.popleft().done(None, CountersUnavailable(self._reason))
        self._sender = None

    def _give(self, command: Command, answer: Any) -> None:
        if not isinstance(answer, Exception):
            try:
                command.done(answer, None)
            except Exception as error:  # the script never says that; those behind it must not wait in vain
                answer = error
            else:
                return
        self._lose(answer)
        command.done(None, CountersUnavailable(self._reason))

    async def _answers_or_error(self, batch: list[Command]) -> list[Any]:
        exchange = asyncio.create_task(self._answers(batch))
        for part in (_ANSWER, _GRACE):
            await asyncio.wait([exchange], timeout=part * self._deadline)
            if exchange.done():
                break
        else:
            exchange.cancel()
            await asyncio.wait([exchange])
        if exchange.cancelled():
            return [TimeoutError("no answer in time")] * len(batch)
        error = exchange.exception()  # whatever it is, nobody waits in vain
        return [error] * len(batch) if error else exchange.result()

    async def _answers(self, batch: list[Command]) -> list[Any]:
        """Each command's answer, or the server's error. Raises what befalls the connection."""
        pool: Any = self._redis.connection_pool  # parts of it have no types
        connection: AbstractConnection = await pool.get_connection()
        try:
            answers = await _exchange(connection, self._known, batch)
            unknown = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if unknown:  # the server has been started anew
                again = await _exchange(connection, self._whole, [batch[number] for number in unknown])
                for number, answer in zip(unknown, again, strict=True):
                    answers[number] = answer
            return answers
        finally:
            await pool.release(connection)

    def _lose(self, error: Exception) -> None:
        # What redis-py and the server say of a failure holds no password.
        self._reason = f"{type(error).__name__}: {error}"
        if self._recovery is None:
            self._recovery = asyncio.create_task(self._recover())

    async def _recover(self) -> None:
        """Ask until the server takes something: it may answer, and yet refuse to write."""
        while True:
            await asyncio.sleep(RETRY)
            with suppress(RedisError, OSError, TimeoutError):
                await asyncio.wait_for(self._redis.set(PROBE, "", ex=60), RETRY)
                break
        self._recovery = None


async def _exchange(connection: AbstractConnection, verb: bytes, batch: list[Command]) -> list[Any]:
    """Send all commands in one write, and read as many answers.

    Given up in the middle of that, the connection is closed, so that no answer is left there for the next.
    """
    packed = [b"*%d\r\n%b%b" % (2 + command.count, verb, command.arguments) for command in batch]
    await connection.send_packed_command(b"".join(packed))
    answers: list[Any] = []
    for _ in batch:
        try:
            answers.append(await connection.read_response())
        except ResponseError as error:
            answers.append(error)
    return answers
