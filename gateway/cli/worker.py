"""`worker`: one process of a gateway with several, which its parent starts. Not for people."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from functools import partial

from gateway import process, worker
from gateway.cli import service
from gateway.cli.management import fail
from gateway.config import load


def add(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Register the command, which no help names."""
    parser = subparsers.add_parser("worker", parents=[common, service.options()])
    parser.add_argument("place", type=int)
    parser.add_argument("channel", type=int)
    parser.add_argument("sockets", type=int, nargs="+")
    parser.set_defaults(run=run)


def command(args: argparse.Namespace) -> list[str]:
    """What starts a worker of the gateway with these arguments, once its place and its files are added."""
    # -m puts the working folder before all else, where anything may be called `gateway`: only where this
    # process looks for modules there, too.
    python = [sys.executable] if os.getcwd() in sys.path else [sys.executable, "-P"]
    given = {"--config": args.config, "--listen": args.listen, "--workers": args.workers}
    options = [f"{name}={value}" for name, value in given.items() if value is not None]
    return [*python, "-m", "gateway", "worker", *options]


def run(args: argparse.Namespace) -> int:
    """Serve until the parent ends it. Raises ConfigurationError; 1 when it can't start for another reason."""
    read = partial(load, args.config, os.environ, service.settings(args))
    config = read()
    try:
        channel = socket.socket(fileno=args.channel)
        sockets = [socket.socket(fileno=number) for number in args.sockets]
    except (OSError, ValueError, OverflowError):
        return fail("it was not given its sockets: workers are started by `serve --workers`", code=2)
    return service.run(
        lambda _: worker.run(config, read, sockets, channel),
        process.loop_factory(),
        process=f"worker {args.place}",
    )
