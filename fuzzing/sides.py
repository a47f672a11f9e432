"""What can be fuzzed, and on which event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import uvloop

from fuzzing import request_side, response_side
from fuzzing.rig import Side

SIDES: dict[str, Side] = {"response": response_side.run, "request": request_side.run}
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.SelectorEventLoop,
}
