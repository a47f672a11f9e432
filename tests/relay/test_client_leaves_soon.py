"""How soon an upstream sees that a client has gone: 50 ms while its bytes are read, 1 s while they are not.

All of it is measured at the upstream, from the client's leaving to the end of the upstream's connection.
These are bounds of behaviour, not figures of speed: a busy machine may spoil an attempt, so for the shorter
bound the best of a few counts. The longer one leaves such a machine half a second.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from math import inf
from time import monotonic

import pytest

from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.relay.parts import EVENT, STREAM_HEAD
from tests.relay.test_client_leaves import MUCH, WAYS
from tests.support.eventually import eventually
from tests.support.ports import silent_port
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream
from tests.support.script import chunk, keep_open, resume_reading, send, stop_reading, wait_for
from tests.support.stack import Stack
from tests.support.tls import TestCertificates

WHILE_READ = 0.05
WHILE_HELD_BACK = 1.0
"""Seconds."""
ATTEMPTS = 10

Leave = Callable[[RawClient], None]
ways = pytest.mark.parametrize("leave", WAYS.values(), ids=WAYS)
schemes = pytest.mark.parametrize("scheme", ["http", "https"])


def serving(scheme: str, certificates: TestCertificates) -> AbstractContextManager[RawUpstream]:
    return RawUpstream(tls=certificates.server.context() if scheme == "https" else None)


async def soonest(upstream: RawUpstream, stack: Stack, request: bytes, sees: bytes, leave: Leave) -> float:
    """Seconds until the upstream's connection has ended, after the client has seen so much of the answer."""
    best = inf
    for attempt in range(ATTEMPTS):
        async with stack.client() as client:
            await client.send(request)
            asked = await upstream.request(attempt)
            if sees:
                await client.read_body(await client.read_head(), len(sees))
            left_at = monotonic()
            leave(client)
            took = (await asked.closed()).at - left_at
        assert (await stack.exchange(attempt)).ending is Ending.CLIENT_ABORTED
        best = min(best, took)
        if best < WHILE_READ:
            break
    return best


@ways
@schemes
async def test_before_the_first_byte(
    leave: Leave, scheme: str, start: Start, certificates: TestCertificates
) -> None:
    with serving(scheme, certificates) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        upstream.answer_always([keep_open()])
        assert await soonest(upstream, stack, stack.request(), b"", leave) < WHILE_READ


@ways
@schemes
async def test_in_the_stream(leave: Leave, scheme: str, start: Start, certificates: TestCertificates) -> None:
    with serving(scheme, certificates) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        upstream.answer_always([send(STREAM_HEAD + chunk(EVENT)), keep_open()])
        assert await soonest(upstream, stack, stack.request(), EVENT, leave) < WHILE_READ


@ways
@schemes
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_in_its_body(
    leave: Leave, scheme: str, framing: str, start: Start, certificates: TestCertificates
) -> None:
    with serving(scheme, certificates) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        upstream.answer_always([keep_open()], after_body=False)
        assert await soonest(upstream, stack, half_a_request(stack, framing), b"", leave) < WHILE_READ
        assert not any(asked.body_complete for asked in upstream.requests)


@ways
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_in_its_body_under_an_answer(
    leave: Leave, framing: str, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_always([send(STREAM_HEAD + chunk(EVENT)), keep_open()], after_body=False)
    assert await soonest(upstream, stack, half_a_request(stack, framing), EVENT, leave) < WHILE_READ
    assert not any(asked.body_complete for asked in upstream.requests)


def half_a_request(stack: Stack, framing: str) -> bytes:
    if framing == "chunked":
        return stack.chunked_request(chunk(b"x" * 1000) + b"f")
    return stack.request(b"x" * 1000, framing=b"Content-Length: 2000")


async def fill(client: RawClient, stack: Stack) -> None:
    """Send until the gateway reads no more; so little then waits for it that an end behind it gets there."""
    [connection] = stack.connections
    transport = connection.transport
    assert transport
    while transport.is_reading():
        await client.send(bytes(10_000))


@ways
@schemes
async def test_while_its_upload_is_held_back(
    leave: Leave, scheme: str, start: Start, certificates: TestCertificates
) -> None:
    """By an upstream that takes nothing; that can see an end only behind what it has yet to take."""
    with serving(scheme, certificates) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        script = [stop_reading(), wait_for("the gateway has noticed"), resume_reading(), keep_open()]
        upstream.answer_next(script, after_body=False)
        async with stack.client() as client:
            await client.send(stack.request(b"", framing=b"Content-Length: %d" % len(MUCH)))
            asked = await upstream.request()  # before that nothing is read either: there is no connection yet
            await fill(client, stack)
            left_at = monotonic()
            leave(client)
            assert (await stack.exchange()).ending is Ending.CLIENT_ABORTED
            upstream.set("the gateway has noticed")
            assert (await asked.closed()).at - left_at < WHILE_HELD_BACK
        assert not asked.body_complete


@ways
async def test_while_its_upload_waits_for_a_connection(leave: Leave, start: Start) -> None:
    with silent_port() as port:
        stack = await start(upstream_url=f"http://127.0.0.1:{port}")
        async with stack.client() as client:
            await client.send(stack.request(b"", framing=b"Content-Length: %d" % len(MUCH)))
            await eventually("the request under way", lambda: bool(stack.relay.live))
            await fill(client, stack)
            left_at = monotonic()
            leave(client)
            exchange = await stack.exchange()
            assert exchange.ended - left_at < WHILE_HELD_BACK
            assert (exchange.ending, exchange.status) == (Ending.CLIENT_ABORTED, 0)
