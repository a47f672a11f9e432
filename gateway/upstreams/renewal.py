"""Keeps an upstream's key supplied with access tokens: one at a time, ahead of the last one's end, and never
on a request's path.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from gateway.errors import described
from gateway.google_tokens import Token, TokenUnavailable
from gateway.upstreams import Key

EARLY_SECONDS = 600.0
"""How long before its end a token is renewed, unless that is more than half of its life: time enough to try
again. The metadata server gives the same token until five minutes before its end, and is then asked again."""
FIRST_SECONDS = 5.0
"""For how long the first token is waited for."""
RETRY_SECONDS = 60.0
"""The longest pause between two attempts that fail; the first is of a second at most."""
LEAST_SECONDS = 1.0
"""The shortest pause after an attempt that succeeds, however short a token's life."""
PATIENCE_SECONDS = 30.0
"""When an attempt counts as failing. It is not given up: a second one beside it would not help."""
_log = logging.getLogger(__name__)


class Source(Protocol):
    """Where tokens come from."""

    def fetch(self) -> Token:
        """A new token; called in a thread. Raises TokenUnavailable."""


class Renewal:
    """One key and the source of its tokens. The key is unavailable while there is none that is good."""

    def __init__(self, upstream: str, key: Key, source: Source, line: Callable[[str], bytes]) -> None:
        """`upstream` is its name, for the log; `line` makes a token the header line that carries it."""
        self._upstream = upstream
        self._key = key
        self._source = source
        self._line = line
        self._changed = asyncio.Event()
        self._tried = asyncio.Event()
        self._renewed_at = 0.0
        self._ending: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        key.lack()

    async def start(self) -> None:
        """Begin, and wait for the first attempt, though not for long: whatever comes of it, it goes on."""
        self._task = asyncio.create_task(self._run())
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SECONDS):
                await self._tried.wait()

    def use(self, source: Source) -> None:
        """Take tokens from here, at once if it is another source; the present one serves until then."""
        if source != self._source:
            self._source = source
            self._changed.set()

    def refused(self) -> None:
        """Ask for another token at once, for the present one is refused: unless that can't be for its age."""
        if asyncio.get_running_loop().time() - self._renewed_at > RETRY_SECONDS:
            self._changed.set()

    async def close(self) -> None:
        """End it. What a thread has asked for is awaited no more."""
        if self._ending:
            self._ending.cancel()
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        pause = 0.5
        while True:
            self._changed.clear()
            try:
                token = await self._attempt()
            except TokenUnavailable as error:
                self._failed(str(error))
                pause = min(2 * pause, RETRY_SECONDS)
                wait = pause * random.uniform(0.5, 1.0)  # noqa: S311 - so that several don't ask together
            else:
                self._renewed(token)
                pause = 0.5
                wait = max(token.seconds - EARLY_SECONDS, token.seconds / 2, LEAST_SECONDS)
            self._tried.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    async def _attempt(self) -> Token:
        flight = _in_thread(self._source.fetch)
        try:
            done, _ = await asyncio.wait([flight], timeout=PATIENCE_SECONDS)
            if not done:
                self._failed(f"no answer in {PATIENCE_SECONDS:.0f} s")
            return await flight
        finally:
            flight.cancel()

    def _renewed(self, token: Token) -> None:
        self._key.renew(self._line(token.value))
        if self._ending:
            self._ending.cancel()
        loop = asyncio.get_running_loop()
        self._renewed_at = loop.time()
        self._ending = loop.call_later(token.seconds, self._ended)
        if self._key.failing_since is not None:
            lasted = time.time() - self._key.failing_since
            self._key.failing_since = None
            _log.warning("upstream %s has a new access token, after %.0f s", self._upstream, lasted)

    def _failed(self, reason: str) -> None:
        if self._key.failing_since is None:
            self._key.failing_since = time.time()
            left = "the old one still serves" if self._key.available else "it is not asked until there is one"
            _log.error("upstream %s gets no new access token: %s; %s", self._upstream, reason, left)

    def _ended(self) -> None:
        self._key.lack()
        _log.error("upstream %s has no access token any more, and is not asked until it has", self._upstream)


def _in_thread(call: Callable[[], Token]) -> asyncio.Future[Token]:
    """Its result. In a thread that holds up nobody who wants to end, unlike those of asyncio."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Token] = loop.create_future()

    def settle(result: Token | TokenUnavailable) -> None:
        if future.done():
            return  # nobody waits any more
        if isinstance(result, Token):
            future.set_result(result)
        else:
            future.set_exception(result)

    def work() -> None:
        result: Token | TokenUnavailable
        try:
            result = call()
        except TokenUnavailable as error:
            result = error
        except Exception as error:
            result = TokenUnavailable(f"internal error: {described(error)}")
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=work, name="access-token", daemon=True).start()
    return future
