"""Many clients at once, on schedule: each request is asked on one of the machines, and its answer judged."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic

from fleet.plan import HEADER, Plan
from tests.support.raw_client import PeerLeftError, RawClient, RawResponse

CLIENTS = 64
DEADLINE = 20.0
"""Seconds that a client waits for anything before it says that the gateway hangs."""
MOST_ON_A_CONNECTION = 10
REFUSALS = {
    (
        429,
        "REQUEST_LIMIT_EXCEEDED",
    ): 'ai gateway per-minute token limit exceeded for model "gemini-2-5-flash"',
    (503, "AUTHORIZATION_UNAVAILABLE"): "authorization temporarily unavailable",
    (503, "OVERLOADED"): "gateway overloaded",
}
"""What the gateway itself may answer, by status and reason: the message of the contract."""
_BODY = b'{"contents": [{"role": "user", "parts": [{"text": "Say something."}]}]}'
WHOLE, CUT, LEFT = "whole", "cut off", "left"


class Wrong(Exception):
    """An answer that must not be."""


@dataclass
class Asked:
    """One request as its client saw it. Times are by the machine's monotonic clock, in seconds."""

    plan: Plan
    machine: int
    began: float
    leaves: float | None
    """After how many seconds its client leaves, whatever has come by then; None: it stays."""
    port: int = 0
    ended: float = 0.0
    outcome: str = ""
    """WHOLE, CUT, LEFT, or the status and reason of a refusal."""
    wrong: str = ""


@dataclass
class Traffic:
    """Requests that are asked at a rate, of all machines in turn by chance."""

    ports: Callable[[int], int]
    """Of each machine's listener, as it is now."""
    machines: int
    token: str
    chance: random.Random
    rate: float
    """Requests a second."""
    leaving: float = 0.0
    """The share of clients that leave before they have their answer."""

    async def run(self, plans: Sequence[Plan]) -> list[Asked]:
        """Ask for all of these; a client that is late asks at once."""
        begin = monotonic()
        asked: list[Asked] = []
        turns = iter(enumerate(plans))
        await asyncio.gather(*(self._client(begin, turns, asked) for _ in range(CLIENTS)))
        return asked

    async def _client(self, begin: float, turns: Iterator[tuple[int, Plan]], asked: list[Asked]) -> None:
        for first, plan in turns:
            machine = self.chance.randrange(self.machines)
            await _until(begin + first / self.rate)
            client = RawClient("127.0.0.1", self.ports(machine), deadline=DEADLINE)
            try:
                keeps = await self._ask(client, machine, plan, asked, fresh=True)
                for _ in range(self.chance.randrange(MOST_ON_A_CONNECTION)):
                    turn = next(turns, None) if keeps else None
                    if turn is None:
                        break
                    await _until(begin + turn[0] / self.rate)
                    keeps = await self._ask(client, machine, turn[1], asked)
            finally:
                client.close()

    async def _ask(
        self, client: RawClient, machine: int, plan: Plan, asked: list[Asked], *, fresh: bool = False
    ) -> bool:
        """Whether the connection may be used again."""
        leaves = self.chance.uniform(0.0, 0.3) if self.chance.random() < self.leaving else None
        one = Asked(plan, machine, monotonic(), leaves)
        asked.append(one)
        keeps = False
        try:
            async with asyncio.timeout(leaves):
                if fresh:
                    await client.connect()
                one.port = client.port
                await client.send(request(self.token, plan))
                answer = await client.read_response()
                one.outcome = judged(plan, answer)
                keeps = answer.ended == "complete" and answer.header("connection") != ["close"]
        except TimeoutError as error:
            if leaves is not None and monotonic() - one.began < DEADLINE:
                one.outcome = LEFT
            else:
                one.outcome, one.wrong = CUT, f"hangs: {error}"
        except (PeerLeftError, ConnectionError):
            one.outcome = CUT
        except Exception as error:
            one.outcome, one.wrong = CUT, f"{type(error).__name__}: {error}"
        one.ended = monotonic()
        return keeps


def request(token: str, plan: Plan) -> bytes:
    """As it goes over the wire."""
    head = (
        f"POST /ai-gateway/gemini/v1beta/models/gemini-2.5-flash:{plan.action} HTTP/1.1\r\n"
        f"Host: gateway.test\r\nx-goog-api-key: {token}\r\nContent-Type: application/json\r\n"
        f"x-request-id: {plan.number}\r\n{HEADER}: {plan.header()}\r\nContent-Length: {len(_BODY)}\r\n\r\n"
    )
    return head.encode() + _BODY


def judged(plan: Plan, answer: RawResponse) -> str:
    """What an answer is that has been read to its end. Raises Wrong."""
    if answer.header("x-gateway-error"):
        return _refusal(answer)
    if answer.status != 200:
        raise Wrong(f"answered with {answer.status}, {answer.body[:200]!r}")
    whole = b"".join(plan.pieces())
    if answer.ended != "complete":
        if not whole.startswith(answer.body):
            raise Wrong(f"{answer.ended} with {answer.body[-200:]!r}")
        return CUT
    if answer.body != whole:
        raise Wrong(f"complete with {answer.body[:200]!r}")
    return WHOLE


def _refusal(answer: RawResponse) -> str:
    [reason] = answer.header("x-gateway-error")
    if answer.ended != "complete":
        raise Wrong(f"a refusal that ends as {answer.ended}")
    error = json.loads(answer.body)["error"]
    if error["code"] != answer.status or error["details"][0]["reason"] != reason:
        raise Wrong(f"{answer.status} {reason} with {answer.body!r}")
    if error["message"] != REFUSALS.get((answer.status, reason)):
        raise Wrong(f"{answer.status} {reason}: {error['message']}")
    return f"{answer.status} {reason}"


async def _until(moment: float) -> None:
    await asyncio.sleep(max(moment - monotonic(), 0.0))
