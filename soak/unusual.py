"""Clients that leave, say nothing or do not read: nothing of them may stay behind."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

from soak.asking import Ask, Traffic, ask, note
from soak.ledger import Violation
from soak.plan import draw
from soak.samples import HUGE_BYTES, samples
from tests.support.raw_client import PeerLeftError, RawClient, RawResponse

WRITE_SECONDS = 4.0
"""How long the gateway is configured to wait for a client that does not read."""


async def leaving(traffic: Traffic, chance: random.Random) -> None:
    """A client that goes away, politely or not, at some moment of its request."""
    moment = chance.choice(("in the head", "in the body", "before the answer", "in the answer", "after it"))
    positions = samples().positions(status=200, least=1000)
    plan = draw(chance, positions, pieces=20, gap=chance.choice((0.0, 0.02)))
    request = ask(traffic, chance, plan, size=200_000 if moment == "in the body" else None)
    client = traffic.connect()
    try:
        await client.connect()
        await _until(traffic, chance, client, request, moment)
    finally:
        chance.choice((client.close, client.reset))()
    traffic.ledger.count("leaving", moment)


async def _until(
    traffic: Traffic, chance: random.Random, client: RawClient, request: Ask, moment: str
) -> None:
    if moment == "in the head":
        await client.send(request.head()[: chance.randrange(len(request.head()))])
        return
    if moment == "in the body":
        traffic.ledger.left += 1
        await client.send(request.head() + b"".join(request.pieces(65_536))[: chance.randrange(200_000)])
        return
    await client.send(request.encoded())
    if moment == "before the answer":
        traffic.ledger.left += 1
        await asyncio.sleep(chance.choice((0, 0.002, 0.02)))
        return
    answer = await client.read_head()
    until = None if moment == "after it" else chance.randrange(len(request.sample.body))
    await client.read_body(answer, until)
    _check_beginning(traffic, request, answer)


async def half_closed(traffic: Traffic, chance: random.Random) -> None:
    """A client that ends its side after its request: it counts as gone, and gets at most the beginning."""
    plan = draw(chance, samples().positions(status=200, least=1000), pieces=20, gap=0.02)
    request = ask(traffic, chance, plan)
    async with traffic.connect() as client:
        await client.send(request.encoded())
        await asyncio.sleep(chance.choice((0, 0.05)))
        client.half_close()
        try:
            answer = await client.read_head()
        except PeerLeftError:
            traffic.ledger.left += 1
            traffic.ledger.count("half-closed", "ended without an answer")
            return
        await client.read_body(answer)
        _check_beginning(traffic, request, answer)
        traffic.ledger.count("half-closed", "ended in the answer")


def _check_beginning(traffic: Traffic, request: Ask, answer: RawResponse) -> None:
    note(traffic, answer, str(request), None)
    if not request.sample.body.startswith(answer.body):
        raise Violation(f"{request}: {answer.body[-300:]!r} is not of its answer")


async def idle(traffic: Traffic, chance: random.Random) -> None:
    """Many connections that say nothing, or begin to, and are dropped."""
    beginning = b"POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 10\r\n"
    count = chance.choice((10, 50, 150))
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(traffic.connect()) for _ in range(count)]
        for client in clients[:: chance.choice((1, 2, 100))]:
            await client.send(beginning[: chance.randrange(len(beginning))])
        await asyncio.sleep(chance.choice((0, 0.2, 2)))
        if chance.random() < 0.5:
            for client in clients:
                client.reset()
    traffic.ledger.count("idle connections", f"{count} dropped")


async def deaf(traffic: Traffic, chance: random.Random) -> None:
    """A client that reads nothing of a large answer until its deadline has cut it off."""
    huge = samples().positions(status=200, least=HUGE_BYTES, most=2 * HUGE_BYTES)
    request = ask(traffic, chance, draw(chance, huge))
    async with traffic.connect(receive_buffer=32_768) as client:
        await client.send(request.encoded())
        answer = await client.read_head()
        await asyncio.sleep(2.5 * WRITE_SECONDS)
        await client.read_body(answer)
        note(traffic, answer, str(request), {"deadline"}, planned=True)
        if answer.ended == "complete":
            raise Violation(f"{request}: whole for a client that did not read for {2.5 * WRITE_SECONDS} s")
    traffic.ledger.count("deaf", "cut off")
