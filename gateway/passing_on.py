"""Waits in a task of its own for what those who handle events can't wait for, and hands it to them.

They are compiled where speed is wanted (`scripts/compile`), and compiled coroutines can't be cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def pass_on(
    ask: Callable[[], Awaitable[T]], then: Callable[[T], None], failed: Callable[[Exception], None]
) -> asyncio.Task[None]:
    """A task that awaits what `ask` makes, and gives it to `then`.

    What either of them raises goes to `failed`; if the task is cancelled, that is all.
    """
    return asyncio.get_running_loop().create_task(_pass_on(ask, then, failed))


async def _pass_on(
    ask: Callable[[], Awaitable[T]], then: Callable[[T], None], failed: Callable[[Exception], None]
) -> None:
    try:
        then(await ask())
    except Exception as error:
        failed(error)
