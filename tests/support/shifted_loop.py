"""An event loop whose time a test moves on: what was due meanwhile happens at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class ShiftedLoop(asyncio.SelectorEventLoop):
    """Real sockets and threads; timers, timeouts and sleeps go by a clock that also runs by itself."""

    ahead = 0.0
    """By how many seconds it is ahead of the system's clock."""

    def time(self) -> float:
        return super().time() + self.ahead


def shift(seconds: float) -> None:
    """Let that much time pass in the running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ShiftedLoop)
    loop.ahead += seconds


def run_shifted(main: Coroutine[Any, Any, None]) -> None:
    """Run it in such a loop."""
    with asyncio.Runner(loop_factory=ShiftedLoop) as runner:
        runner.run(main)
