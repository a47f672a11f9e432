"""Runs the soak: `scripts/soak --help`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from soak import report
from soak.programs import Gateway, Upstream
from soak.run import Soak
from soak.stopping import run_until_stopped
from tests.support.tls import make_certificates

SECONDS = 600.0


def main() -> int:
    """0 when all went well, 1 otherwise, 128 and the signal's number when it was stopped."""
    args = _arguments()
    return run_until_stopped(_soak(args))


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
