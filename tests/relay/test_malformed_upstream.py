"""An upstream that does not speak HTTP, or says two things at once: nothing of that gets to a client."""

from __future__ import annotations

import pytest

from gateway.exchange import Ending
from gateway.upstreams.connection import State
from tests.relay.parts import EVENT, LAST_EVENT, STREAM_HEAD, UNARY, WHOLE, error_event, refusal
from tests.support.eventually import eventually
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, Step, chunk, close, rst, send, wait_for
from tests.support.stack import Stack

OK = b"HTTP/1.1 200 OK\r\n"
NO_HTTP = {
    "garbage": b"garbage\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80",
    "an HTTP/2 status line": b"HTTP/2 200\r\n\r\n",
    "HTTP/0.9": b"<html></html>",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x16",
    "no number": b"HTTP/1.1 abc OK\r\n\r\n",
    "a number of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a number below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/2 in the form of HTTP/1": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a control byte in the reason": b"HTTP/1.1 200 O\x1bK\r\nContent-Length: 2\r\n\r\n{}",
    "a request": b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an upgrade that nobody asked for": b"HTTP/1.1 101 Yes\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
    + WHOLE,
}
AMBIGUOUS = {
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "two lengths in one": b"Content-Length: 2, 3\r\n\r\n{} ",
    "length and chunks": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a length with a sign": b"Content-Length: +2\r\n\r\n{}",
    "a negative length": b"Content-Length: -2\r\n\r\n{}",
    "a length in hex": b"Content-Length: 0x2\r\n\r\n{}",
    "a length beyond 64 bits": b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "a length that the parser takes for none": b"Content-Length: 18446744073709551615\r\n\r\n{}",
    "an unknown coding": b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "codings in two lines": b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\n\r\n{}",
    "a space in a name": b"Content Length: 2\r\n\r\n{}",
    "a space before the colon": b"Content-Length : 2\r\n\r\n{}",
    "no name": b": x\r\nContent-Length: 2\r\n\r\n{}",
    "no colon": b"Content-Length 2\r\n\r\n{}",
}
BAD_CHUNKS = {
    "no number": b"zz\r\n",
    "a negative size": b"-1\r\n",
    "0x": b"0x5\r\nhello\r\n",
    "a size beyond 64 bits": b"fffffffffffffffff\r\nhello\r\n",
    "no size": b"\r\nhello\r\n",
    "more data than its size": b"3\r\nhello\r\n",
    "a bare LF after its size": b"5\nhello\r\n",
    "a control byte in an extension": b"5;\x00\r\nhello\r\n",
}


async def ask_and_be_refused(stack: Stack) -> None:
    async with stack.client() as client:
        await client.send(stack.request(action="generateContent"))
        assert refusal(await client.read_response()) == (502, "UPSTREAM_FAILED")
    assert (await stack.exchange()).ending is Ending.REFUSED


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
async def test_what_is_no_http_is_refused(sent: bytes, stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(sent)])
    await ask_and_be_refused(stack)
    await upstream.connections_open(0)


@pytest.mark.parametrize("rest", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_a_head_with_two_meanings_is_refused(rest: bytes, stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(OK + rest)])
    await ask_and_be_refused(stack)
    await upstream.connections_open(0)


async def test_a_length_said_twice_the_same_way_is_one_length_or_refused(
    stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([send(OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}")])
    async with stack.client() as client:
        await client.send(stack.request(action="generateContent"))
        answer = await client.read_response()
    assert (answer.status, len(answer.header("content-length"))) in [(200, 1), (502, 1)]


@pytest.mark.parametrize("bad", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_a_malformed_chunk_breaks_the_stream(bad: bytes, stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(STREAM_HEAD + chunk(EVENT)), wait_for("seen"), send(bad + LAST_CHUNK)])
    async with stack.client() as client:
        await client.send(stack.request())
        answer = await client.read_head()
        await client.read_body(answer, len(EVENT))
        upstream.set("seen")
        await client.read_body(answer)
    assert answer.ended == "eof_without_terminator"
    passed = answer.body.removeprefix(EVENT)
    assert passed in (b"hel", b"hello") or error_event(answer.body, EVENT) == 502
    assert (await stack.exchange()).ending is Ending.TRUNCATED
    await upstream.connections_open(0)


@pytest.mark.parametrize("sent", [chunk(EVENT) + b"zz\r\n", b"zz\r\n"])
async def test_a_malformed_chunk_in_one_read_with_the_head_is_refused(
    sent: bytes, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([send(STREAM_HEAD + sent)])
    await ask_and_be_refused(stack)


async def test_data_before_a_malformed_chunk_still_passes(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(STREAM_HEAD), wait_for("seen"), send(chunk(EVENT) + b"zz\r\n")])
    async with stack.client() as client:
        await client.send(stack.request())
        answer = await client.read_head()
        upstream.set("seen")
        await client.read_body(answer)
    assert answer.ended == "eof_without_terminator"
    assert error_event(answer.body, EVENT) == 502


@pytest.mark.parametrize("surplus", [b"garbage", b"\r\n\r\nx", WHOLE.replace(b"STOP", b"EVIL"), WHOLE[:30]])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_what_follows_a_whole_answer_is_never_the_next_one(
    surplus: bytes, framing: str, stack: Stack, upstream: RawUpstream
) -> None:
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(UNARY) + LAST_CHUNK
    upstream.answer_next([send((WHOLE if framing == "length" else chunked) + surplus)])
    upstream.answer_always([send(WHOLE)])
    async with stack.client() as client:
        for _ in range(3):
            await client.send(stack.request(action="generateContent"))
            answer = await client.read_response()
            assert (answer.status, answer.body, answer.ended) == (200, UNARY, "complete")
    assert upstream.total_connections == 2
    assert [one.connection.index for one in upstream.requests] == [0, 1, 1]


@pytest.mark.parametrize("unasked", [WHOLE.replace(b"STOP", b"EVIL"), b"garbage", b"H"])
async def test_bytes_on_an_idle_connection_are_never_an_answer(
    unasked: bytes, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([send(WHOLE), wait_for("idle"), send(unasked)])
    upstream.answer_always([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request(action="generateContent"))
        assert (await client.read_response()).body == UNARY
        await eventually("the connection in its pool", lambda: stack.upstream_states == [State.IDLE])
        upstream.set("idle")
        await upstream.connections_open(0)
        await client.send(stack.request(action="generateContent"))
        assert (await client.read_response()).body == UNARY
    assert upstream.total_connections == 2


@pytest.mark.parametrize("first", [[rst()], [close()], [send(b"garbage")], [send(b"HTTP/1.1 "), rst()]])
async def test_a_new_connection_that_does_not_wait_for_the_request(
    first: list[Step], stack: Stack, upstream: RawUpstream
) -> None:
    for _ in range(3):
        upstream.accept_next(first)
    async with stack.client() as client:
        for _ in range(3):
            await client.send(stack.request(action="generateContent"))
            assert refusal(await client.read_response()) == (502, "UPSTREAM_FAILED")


async def test_an_error_inside_a_stream_passes_and_is_recorded(stack: Stack, upstream: RawUpstream) -> None:
    error = b'data: {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}\r\n\r\n'
    upstream.answer_next([send(STREAM_HEAD + chunk(EVENT) + chunk(error) + LAST_CHUNK)])
    async with stack.client() as client:
        await client.send(stack.request())
        answer = await client.read_response()
    assert (answer.body, answer.ended) == (EVENT + error, "complete")
    exchange = await stack.exchange()
    assert (exchange.ending, exchange.status) == (Ending.UPSTREAM_ERROR_IN_STREAM, 200)


@pytest.mark.parametrize(
    ("action", "body", "ending"),
    [
        ("streamGenerateContent?alt=sse", EVENT, Ending.SUSPECT),
        ("streamGenerateContent?alt=sse", b"", Ending.SUSPECT),
        ("streamGenerateContent?alt=sse", EVENT + LAST_EVENT, Ending.COMPLETE),
        (
            "streamGenerateContent?alt=sse",
            b'data: {"promptFeedback": {"blockReason": "SAFETY"}}\n\n',
            Ending.COMPLETE,
        ),
        ("streamGenerateContent", b'[{"candidates": [{}]}]', Ending.SUSPECT),
        ("streamGenerateContent", b"[" + UNARY + b"]", Ending.COMPLETE),
        ("generateContent", b"{}", Ending.SUSPECT),
        ("generateContent", UNARY, Ending.COMPLETE),
    ],
)
async def test_a_clean_end_without_a_reason_is_suspect(
    action: str, body: bytes, ending: Ending, stack: Stack, upstream: RawUpstream
) -> None:
    head = STREAM_HEAD if "sse" in action else STREAM_HEAD.replace(b"text/event-stream", b"application/json")
    upstream.answer_next([send(head + (chunk(body) if body else b"") + LAST_CHUNK)])
    async with stack.client() as client:
        await client.send(stack.request(action=action))
        answer = await client.read_response()
    assert (answer.body, answer.ended) == (body, "complete")
    assert (await stack.exchange()).ending is ending
