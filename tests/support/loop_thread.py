"""A thread with an event loop of its own, and facts in it that a test in another loop can await."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE = 5.0
"""Seconds that a test waits for anything unless it says otherwise."""


class LoopThread:
    """Runs an event loop in a daemon thread until `stop`.

    A fact is a function without arguments that answers None until it holds; it is called in the loop's own
    thread, at once and after each `changed()`, so nobody polls and nobody sleeps.
    """

    def __init__(self, name: str) -> None:
        # Always asyncio's own loop, also where the test runs under uvloop: what it does is known.
        self.loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._recheck: list[Callable[[], bool]] = []

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Cancels every task of the loop, lets each clean up, closes the loop and joins the thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), f"{self._thread.name} does not end"

    def _run(self) -> None:
        self.loop.run_forever()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.close()

    def changed(self) -> None:
        """Looks again at every awaited fact. In the loop's thread only."""
        self._recheck = [recheck for recheck in self._recheck if recheck()]

    async def holds(self, fact: Callable[[], T | None]) -> T:
        """The fact's value once there is one. In the loop's thread only."""
        if (value := fact()) is not None:
            return value
        future: asyncio.Future[T] = self.loop.create_future()

        def recheck() -> bool:
            if not future.done() and (value := fact()) is not None:
                future.set_result(value)
            return not future.done()

        self._recheck.append(recheck)
        return await future

    async def until(self, what: str, fact: Callable[[], T | None], deadline: float = DEADLINE) -> T:
        """The fact's value once there is one, for a coroutine of any loop.

        Raises `TimeoutError` that names `what` after `deadline` seconds.
        """
        if self.loop.is_closed():
            raise RuntimeError(f"waiting for {what}, but {self._thread.name} is stopped")
        future = asyncio.run_coroutine_threadsafe(self.holds(fact), self.loop)
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise TimeoutError(f"waited {deadline:g} s in vain for {what}") from None
