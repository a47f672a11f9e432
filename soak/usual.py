"""Clients that do everything right: what they ask for has to come as planned, to the byte."""

from __future__ import annotations

import asyncio
import random

import msgspec

from soak.asking import Ask, Traffic, ask, keeps, receive, settle
from soak.ledger import Violation
from soak.plan import BREAKING, HARMLESS, STALLS, Fault, Plan, draw
from soak.samples import HUGE_BYTES, LARGE_BYTES, samples
from tests.support.raw_client import RawClient, RawResponse

_KEPT_BYTES = 64 * 1024
"""A longer body is sent once only: the request is lost when its upstream is just closing the connection."""
_SMALL = 60_000
_KINDS = {"plain": 60, "error": 8, "harmless": 15, "breaking": 12, "large": 4, "stall": 1}
"""Of answers, with their weights."""


async def conversation(traffic: Traffic, chance: random.Random) -> None:
    """Some requests on one connection, one after the other, until an answer ends it."""
    async with traffic.connect() as client:
        for last in (False,) * chance.randrange(12) + (True,):
            request = ask(traffic, chance, _any_plan(chance), closes=last and chance.random() < 0.3)
            await client.send(request.encoded())
            outcome, kept = await receive(traffic, client, request)
            status = request.sample.exchange.status
            planned = request.plan.fault if status == 200 else f"an answer of {status}"
            traffic.ledger.count(f"request for {planned}", outcome)
            if not kept:
                return


def _any_plan(chance: random.Random) -> Plan:
    small = samples().positions(status=200, most=_SMALL)
    [kind] = chance.choices(tuple(_KINDS), tuple(_KINDS.values()))
    match kind:
        case "error":
            return draw(chance, samples().positions(), pieces=chance.choice((1, 2)))
        case "harmless":
            return draw(chance, small, faults=HARMLESS)
        case "breaking":
            return draw(chance, small, faults=BREAKING, pieces=chance.choice((1, 3)), gap=0.005)
        case "large":
            return draw(chance, samples().positions(status=200, least=_SMALL), pieces=chance.choice((1, 5)))
        case "stall":
            return draw(chance, small, faults=STALLS)
        case _:
            return draw(chance, small, pieces=chance.choice((1, 1, 4)))


async def stream(traffic: Traffic, chance: random.Random) -> None:
    """A stream that takes seconds, and may break on its way."""
    faults = (Fault.NONE, Fault.NONE, Fault.IN_BODY_FIN, Fault.IN_BODY_RST, Fault.UNTIL_CLOSE)
    positions = samples().positions(status=200, least=1000)
    plan = draw(chance, positions, faults=faults, pieces=30, gap=chance.choice((0.01, 0.05, 0.1)))
    async with traffic.connect() as client:
        request = ask(traffic, chance, plan)
        await client.send(request.encoded())
        outcome, _ = await receive(traffic, client, request)
        traffic.ledger.count(f"slow stream with {plan.fault}", outcome)


async def upload(traffic: Traffic, chance: random.Random) -> None:
    """A body in pieces, perhaps after `100 Continue`, to an upstream that may be slow to take it."""
    plan = draw(chance, samples().positions(status=200, most=_SMALL))
    plan = msgspec.structs.replace(plan, upload_pause=chance.choice((0, 0, 0.05, 0.5)))
    request = ask(
        traffic,
        chance,
        plan,
        size=chance.choice((1000, 60_000, 200_000, 1_000_000, 4_000_000)),
        chunked=chance.random() < 0.5,
        expects=chance.random() < 0.2,
    )
    gap = chance.choice((0, 0, 0.002, 0.02))
    async with traffic.connect() as client:
        await client.send(request.head())
        if request.expects and (answer := await client.read_head()).status != 100:
            raise Violation(f"{request}: told {answer.status} when it expected 100 Continue")
        answer = await _answer_to(client, request.pieces(chance.choice((16_000, 65_536, 300_000))), gap)
        traffic.ledger.count("upload", _settle(traffic, request, answer))


async def answered_early(traffic: Traffic, chance: random.Random) -> None:
    """An upload whose answer comes before its end, which ends the connection."""
    plan = msgspec.structs.replace(draw(chance, samples().positions(status=200, most=_SMALL)), early=True)
    request = ask(traffic, chance, plan, size=2_000_000, chunked=chance.random() < 0.5)
    async with traffic.connect() as client:
        answer = await _answer_to(client, [request.head(), *request.pieces(65_536)], 0.05)
        outcome = _settle(traffic, request, answer)
        if outcome == "whole" and keeps(answer):
            raise Violation(f"{request}: answered before its end, but the connection is to be kept")
        traffic.ledger.count("upload answered early", outcome)


async def _answer_to(client: RawClient, pieces: list[bytes], gap: float) -> RawResponse:
    """The whole answer, which may come before all pieces are sent; the rest of them is not, then."""

    async def send() -> None:
        for piece in pieces:
            await client.send(piece)
            await asyncio.sleep(gap)

    sending = asyncio.create_task(send())
    try:
        return await client.read_response()
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def _settle(traffic: Traffic, request: Ask, answer: RawResponse) -> str:
    may_be_lost = len(request.body) > _KEPT_BYTES
    if may_be_lost and answer.status == 502:
        traffic.ledger.lost += 1
    return settle(traffic, request, answer, also=frozenset({502} if may_be_lost else ()))


async def slow_reader(traffic: Traffic, chance: random.Random) -> None:
    """A client that reads with pauses, far more slowly than the upstream sends, and perhaps then closes."""
    positions = samples().positions(status=200, least=500_000, most=2 * HUGE_BYTES)
    plan = draw(chance, positions, faults=(Fault.NONE, Fault.CLOSES, Fault.UNTIL_CLOSE))
    pause = chance.choice((0.01, 0.05, 0.1))
    async with traffic.connect(receive_buffer=65_536) as client:
        request = ask(traffic, chance, plan)
        await client.send(request.encoded())
        answer = await client.read_head()
        for until in range(0, LARGE_BYTES, 65_536):
            await client.read_body(answer, until)
            await asyncio.sleep(pause)
        await client.read_body(answer)
        traffic.ledger.count(f"slow reader with {plan.fault}", settle(traffic, request, answer))


async def pipeline(traffic: Traffic, chance: random.Random) -> None:
    """Several requests sent at once: their answers come in that order."""
    positions = samples().positions(status=200, most=_SMALL)
    requests = [
        ask(
            traffic,
            chance,
            draw(chance, positions, pieces=chance.choice((1, 3))),
            size=chance.choice((2, 3000)),
        )
        for _ in range(chance.randrange(2, 6))
    ]
    async with traffic.connect() as client:
        await client.send(b"".join(request.encoded() for request in requests))
        for request in requests:
            outcome, kept = await receive(traffic, client, request)
            traffic.ledger.count("pipelined request", outcome)
            if not kept:
                raise Violation(f"{request}: its connection ends before the next request is answered")
