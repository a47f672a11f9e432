"""The request's body on its way up: unchanged, as it arrives, and not before the credential is known."""

from __future__ import annotations

import random

import pytest

from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.relay.parts import UNARY, WHOLE, refusal
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, chunk, send
from tests.support.stack import Stack
from tests.support.tls import TestCertificates

ANY_BYTES = bytes(range(256)) * 300
"""More than the relay keeps of a body, and no JSON."""
CONTINUE = ("Expect", "100-continue")


@pytest.mark.parametrize("size", [0, 1, 2000, 65_535, 65_536, 65_537, 300_000])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_body_of_any_size_arrives_unchanged(
    size: int, scheme: str, start: Start, certificates: TestCertificates
) -> None:
    body = (ANY_BYTES * 4)[:size]
    with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        upstream.answer_always([send(WHOLE)])
        async with stack.client() as client:
            await client.send(stack.request(body))
            assert (await client.read_response()).body == UNARY
            await client.send(stack.chunked_request(chunk(body) + LAST_CHUNK if body else LAST_CHUNK))
            assert (await client.read_response()).body == UNARY
        plain, chunked = upstream.requests
        assert (plain.body, plain.framing) == (body, "length")
        assert (chunked.body, chunked.framing) == (body, "chunked")
    assert [one.request_bytes for one in stack.observer.exchanges] == [size, size]


async def test_a_request_cut_anywhere(stack: Stack, upstream: RawUpstream) -> None:
    chance = random.Random(7)
    upstream.answer_always([send(WHOLE)])
    body = ANY_BYTES[:3000]
    chunks = b"".join(chunk(body[at : at + 700]) for at in range(0, 3000, 700)) + LAST_CHUNK
    for _ in range(20):
        async with stack.client() as client:  # a chunked body is the last thing on its connection
            for request in stack.request(body), stack.chunked_request(chunks):
                await client.send(request, splits=chance.sample(range(len(request)), 15))
                assert (await client.read_response()).body == UNARY
    assert {one.body for one in upstream.requests} == {body}
    assert {one.framing for one in upstream.requests} == {"length", "chunked"}


async def test_a_request_byte_by_byte(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_always([send(WHOLE)])
    async with stack.client() as client:
        for request in stack.request(b"{}"), stack.chunked_request(b"2;x=y\r\n{}\r\n00\r\nA: b\r\n\r\n"):
            await client.send(request, splits=range(len(request)))
            assert (await client.read_response()).body == UNARY
    assert [one.body for one in upstream.requests] == [b"{}", b"{}"]
    assert upstream.requests[1].incoming.trailers == []


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_each_piece_goes_up_as_soon_as_it_comes(
    framing: str, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([send(WHOLE)])
    pieces = [b"{", b'"contents": [', b"7" * 100_000, b"]}"]
    whole = b"".join(pieces)
    async with stack.client() as client:
        if framing == "chunked":
            await client.send(stack.chunked_request())
        else:
            await client.send(stack.request(whole).removesuffix(whole))
        request = await upstream.request()
        so_far = b""
        for piece in pieces:
            await client.send(chunk(piece) if framing == "chunked" else piece)
            so_far += piece
            assert await request.body_received(len(so_far)) == so_far
        if framing == "chunked":
            assert not request.body_complete
            await client.send(LAST_CHUNK)
        assert (await client.read_response()).body == UNARY


@pytest.mark.parametrize("framing", [b"", b"Content-Length: 0"])
async def test_a_request_without_a_body(framing: bytes, stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request(b"", framing=framing))
        assert (await client.read_response()).body == UNARY
    assert upstream.requests[0].header("content-length") == ["0"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_continue_is_said_and_then_the_body_passes(
    framing: str, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_always([send(WHOLE)])
    if framing == "chunked":
        body, head = chunk(b"{}") + LAST_CHUNK, stack.chunked_request(headers=[CONTINUE])
    else:
        body, head = b"{}", stack.request(framing=b"Content-Length: 2", headers=[CONTINUE])[:-2]
    for _ in range(2):
        async with stack.client() as client:
            await client.send(head)
            interim = await client.read_head()
            assert interim.raw_head == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(body)
            assert (await client.read_response()).body == UNARY
    assert [one.body for one in upstream.requests] == [b"{}", b"{}"]
    assert upstream.requests[0].header("expect") == []


async def test_continue_is_not_said_where_the_body_is_here_already(
    stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request(headers=[CONTINUE]))
        assert (await client.read_response()).status == 200


@pytest.mark.parametrize(
    ("wrong", "refused"),
    [
        ({"model": "gemini-9"}, (400, "MODEL_UNKNOWN")),
        ({"action": "countTokens"}, (404, "ACTION_UNSUPPORTED")),
        ({"headers": [CONTINUE, ("Authorization", "Bearer wrong")]}, (401, "CREDENTIAL_INVALID")),
        ({"framing": b"Content-Length: 99999999"}, (413, "BODY_TOO_LARGE")),
    ],
)
async def test_continue_is_not_said_to_a_request_that_is_refused(
    wrong: dict[str, object], refused: tuple[int, str], stack: Stack, upstream: RawUpstream
) -> None:
    good = {"framing": b"Content-Length: 2", "headers": [CONTINUE], "body": b"", "action": "generateContent"}
    async with stack.client() as client:
        await client.send(stack.request(**(good | wrong)))  # type: ignore[arg-type]
        assert refusal(await client.read_response()) == refused
        assert await client.peer_left() == "fin"
    assert upstream.total_connections == 0


async def test_another_expectation_is_no_ones_business(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(WHOLE)])
    async with stack.client() as client:
        await client.send(stack.request(headers=[("Expect", "the-unexpected")]))
        assert (await client.read_response()).status == 200
    assert upstream.requests[0].header("expect") == []


async def test_nothing_of_the_body_is_read_for_a_bad_credential(stack: Stack, upstream: RawUpstream) -> None:
    body = bytes(8 << 20)
    async with stack.client() as client:
        await client.send(
            stack.request(b"", framing=b"Content-Length: %d" % len(body)).replace(b"nt_live_", b"")
        )
        assert refusal(await client.read_response()) == (401, "CREDENTIAL_INVALID")
    exchange = await stack.exchange()
    assert (exchange.request_bytes, exchange.ending) == (0, Ending.REFUSED)
    assert upstream.total_connections == 0


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
async def test_an_offer_to_upgrade_is_ignored(protocol: str, stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_always([send(WHOLE)])
    offer = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", protocol), ("HTTP2-Settings", "AAMAAABk")]
    for splits in [], [-3], [-8, -12]:
        request = stack.request(b'{"a": 1}', headers=offer)
        async with stack.client() as client:
            await client.send(request, [len(request) + split for split in splits])
            answer = await client.read_response()
            # aiohttp's parser may drop what follows: see gateway.client_connection.may_keep.
            assert (answer.body, answer.header("connection")) == (UNARY, ["close"])
            assert await client.peer_left() == "fin"
    assert [one.body for one in upstream.requests] == [b'{"a": 1}'] * 3
    assert upstream.requests[0].header("upgrade") == upstream.requests[0].header("connection") == []
