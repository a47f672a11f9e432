"""Runs the soak: `scripts/soak --help`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvloop

from soak import report
from soak.programs import Gateway, Upstream
from soak.run import Soak
from tests.support.tls import make_certificates

SECONDS = 600.0


def main() -> int:
    """0 when all went well, 1 otherwise, 128 and the signal's number when it was stopped."""
    args = _arguments()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_until_stopped(args))


async def _until_stopped(args: argparse.Namespace) -> int:
    loop = asyncio.get_running_loop()
    soaking = asyncio.create_task(_soak(args))
    stopped: list[int] = []

    def stop(number: int) -> None:
        stopped.append(number)
        soaking.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await soaking
    except asyncio.CancelledError:
        print("stopped", flush=True)
        return 128 + stopped[0]


async def _soak(args: argparse.Namespace) -> int:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-soak-")))
        certificates = make_certificates(directory)
        upstream = Upstream(certificates)
        stack.callback(upstream.stop)
        gateway = Gateway(directory, upstream, certificates, args.workers)
        stack.callback(gateway.stop)
        soak = Soak(gateway, upstream, args.seed)
        print(f"seed {args.seed}, {args.workers} workers, {args.seconds:g} s", flush=True)
        table = report.Table(args.seconds)
        found = await soak.run(args.seconds, table.show)
    for line in report.summary(soak):
        print(line)
    for line in found:
        print(f"WRONG: {line}")
    print(f"{len(found)} things are wrong" if found else "all is well", flush=True)
    return 1 if found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="N", help="default: %(default)g")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="default: %(default)d")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default: %(default)d")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
