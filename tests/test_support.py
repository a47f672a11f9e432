"""The test tools themselves: what the raw upstream and the raw client say is what happened on the sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

import pytest
import uvloop

from tests.support.ports import refusing_port, silent_port
from tests.support.raw_client import Ending, PeerLeftError, RawClient, RawResponse
from tests.support.raw_upstream import RawUpstream
from tests.support.script import (
    LAST_CHUNK,
    Step,
    chunk,
    close,
    fin,
    keep_open,
    mark,
    read_body,
    response,
    response_bytes,
    resume_reading,
    rst,
    send,
    stop_reading,
    wait_for,
)

MEBIBYTE = bytes(1 << 20)
HEAD = b"POST /a?b HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nx-two: 2\r\nContent-Length: 4\r\n\r\n"
CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def client_of(upstream: RawUpstream, receive_buffer: int | None = None) -> RawClient:
    return RawClient(upstream.host, upstream.port, receive_buffer=receive_buffer)


async def answer_to(*script: Step) -> RawResponse:
    with RawUpstream() as upstream:
        upstream.answer_next(script)
        async with client_of(upstream) as client:
            await client.send(HEAD + b"body")
            return await client.read_response()


async def test_a_forgetful_upstream_keeps_only_what_is_open() -> None:
    with RawUpstream(forgetful=True) as upstream:
        async with client_of(upstream) as client, client_of(upstream) as other:
            for one in (client, client, other):
                await one.send(HEAD + b"body")
                assert (await one.read_response()).body == b"{}"
            assert (upstream.open_connections, len(upstream.connections)) == (2, 2)
            client.close()
            await upstream.until("one connection", lambda: len(upstream.connections) == 1)
        assert upstream.requests == []


async def test_requests_are_recorded_as_sent() -> None:
    with RawUpstream() as upstream:
        async with client_of(upstream) as client:
            await client.send(HEAD + b"bo")
            request = await upstream.request()
            assert (request.method, request.target, request.version) == ("POST", "/a?b", "HTTP/1.1")
            assert request.headers == [("Host", "x"), ("X-Two", "1"), ("x-two", "2"), ("Content-Length", "4")]
            assert await request.body_received(2) == b"bo"
            assert not request.body_complete
            await client.send(
                b"dy" + CHUNKED_HEAD + chunk(b"one") + chunk(b"three") + LAST_CHUNK, splits=[9, 60]
            )
            assert (await client.read_response()).body == b"{}"
            assert (await client.read_response()).status == 200
            second = await upstream.request(1)
            assert (request.body, await second.whole_body()) == (b"body", b"onethree")
            assert second.incoming.chunk_sizes == [3, 5, 0]
            assert second.connection is request.connection
            assert (upstream.total_requests, upstream.total_connections) == (2, 1)
            assert upstream.open_connections == 1
        await upstream.connections_open(0)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_response_in_pieces_arrives_whole(framing: Literal["length", "chunked", "close"]) -> None:
    pieces = [b"first", b"", b"second"]
    with RawUpstream() as upstream:
        upstream.answer_next(response(201, [("X-A", "b")], pieces, framing, splits=range(0, 400, 7)))
        async with client_of(upstream) as client:
            await client.send(HEAD + b"body")
            answer = await client.read_response()
    assert (answer.status, answer.reason, answer.header("x-a")) == (201, "Created", ["b"])
    assert (answer.body, answer.framing, answer.ended) == (b"firstsecond", framing, "complete")
    assert answer.incoming.chunk_sizes == ([5, 6, 0] if framing == "chunked" else [])


@pytest.mark.parametrize(
    ("body", "ends", "ended"),
    [
        (response_bytes(body=b"1234", framing="chunked"), fin(), "complete"),
        (response_bytes(body=b"1234", framing="chunked")[:-5], fin(), "eof_without_terminator"),
        (response_bytes(body=b"1234", framing="chunked")[:-5], rst(), "reset"),
        (response_bytes(body=b"12345")[:-1], close(), "short"),
        (response_bytes(body=b"12345")[:-1], rst(), "reset"),
        (response_bytes(body=b"1234", framing="close"), fin(), "complete"),
        (response_bytes(body=b"1234", framing="close"), rst(), "reset"),
    ],
)
async def test_each_ending_of_a_response_is_told_apart(body: bytes, ends: Step, ended: Ending) -> None:
    answer = await answer_to(send(body), ends)
    assert (answer.body, answer.ended) == (b"1234", ended)


async def test_the_upstream_waits_for_the_test_between_pieces() -> None:
    with RawUpstream() as upstream:
        head = response_bytes(framing="chunked")[: -len(LAST_CHUNK)]
        upstream.answer_next(
            [send(head + chunk(b"one")), wait_for("go"), mark("gone"), send(chunk(b"two") + LAST_CHUNK)],
            after_body=False,
        )
        async with client_of(upstream) as client:
            await client.send(HEAD)
            answer = await client.read_head()
            assert (await client.read_body(answer, until=b"one")).ended == "open"
            with pytest.raises(TimeoutError, match="'gone'; the upstream has seen 1 connections"):
                await upstream.reached("gone", deadline=0.05)
            upstream.set("go")
            await upstream.reached("gone")
            await client.read_body(answer)
            assert (answer.body, answer.ended) == (b"onetwo", "complete")


@pytest.mark.parametrize("kind", ["fin", "rst"])
@pytest.mark.parametrize("steps", [[keep_open()], [stop_reading(), keep_open()], [fin(), keep_open()]])
async def test_a_leaving_peer_is_noticed_at_once(kind: str, steps: list[Step]) -> None:
    with RawUpstream() as upstream:
        upstream.answer_next([*steps[:-1], mark("ready"), steps[-1]], after_body=False)
        async with client_of(upstream) as client:
            await client.send(HEAD)
            request = await upstream.request()
            await upstream.reached("ready")
            with pytest.raises(TimeoutError, match="connection 0"):
                await request.closed(deadline=0.02)
            await client.send(b"bo")  # unread where the script reads no more
            client.reset() if kind == "rst" else client.close()
            assert (await request.closed()).kind == kind


@pytest.mark.parametrize(("ends", "kind"), [(close(), "fin"), (rst(), "rst")])
async def test_an_upstream_can_leave_before_it_reads(ends: Step, kind: str) -> None:
    with RawUpstream() as upstream:
        upstream.accept_next([wait_for("sent"), ends])
        async with client_of(upstream) as client:
            await client.send(HEAD + b"body")
            upstream.set("sent")
            assert await client.peer_left() == kind
        assert upstream.total_requests == 0


async def test_neither_side_takes_more_than_its_buffers_hold() -> None:
    with RawUpstream(receive_buffer=16384, send_buffer=16384) as upstream:
        body = MEBIBYTE * 16
        upstream.answer_next(
            [stop_reading(), wait_for("read"), resume_reading(), read_body()], after_body=False
        )
        upstream.answer_next([send(body)])
        async with client_of(upstream, receive_buffer=16384) as client:
            head = HEAD.replace(b"4", str(len(body)).encode())
            await client.send(head)
            request = await upstream.request()
            sent = await client.send_until_stalled(body)
            assert sent < len(body)
            upstream.set("read")
            assert sent + await client.send_until_stalled(body[sent:], quiet=5) == len(body)
            assert len(await request.whole_body()) == len(body)
            await client.send(HEAD + b"body")
            answered = await upstream.request(1)
            assert 0 < await answered.answer_stalled() < len(body)
            await client.read_exactly(len(body))
            await answered.answer_sent(len(body))


@pytest.mark.parametrize("early", [True, False])
async def test_a_polite_close_does_not_reset_what_is_unread(early: bool) -> None:
    with RawUpstream() as upstream:
        script = [wait_for("sent"), send(response_bytes(413)), close()]
        if early:
            upstream.accept_next(script)
        else:
            upstream.answer_next([stop_reading(), *script], after_body=False)
        async with client_of(upstream) as client:
            await client.send(HEAD.replace(b"4", b"99999"))
            await client.send(bytes(50000))
            upstream.set("sent")
            assert (await client.read_response()).status == 413
            assert await client.peer_left() == "fin"
            for _ in range(2):  # a reset would show at the second at the latest
                await client.send(b"more")


async def test_an_unfinished_request_ends_the_wait_for_its_body() -> None:
    with RawUpstream() as upstream:
        async with client_of(upstream) as client:
            await client.send(HEAD + b"bo")
            client.half_close()
            assert await client.peer_left() == "fin"


async def test_what_is_not_http_fails_the_test() -> None:
    async def smuggle() -> None:
        with RawUpstream() as upstream:
            async with client_of(upstream) as client:
                await client.send(HEAD[:-2] + b"Transfer-Encoding: chunked\r\n\r\n")
                assert await client.peer_left() == "fin"

    with pytest.raises(AssertionError, match="both Content-Length and Transfer-Encoding"):
        await smuggle()


async def test_a_script_that_fails_fails_the_test() -> None:
    async def broken(_: object) -> None:
        raise LookupError("in a step")

    with pytest.raises(PeerLeftError) as failed:
        await answer_to(broken)
    assert "in a step" in failed.value.__notes__[0]


async def test_the_text_of_a_missed_response_says_how_the_peer_left() -> None:
    with pytest.raises(PeerLeftError, match="closed by the peer after b'HTTP'"):
        await answer_to(send(b"HTTP"), fin())
    with pytest.raises(PeerLeftError, match="reset by the peer"):
        await answer_to(rst())


@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_every_loop_of_a_test_serves(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    scenarios: list[Callable[[], Awaitable[None]]] = [
        test_requests_are_recorded_as_sent,
        test_the_upstream_waits_for_the_test_between_pieces,
        test_neither_side_takes_more_than_its_buffers_hold,
        lambda: test_a_leaving_peer_is_noticed_at_once("rst", [stop_reading(), keep_open()]),
    ]

    async def all_scenarios() -> None:
        for scenario in scenarios:
            await scenario()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(all_scenarios())


async def test_ports_where_nobody_answers() -> None:
    async def reach(port: int) -> None:
        async with RawClient("127.0.0.1", port, deadline=0.2):
            pass

    with refusing_port() as port, pytest.raises(ConnectionRefusedError):
        await reach(port)
    with silent_port() as port, pytest.raises(TimeoutError, match="a connection to"):
        await reach(port)
