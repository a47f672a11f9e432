"""Runs one scenario on two machines: `scripts/fleet --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol

from fleet import chaos, limit, revoke
from fleet.machines import Fleet, fleet
from soak.stopping import run_until_stopped

TOKENS_PER_MINUTE = 200_000
UNREACHED = 1_000_000_000_000


class Outcome(Protocol):
    """What a scenario came to."""

    def lines(self) -> Sequence[str]: ...
    def wrong(self) -> Sequence[str]: ...


Scenario = Callable[[Fleet, argparse.Namespace], Coroutine[None, None, Outcome]]


def main() -> int:
    """0 when all held, 1 otherwise, 128 and the signal's number when it was stopped."""
    args = _arguments()
    return run_until_stopped(_run(args))


async def _run(args: argparse.Namespace) -> int:
    with fleet(workers=args.workers, tokens_per_minute=args.tokens_per_minute) as machines:
        print(f"{args.name}: {len(machines.machines)} machines of {args.workers} workers", flush=True)
        outcome = await args.scenario(machines, args)
    for line in outcome.lines():
        print(line)
    found = [*outcome.wrong(), *machines.wrong()]
    for line in found:
        print(f"WRONG: {line}")
    print(f"{len(found)} things are wrong" if found else "all is well", flush=True)
    return 1 if found else 0


async def _limit(machines: Fleet, args: argparse.Namespace) -> Outcome:
    return await limit.run(
        machines, requests=args.requests, rate=args.rate, limit=args.tokens_per_minute, seed=args.seed
    )


async def _chaos(machines: Fleet, args: argparse.Namespace) -> Outcome:
    return await chaos.run(machines, requests=args.requests, rate=args.rate, seed=args.seed)


async def _revoke(machines: Fleet, args: argparse.Namespace) -> Outcome:
    return await revoke.run(machines, rounds=args.rounds, workers=args.workers)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fleet", description=__doc__)
    scenarios = parser.add_subparsers(required=True, metavar="limit|chaos|revoke")
    for name, scenario, text in (
        ("limit", _limit, "many requests through one limit of tokens"),
        ("chaos", _chaos, "workers killed, servers stopped, clients leaving"),
        ("revoke", _revoke, "how long a revoked credential is good"),
    ):
        one = scenarios.add_parser(name, help=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        one.set_defaults(name=name, scenario=scenario, tokens_per_minute=UNREACHED)
        one.add_argument("--workers", type=int, default=4, metavar="N", help="of each machine")
        if name == "revoke":
            one.add_argument("--rounds", type=int, default=10, metavar="N", help="credentials revoked")
            continue
        one.add_argument("--seed", type=int, default=1, metavar="N", help="of chance")
        requests, rate = (20_000, 150.0) if name == "limit" else (10_000, 120.0)
        one.add_argument("--requests", type=int, default=requests, metavar="N", help="how many")
        one.add_argument("--rate", type=float, default=rate, metavar="N", help="requests a second")
        if name == "limit":
            one.add_argument(
                "--tokens-per-minute", type=int, default=TOKENS_PER_MINUTE, metavar="N", help="the limit"
            )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
