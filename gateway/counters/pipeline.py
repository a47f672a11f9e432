"""Runs of one Redis script, gathered and sent together: one round trip for all that wait.

Nobody who waits for an answer touches the connection. So a request that is given up can't leave its answer
there for the next, and what a command costs is shared by all that are sent with it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from gateway.errors import CountersUnavailable

DEADLINE = 0.25
"""Seconds that a command may take, from when it is given here."""
RETRY = 0.5
"""Seconds between two attempts to reach the server while it is away."""
PROBE = "gateway:probe"
MOST_TOGETHER = 256
MOST_WAITING = 20_000
"""Commands that may wait to be sent; one more is refused."""


@dataclass(slots=True, eq=False)
class Command:
    """One run of the script. `done` gets its answer, or the error that came instead of one."""

    keys: list[str]
    arguments: list[str | int | bytes]
    """What to do comes first."""
    done: Callable[[Any, Exception | None], None]
    deadline: float = 0.0


class Pipeline:
    """Sends commands as long as the server answers; otherwise tells them CountersUnavailable at once."""

    def __init__(self, url: str, script: str) -> None:
        """url: `redis://`, `rediss://` or `unix://`, as redis-py reads it; it may hold a password."""
        self._redis = Redis.from_url(
            url,
            socket_timeout=None,  # there is one deadline for everything
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        self._script = script
        self._digest = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._waiting: deque[Command] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._reason = ""

    @property
    def available(self) -> bool:
        """Whether the server has answered the last time it was asked."""
        return self._recovery is None

    def submit(self, command: Command) -> None:
        """Send it with all others of this turn of the event loop. Raises CountersUnavailable."""
        if self._recovery:
            raise CountersUnavailable(self._reason)
        if len(self._waiting) >= MOST_WAITING:
            raise CountersUnavailable("too many requests wait for an answer")
        loop = asyncio.get_running_loop()
        command.deadline = loop.time() + DEADLINE
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
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_TOGETHER))]
            try:
                async with asyncio.timeout_at(batch[0].deadline):
                    answers = await self._answers(batch)
            except Exception as error:  # whatever it is, nobody waits in vain
                batch.extend(self._waiting)
                self._waiting.clear()
                answers = [error] * len(batch)
            for command, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Exception):
                    self._lose(answer)
                    command.done(None, CountersUnavailable(self._reason))
                else:
                    command.done(answer, None)
        self._sender = None

    async def _answers(self, batch: list[Command]) -> list[Any]:
        """Each command's answer, or the server's error. Raises what befalls the connection."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for command in batch:
                pipeline.evalsha(self._digest, len(command.keys), *command.keys, *command.arguments)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
            unknown = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            for number in unknown:  # the server has been started anew
                command = batch[number]
                pipeline.eval(self._script, len(command.keys), *command.keys, *command.arguments)
            if unknown:
                for number, answer in zip(unknown, await pipeline.execute(raise_on_error=False), strict=True):
                    answers[number] = answer
        return answers

    def _lose(self, error: Exception) -> None:
        # What redis-py and the server say of a failure holds no password.
        self._reason = f"{type(error).__name__}: {error}"
        if self._recovery is None:
            self._recovery = asyncio.get_running_loop().create_task(self._recover())

    async def _recover(self) -> None:
        while True:
            await asyncio.sleep(RETRY)
            try:
                async with asyncio.timeout(RETRY):
                    await self._redis.set(PROBE, "", ex=60)  # for a server may answer, and yet take nothing
                    await self._redis.script_load(self._script)
            except (RedisError, OSError, TimeoutError):
                continue
            break
        self._recovery = None
