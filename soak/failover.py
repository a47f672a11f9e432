"""Failover under load: three upstreams, of which one after the other says 429, hangs, and resets its streams.

    .venv/bin/python -m soak.failover [--sticky-seconds 0]

The same is asked of a gateway twice, without and with these faults: what its clients saw, how long they
waited, and how often the upstreams were asked.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import monotonic
from urllib.parse import urlsplit

from soak.stopping import run_until_stopped
from tests.support.gateway import Gateway, start_gateway
from tests.support.raw_client import PeerLeftError, RawClient, RawResponse
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, Script, chunk, keep_open, pause, response, rst, send
from tests.support.upstream_request import UpstreamRequest

FAULTS = ("429", "hangs", "resets")
"""What the upstreams do, in their order, each for a fifth of the requests: the second to the fourth fifth."""
WHOLE, CUT = "answered whole", "cut off after the first byte"
_BODY = b'{"contents": [{"role": "user", "parts": [{"text": "Say something."}]}]}'
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_EVENT = chunk(b'data: {"candidates": [{"content": {"parts": [{"text": "something"}]}}]}\r\n\r\n')
_LAST = chunk(
    b'data: {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 4, '
    b'"candidatesTokenCount": 5, "totalTokenCount": 9}, "modelVersion": "gemini-2.5-flash"}\r\n\r\n'
)
_PACE = 0.01
_STREAM: Script = [
    pause(_PACE),
    send(_HEAD + _EVENT),
    *[step for _ in range(4) for step in (pause(_PACE), send(_EVENT))],
    pause(_PACE),
    send(_LAST + LAST_CHUNK),
]
_QUOTA = (
    b'{"error": {"code": 429, "message": "You exceeded your current quota.", "status": "RESOURCE_EXHAUSTED",'
    b' "details": [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": '
    b'"GenerateRequestsPerMinutePerProjectPerModel"}]}, {"@type": "type.googleapis.com/google.rpc.RetryInfo",'
    b' "retryDelay": "2s"}]}}'
)
_DOES: dict[str, Script] = {
    "": _STREAM,
    "429": response(429, [("Content-Type", "application/json")], _QUOTA),
    "hangs": [keep_open()],
    "resets": [*_STREAM[:4], rst()],
}


@dataclass
class Upstream:
    """One of the three, and what is wrong with it just now."""

    server: RawUpstream
    fault: str = ""

    def answer(self, request: UpstreamRequest) -> Script:
        """What it does with a request."""
        return _DOES[self.fault]


@dataclass(frozen=True)
class Asked:
    """One request as its client saw it; times are in seconds from when it was due to be sent."""

    phase: int
    """Which fifth of the run it belongs to."""
    outcome: str
    first_byte: float
    whole: float


@dataclass
class Run:
    """What one run came to."""

    asked: list[Asked] = field(default_factory=list)
    upstream_requests: int = 0

    @property
    def failed(self) -> list[Asked]:
        """Those whose client did not get a whole answer."""
        return [one for one in self.asked if one.outcome != WHOLE]

    def lines(self) -> list[str]:
        """What is printed of it."""
        good = [one for one in self.asked if one.outcome == WHOLE]
        outcomes = Counter((one.phase, one.outcome) for one in self.failed)
        return [
            f"{len(self.asked):8,}  requests",
            *(f"{count:8,}  {what}, fifth {phase + 1}" for (phase, what), count in sorted(outcomes.items())),
            f"{100 * len(self.failed) / len(self.asked):8.2f}  % of them failed",
            f"{self.upstream_requests / len(self.asked):8.3f}  requests to upstreams for each",
            *_times("to the first byte", [one.first_byte for one in good]),
            *_times("to the end", [one.whole for one in good]),
        ]


def _times(what: str, seconds: Sequence[float]) -> list[str]:
    cuts = quantiles(seconds, n=100, method="inclusive")
    return [f"{1000 * cuts[at - 1]:8.1f}  ms {what}, p{at}" for at in (50, 99)]


async def run(upstreams: Sequence[Upstream], gateway: Gateway, args: argparse.Namespace, faults: bool) -> Run:
    """Ask for all, on schedule."""
    tokens = [gateway.credential("--name", f"client-{number}") for number in range(args.clients)]
    chance = random.Random(args.seed)
    asked_before = sum(upstream.server.total_requests for upstream in upstreams)
    asking: list[asyncio.Task[Asked]] = []
    begin = monotonic()
    for number in range(args.requests):
        phase = 5 * number // args.requests
        for place, (upstream, fault) in enumerate(zip(upstreams, FAULTS, strict=True), 1):
            upstream.fault = fault if faults and place == phase else ""
        due = begin + number / args.rate
        await asyncio.sleep(max(due - monotonic(), 0.0))
        asking.append(asyncio.create_task(_ask(gateway, chance.choice(tokens), phase, due)))
    result = Run(await asyncio.gather(*asking))
    result.upstream_requests = sum(each.server.total_requests for each in upstreams) - asked_before
    return result


async def _ask(gateway: Gateway, token: str, phase: int, due: float) -> Asked:
    port = urlsplit(gateway.url).port
    assert port
    head = (
        "POST /ai-gateway/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse HTTP/1.1\r\n"
        f"Host: gateway.test\r\nx-goog-api-key: {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(_BODY)}\r\n\r\n"
    )
    first_byte = 0.0
    async with RawClient("127.0.0.1", port, deadline=60.0) as client:
        await client.send(head.encode() + _BODY)
        try:
            answer = await client.read_head()
            first_byte = monotonic() - due
            outcome = _judged(await client.read_body(answer))
        except (PeerLeftError, ConnectionError):
            outcome = "left without an answer"
    return Asked(phase, outcome, first_byte, monotonic() - due)


def _judged(answer: RawResponse) -> str:
    if answer.status != 200:
        return " ".join([str(answer.status), *answer.header("x-gateway-error")])
    if answer.ended != "complete" or b'"error"' in answer.body:
        return CUT
    assert answer.body.count(b"data: ") == 6, answer.body
    return WHOLE


def _configuration(upstreams: Sequence[Upstream], args: argparse.Namespace) -> str:
    tables = [
        f'[[upstreams]]\nname = "upstream-{number}"\nkind = "ai-studio"\nbase_url = "{each.server.url}"\n'
        'keys = ["env:FAILOVER_KEY"]\n'
        for number, each in enumerate(upstreams, 1)
    ]
    settings = (
        f"[timeouts]\nfirst_byte = {args.first_byte}\n[routing]\nsticky_seconds = {args.sticky_seconds}\n"
    )
    return settings + "".join(tables)


async def _main(args: argparse.Namespace) -> int:
    runs = {}
    for faults in False, True:
        with ExitStack() as cleanup:
            upstreams = [Upstream(cleanup.enter_context(RawUpstream())) for _ in FAULTS]
            for upstream in upstreams:
                upstream.server.answer_always(upstream.answer)
            directory = cleanup.enter_context(TemporaryDirectory())
            gateway = start_gateway(
                Path(directory), _configuration(upstreams, args), {"FAILOVER_KEY": "AQ.of-the-failover-run"}
            )
            cleanup.callback(gateway.stop)
            runs[faults] = await run(upstreams, gateway, args, faults)
        print("with faults:" if faults else "without faults:", *runs[faults].lines(), sep="\n", flush=True)
    return 1 if runs[False].failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m soak.failover",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--requests", type=int, default=2000, metavar="N", help="how many, in each run")
    parser.add_argument("--rate", type=float, default=100.0, metavar="N", help="requests a second")
    parser.add_argument("--clients", type=int, default=12, metavar="N", help="credentials that ask")
    parser.add_argument("--first-byte", type=float, default=2.0, metavar="S", help="timeouts.first_byte")
    parser.add_argument("--sticky-seconds", type=float, default=300.0, metavar="S", help="as in [routing]")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of chance")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_until_stopped(_main(_arguments())))
