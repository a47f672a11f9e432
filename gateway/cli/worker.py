"""`worker`: one process of a gateway with several, which its parent starts. Not for people."""

from __future__ import annotations

import argparse
import os
import socket
import sys

from gateway import control, process, worker
from gateway.cli import service
from gateway.cli.management import fail


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command, which no help names."""
    parser = subparsers.add_parser("worker")
    parser.add_argument("place", type=int)
    parser.add_argument("channel", type=int)
    parser.add_argument("sockets", type=int, nargs="+")
    parser.set_defaults(run=run)


def command() -> list[str]:
    """What starts a worker, once its place and its files are added."""
    # -m puts the working folder before all else, where anything may be called `gateway`: only where this
    # process looks for modules there, too.
    python = [sys.executable] if os.getcwd() in sys.path else [sys.executable, "-P"]
    return [*python, "-m", "gateway", "worker"]


def run(args: argparse.Namespace) -> int:
    """Serve until the parent ends it. 1 when it can't start, 2 when it was not started by a parent."""
    try:
        channel = socket.socket(fileno=args.channel)
        sockets = [socket.socket(fileno=number) for number in args.sockets]
        config = control.receive_config(channel)
    except (OSError, ValueError, OverflowError):
        return fail("it was not given its sockets: workers are started by `serve --workers`", code=2)
    return service.run(
        lambda _: worker.run(config, sockets, channel),
        process.loop_factory(),
        process=f"worker {args.place}",
    )
