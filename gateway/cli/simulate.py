"""`gateway simulate`: the simulated upstream alone, on a listener of its own, for tests and load runs."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from typing import Any

from aiohttp import web

from gateway.simulator import create_runner


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "simulate",
        help="run the simulated upstream alone",
        description="An HTTP server that answers like Google's Gemini API, without a model and without a "
        "credential. It prints its address when it listens and ends on SIGTERM or SIGINT.",
    )
    parser.add_argument(
        "--listen",
        type=_address,
        default="127.0.0.1:8090",
        metavar="HOST:PORT",
        help="where to listen; port 0 takes a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--pace",
        type=_milliseconds,
        default="20",
        metavar="MS",
        help="milliseconds between two chunks of a stream (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serves until told to end. 0: ended as told; 1: it could not listen, and standard error says why."""
    host, port = args.listen
    try:
        asyncio.run(_serve(host, port, args.pace))
    except OSError as error:
        print(f"cannot listen on {host}:{port}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


async def _serve(host: str, port: int, pace: float) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    runner = create_runner(pace=pace)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
        host, port = runner.addresses[0][:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"simulated Gemini API on http://{shown}:{port}", flush=True)
        await ended.wait()
    finally:
        await runner.cleanup()


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"not HOST:PORT: {text!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _milliseconds(text: str) -> float:
    """Seconds, from a number of milliseconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"not a number of milliseconds: {text!r}")
    return value / 1000
