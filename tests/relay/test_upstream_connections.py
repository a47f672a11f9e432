"""Connections to the upstream: used again where they may be, given up where not, checked by TLS."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.relay.parts import CUTS, EVENT, JSON, LAST_EVENT, STREAM_HEAD, UNARY, WHOLE, ask, idle, refusal
from tests.support.places import UPSTREAM_KEY
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream
from tests.support.script import (
    LAST_CHUNK,
    Step,
    chunk,
    close,
    response,
    response_bytes,
    send,
    stop_reading,
    wait_for,
)
from tests.support.stack import Stack
from tests.support.tls import TestCertificates, make_certificates


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_one_connection_serves_one_request_after_the_other(
    scheme: str, start: Start, certificates: TestCertificates
) -> None:
    with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        for answer in [
            response(200, [JSON], UNARY),
            response(200, [JSON], [UNARY], "chunked"),
            response(404, [JSON], b"{}"),
            response(204),
            response(400, [JSON], b"{}"),
        ] * 2:
            upstream.answer_next(answer)
            await ask(stack)
            await idle(stack)
        assert (upstream.total_requests, upstream.total_connections) == (10, 1)


async def test_requests_at_the_same_time_get_connections_of_their_own(
    stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_always([wait_for("all are here"), send(WHOLE)])
    asking = [asyncio.create_task(ask(stack)) for _ in range(20)]
    await upstream.request(19)
    assert upstream.total_connections == 20
    upstream.set("all are here")
    assert {answer.body for answer in await asyncio.gather(*asking)} == {UNARY}
    await idle(stack, 20)
    await asyncio.gather(*(ask(stack) for _ in range(20)))
    assert upstream.total_connections == 20


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: Close, x\r\n",
        b"HTTP/1.0 200 OK\r\n",
    ],
)
@pytest.mark.parametrize("closes", [True, False])
async def test_a_connection_that_the_upstream_wants_to_close_is_not_used_again(
    head: bytes, closes: bool, stack: Stack, upstream: RawUpstream
) -> None:
    answer = [send(head + b"Content-Length: %d\r\n\r\n" % len(UNARY) + UNARY)]
    upstream.answer_always([*answer, close()] if closes else answer)
    async with stack.client() as client:
        for _ in range(3):
            await client.send(stack.request(action="generateContent"))
            assert (await client.read_response()).body == UNARY
    assert upstream.total_connections == 3
    assert not stack.upstream_states


async def test_a_connection_closed_while_idle_is_not_used_again(stack: Stack, upstream: RawUpstream) -> None:
    for cut in CUTS.values():
        upstream.answer_next([send(WHOLE), *cut])
        assert (await ask(stack)).body == UNARY
        await upstream.connections_open(0)
    assert upstream.total_requests == 3


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
async def test_an_early_answer_to_an_upload_and_the_end_of_its_connection(
    cut: list[Step], stack: Stack, upstream: RawUpstream
) -> None:
    """As servers do that refuse a body: the answer passes, and no more of the body is taken."""
    body = bytes(8 << 20)
    answer = response_bytes(413, [JSON, ("Connection", "close")], b'{"error": {}}')
    upstream.answer_next([send(answer), wait_for("answered"), *cut], after_body=False)
    async with stack.client() as client:
        await client.send(stack.request(b"", framing=b"Content-Length: %d" % len(body)))
        await client.send(body[:100_000])
        got = await client.read_response()
        upstream.set("answered")
        assert (got.status, got.body, got.header("connection")) == (413, b'{"error": {}}', ["close"])
        assert await client.peer_left() == "fin"
    exchange = await stack.exchange()
    assert (exchange.ending, exchange.status) == (Ending.UPSTREAM_ERROR, 413)
    await upstream.connections_open(0)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("stalled", [False, True])
async def test_an_upstream_that_breaks_off_under_an_upload(
    cut: list[Step], stalled: bool, stack: Stack, upstream: RawUpstream
) -> None:
    """The client is told at once, however much of its body is still to come."""
    body = bytes(24 << 20)
    halt = [stop_reading(), wait_for("stalled")] if stalled else [wait_for("stalled")]
    upstream.answer_next([*halt, *cut], after_body=False)
    async with stack.client() as client:
        await client.send(stack.request(b"", framing=b"Content-Length: %d" % len(body)))
        if stalled:
            assert await client.send_until_stalled(body) < len(body)
        else:
            await client.send(body[:1000])
        upstream.set("stalled")
        assert refusal(await client.read_response()) == (502, "UPSTREAM_FAILED")
    assert (await stack.exchange()).ending is Ending.REFUSED


@pytest.mark.parametrize(
    "case", ["trusted by nobody", "trusted by others", "for another name", "expired", "not yet valid"]
)
async def test_a_certificate_that_does_not_fit(
    case: str,
    start: Start,
    certificates: TestCertificates,
    other_certificates: TestCertificates,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The upstream never sees a request, nor so the key."""
    ca_file: Path | None = certificates.ca_file
    if case.startswith("trusted"):
        ca_file = None if case == "trusted by nobody" else other_certificates.ca_file
    servers = {
        "for another name": certificates.wrong_name,
        "expired": certificates.expired,
        "not yet valid": certificates.not_yet_valid,
    }
    with RawUpstream(tls=servers.get(case, certificates.server).context()) as upstream:
        stack = await start(upstream.url, ca_file=ca_file)
        for _ in range(2):
            assert refusal(await ask(stack)) == (502, "UPSTREAM_FAILED")
        await upstream.connections_open(0)
        assert upstream.total_requests == 0
        assert (await stack.exchange()).ending is Ending.REFUSED
    assert "SSLCertVerificationError" in caplog.text
    assert UPSTREAM_KEY not in caplog.text


@pytest.fixture(scope="module")
def other_certificates(tmp_path_factory: pytest.TempPathFactory) -> TestCertificates:
    return make_certificates(tmp_path_factory.mktemp("other"))


async def test_a_certificate_that_fits_by_the_upstreams_name(
    start: Start, certificates: TestCertificates
) -> None:
    with RawUpstream(tls=certificates.server.context()) as upstream:
        stack = await start(upstream.url.replace("127.0.0.1", "localhost"), ca_file=certificates.ca_file)
        upstream.answer_always([send(WHOLE)])
        assert (await ask(stack)).body == UNARY
        assert upstream.requests[0].header("x-goog-api-key") == [UPSTREAM_KEY]


async def test_a_later_connection_resumes_the_session(start: Start, certificates: TestCertificates) -> None:
    with RawUpstream(tls=certificates.server.context()) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        upstream.answer_always([send(WHOLE.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))])
        async with asyncio.timeout(10):
            while not upstream.total_connections or not upstream.connections[-1].session_reused:
                assert (await ask(stack)).body == UNARY
        assert not upstream.connections[0].session_reused


async def test_an_upstream_that_speaks_no_tls(start: Start, upstream: RawUpstream) -> None:
    upstream.accept_next([send(b"220 mail.example ESMTP\r\n"), close()])
    stack = await start(upstream.url.replace("http:", "https:"))
    assert refusal(await ask(stack)) == (502, "UPSTREAM_FAILED")
    assert not upstream.total_requests


async def test_many_streams_over_few_connections(stack: Stack, upstream: RawUpstream) -> None:
    """Clients that come and go leave no more connections behind than there were streams at one time."""
    upstream.answer_always([send(STREAM_HEAD + chunk(EVENT)), send(chunk(LAST_EVENT) + LAST_CHUNK)])

    async def stream(client: RawClient) -> None:
        for _ in range(10):
            await client.send(stack.request())
            assert (await client.read_response()).body == EVENT + LAST_EVENT

    for _ in range(2):
        clients = [stack.client() for _ in range(10)]
        for client in clients:
            await client.connect()
        await asyncio.gather(*map(stream, clients))
        for client in clients:
            client.close()
    assert upstream.total_requests == 200
    assert upstream.total_connections <= 10
