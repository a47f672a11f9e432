"""A client that is far behind when its answer is over or cut short: what it still gets, and until when."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

from gateway.exchange import Ending
from gateway.upstreams.connection import State
from tests.relay.conftest import Start
from tests.relay.parts import CUTS, LAST_EVENT, STREAM_HEAD, UNARY, WHOLE, error_event, idle
from tests.support.eventually import eventually
from tests.support.raw_client import RawClient, RawResponse
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, Script, Step, chunk, read_body, send, wait_for
from tests.support.stack import Stack
from tests.support.upstream_connection import UpstreamConnection

EVENT = b"data: " + b"x" * 7986 + b"\r\n\r\n"
LAST = EVENT * 5 + LAST_EVENT
LITTLE = 40_000
"""Bytes to be written that don't make the gateway pause yet, but will with `LAST`, which is read at once."""


class Behind:
    """An answer whose end the gateway reads in one call, while its client reads nothing of it."""

    def __init__(
        self,
        stack: Stack,
        upstream: RawUpstream,
        end: bytes = chunk(LAST) + LAST_CHUNK,
        then: Script = (),
        *,
        head: bytes = STREAM_HEAD,
        event: bytes = chunk(EVENT),
    ) -> None:
        """event: one as it stands on the wire."""
        self.stack = stack
        self.head = head
        self.event = event
        self.upstream = upstream
        self.end = end
        self.sent_before = 0
        self._enough = threading.Event()
        self._all_sent = threading.Event()
        upstream.answer_next([send(head), self._answer, *then], after_body=False)

    async def _answer(self, connection: UpstreamConnection) -> None:
        number = 0
        while not self._enough.is_set():
            await connection.send(self.event)
            number += 1
            await connection.upstream.event(f"more {number}")
        await connection.send(self.end)
        self._all_sent.set()

    async def begin(self, client: RawClient) -> RawResponse:
        """Brings it to that point; the client has read the head."""
        answer = await client.read_head()
        [connection] = self.stack.connections
        transport, request = connection.transport, self.upstream.requests[-1]
        assert transport
        number = 1
        await request.answer_sent(len(self.head) + len(self.event))
        while transport.get_write_buffer_size() < LITTLE:
            sent = request.sent
            self.upstream.set(f"more {number}")
            await request.answer_sent(sent + len(self.event))
            number += 1
        self._enough.set()
        self.upstream.set(f"more {number}")
        assert self._all_sent.wait(5)  # the gateway's own event loop stands still meanwhile
        self.sent_before = number * len(EVENT)
        await eventually("the client behind", lambda: connection.writing_paused)
        return answer


async def test_a_whole_answer_keeps_no_upstream_busy(stack: Stack, upstream: RawUpstream) -> None:
    behind = Behind(stack, upstream)
    upstream.answer_next([send(WHOLE)])
    async with stack.client(receive_buffer=4096) as client:
        await client.send(stack.request())
        answer = await behind.begin(client)
        assert stack.upstream_states == [State.IDLE]
        assert stack.relay.live
        await client.read_body(answer)
        assert answer.ended == "complete"
        assert len(answer.body) == behind.sent_before + len(LAST)
        await client.send(stack.request(action="generateContent"))
        assert (await client.read_response()).body == UNARY
    assert (await stack.exchange()).ending is Ending.COMPLETE
    assert upstream.total_connections == 1


async def test_a_whole_answer_that_its_client_never_reads_is_given_up(
    start: Start, upstream: RawUpstream
) -> None:
    stack = await start(write=0.5)
    behind = Behind(stack, upstream)
    async with stack.client(receive_buffer=4096) as client:
        await client.send(stack.request())
        await behind.begin(client)
        began = monotonic()
        exchange = await stack.exchange()
        assert exchange.ending is Ending.DEADLINE
        assert 0.3 < exchange.ended - began < 2
        assert stack.upstream_states == [State.IDLE]


@pytest.mark.parametrize("rest", [b"", b"}"], ids=["unfinished", "finished"])
async def test_a_whole_answer_to_a_request_that_was_not_whole(
    rest: bytes, stack: Stack, upstream: RawUpstream
) -> None:
    """The client gets all of it, and then the end of its connection, as its head has said."""
    behind = Behind(stack, upstream)
    async with stack.client(receive_buffer=4096) as client:
        await client.send(stack.request(b"{", framing=b"Content-Length: 2"))
        answer = await behind.begin(client)
        assert answer.header("connection") == ["close"]
        await client.send(rest)
        await client.read_body(answer)
        assert (answer.ended, len(answer.body)) == ("complete", behind.sent_before + len(LAST))
        assert await client.peer_left(deadline=2) == "fin"
    assert (await stack.exchange()).ending is Ending.COMPLETE


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_early_answer_ends_the_connection_though_the_request_gets_whole(
    framing: str, stack: Stack, upstream: RawUpstream
) -> None:
    """Its head has said so before that was known."""
    upstream.answer_next(
        [send(STREAM_HEAD), read_body(), send(chunk(LAST_EVENT) + LAST_CHUNK)], after_body=False
    )
    async with stack.client() as client:
        if framing == "chunked":
            await client.send(stack.chunked_request(b"2\r\n{"))
        else:
            await client.send(stack.request(b"{", framing=b"Content-Length: 2"))
        answer = await client.read_head()
        assert answer.header("connection") == ["close"]
        await client.send(b"}\r\n0\r\n\r\n" if framing == "chunked" else b"}")
        await client.read_body(answer)
        assert (answer.body, answer.ended) == (LAST_EVENT, "complete")
        assert await client.peer_left(deadline=2) == "fin"
    assert (await stack.exchange()).ending is Ending.COMPLETE


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("end", [chunk(LAST), chunk(LAST[:-1])], ids=["between events", "in an event"])
async def test_an_upstream_that_breaks_off_while_its_client_is_behind(
    cut: list[Step], end: bytes, stack: Stack, upstream: RawUpstream
) -> None:
    """The client gets all that came before the break, and then the word of it."""
    behind = Behind(stack, upstream, end, cut)
    async with stack.client(receive_buffer=4096) as client:
        await client.send(stack.request())
        answer = await behind.begin(client)
        await client.read_body(answer)
        assert answer.ended == "eof_without_terminator"
        sent = LAST if end == chunk(LAST) else LAST[:-1]
        passed = answer.body[: behind.sent_before + len(sent)]
        assert passed.endswith(sent)
        if sent == LAST:
            assert error_event(answer.body, passed) == 502
        else:
            assert answer.body == passed
    assert (await stack.exchange()).ending is Ending.TRUNCATED


async def test_the_whole_times_deadline_for_a_client_that_is_behind(
    start: Start, upstream: RawUpstream
) -> None:
    """It is over for good: one that does not read can't be told why."""
    stack = await start(total=0.7)
    behind = Behind(stack, upstream, end=chunk(LAST))
    async with stack.client(receive_buffer=4096) as client:
        await client.send(stack.request())
        await behind.begin(client)
        exchange = await stack.exchange()
        assert exchange.ending is Ending.DEADLINE
        assert exchange.ended - exchange.began < 2
        await upstream.connections_open(0)


@pytest.mark.parametrize("end", [chunk(LAST), chunk(LAST[:-1])], ids=["between events", "in an event"])
async def test_a_drain_waits_for_a_client_that_is_behind_and_tells_it(
    end: bytes, stack: Stack, upstream: RawUpstream
) -> None:
    behind = Behind(stack, upstream, end)
    async with stack.client(receive_buffer=4096) as client:
        await client.send(stack.request())
        answer = await behind.begin(client)
        stack.relay.cut_all()
        assert stack.relay.live
        await client.read_body(answer)
        assert answer.ended == "eof_without_terminator"
        sent = answer.body[: behind.sent_before] + (LAST if end == chunk(LAST) else LAST[:-1])
        if end == chunk(LAST):
            assert error_event(answer.body, sent) == 503
        else:
            assert answer.body == sent
    assert (await stack.exchange()).ending is Ending.TRUNCATED


async def test_one_that_catches_up_leaves_the_connection_to_whoever_has_it_now(
    stack: Stack, upstream: RawUpstream
) -> None:
    """The answer was whole before the request: with the request's end the connection was free again."""
    behind = Behind(stack, upstream)
    upstream.answer_next([wait_for("go"), send(WHOLE)])
    async with stack.client(receive_buffer=4096) as client:
        await client.send(stack.request(b"{", framing=b"Content-Length: 2"))
        answer = await behind.begin(client)
        await client.send(b"}")
        await idle(stack)
        async with stack.client() as other:
            await other.send(stack.request(action="generateContent"))
            await upstream.request(1)
            await client.read_body(answer)
            assert answer.ended == "complete"
            upstream.set("go")
            assert (await other.read_response()).body == UNARY
    assert upstream.total_connections == 1


async def test_its_own_deadline_stands_while_its_request_still_comes(
    start: Start, upstream: RawUpstream
) -> None:
    stack = await start(body_piece=3600.0, write=0.3, total=7200.0)
    behind = Behind(stack, upstream)
    async with stack.client(receive_buffer=4096) as client:
        await client.send(stack.request(b"{", framing=b"Content-Length: 100"))
        await behind.begin(client)
        await client.send(b" ")
        assert (await stack.exchange()).ending is Ending.DEADLINE
