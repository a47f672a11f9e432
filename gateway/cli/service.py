"""What `serve` and its workers share: diagnostics, how they run and fail; and the options of `serve`."""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from gateway.cli.diagnostics import Diagnostics, keep_standard_streams
from gateway.errors import StoreError
from gateway.listeners import ListenError
from gateway.supervisor import StartError

Say = Callable[[str], None]
"""Tells the operator one line, on standard error: standard output belongs to the access log."""


def options() -> argparse.ArgumentParser:
    """The parent parser of `serve`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--listen", metavar="HOST:PORT", help="instead of the configured address")
    parser.add_argument("--workers", metavar="N", help="how many processes serve")
    return parser


def settings(args: argparse.Namespace) -> Mapping[str, object]:
    """These options as settings, by dotted key."""
    return {"server.listen": args.listen, "server.workers": args.workers}


def run(
    main: Callable[[Say], Coroutine[Any, Any, None]],
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    *,
    process: str = "",
) -> int:
    """Run it to its end: 0, or 1 and one line when it can't start. `process` names it in the diagnostics."""
    keep_standard_streams()
    diagnostics = Diagnostics(process)
    logging.basicConfig(level=logging.INFO, handlers=[diagnostics], force=True)
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main(diagnostics.say))
    except (StoreError, ListenError, StartError) as error:
        diagnostics.say(f"error: {error}")
        return 1
    finally:
        diagnostics.finish()
    return 0
