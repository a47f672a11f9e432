"""SIGTERM: nothing new is taken, what is under way ends well, and the process with it, exit code 0."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.service.rig import (
    EVENTS,
    SLOW_STREAM,
    accepts,
    access_lines,
    ask,
    client,
    get,
    request,
    running,
)
from tests.support.eventually import eventually
from tests.support.gateway import Gateway
from tests.support.raw_client import RawClient, RawResponse
from tests.support.raw_upstream import RawUpstream
from tests.support.script import response

WHOLE = b"".join(EVENTS)


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        running.answer_always(SLOW_STREAM)
        yield running


@asynccontextmanager
async def open_stream(gateway: Gateway) -> AsyncIterator[tuple[RawClient, RawResponse]]:
    """A stream whose first event has arrived."""
    async with client(gateway) as connection:
        await connection.send(request(gateway.token))
        answer = await connection.read_body(await connection.read_head(), EVENTS[0])
        assert answer.status == 200
        yield connection, answer


async def drain(gateway: Gateway, number: signal.Signals = signal.SIGTERM) -> None:
    """Send the signal; returns once no new connection is taken."""
    gateway.process.popen.send_signal(number)
    await eventually("new connections are refused", lambda: not accepts(gateway.url))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_open_streams_end_as_they_should(
    tmp_path: Path, upstream: RawUpstream, number: signal.Signals
) -> None:
    with running(tmp_path, upstream) as gateway:
        async with AsyncExitStack() as streams:
            opened = [await streams.enter_async_context(open_stream(gateway)) for _ in range(3)]
            await drain(gateway, number)
            readiness = get(gateway.admin_url, "/readyz")
            assert (readiness.status, readiness.json["ready"]) == (503, False)
            assert get(gateway.admin_url, "/healthz").status == 200
            upstream.set("go")
            for connection, answer in opened:
                await connection.read_body(answer)
                assert (answer.ended, answer.body) == ("complete", WHOLE)
        assert await asyncio.to_thread(gateway.process.wait) == 0
        lines = access_lines(gateway.log_lines())
    assert [(line["status"], line["ending"], line["total_tokens"]) for line in lines] == [
        (200, "complete", 5)
    ] * 3


async def test_unready_at_once_while_requests_are_still_taken(tmp_path: Path) -> None:
    with running(tmp_path, SERVER__DRAIN_DELAY_SECONDS="3") as gateway:
        gateway.process.popen.send_signal(signal.SIGTERM)
        async with asyncio.timeout(2):
            await eventually("unready", lambda: get(gateway.admin_url, "/readyz").status == 503)
        assert ask(gateway.url, gateway.token).status == 200
        await eventually("new connections are refused", lambda: not accepts(gateway.url))
        assert await asyncio.to_thread(gateway.process.wait) == 0
        assert [line["ending"] for line in access_lines(gateway.log_lines())] == ["complete"]


async def test_connections_without_a_request_are_closed(tmp_path: Path, upstream: RawUpstream) -> None:
    with running(tmp_path, upstream) as gateway:
        upstream.answer_next(response(headers=[("Content-Type", "application/json")], body=b"{}"))
        async with (
            client(gateway) as kept_alive,
            client(gateway) as silent,
            client(gateway) as in_its_head,
            open_stream_after(gateway, kept_alive) as (connection, answer),
        ):
            await in_its_head.send(request(gateway.token)[:20])
            await drain(gateway)
            for idle in (kept_alive, silent, in_its_head):
                assert await idle.peer_left() == "fin"
            upstream.set("go")
            await connection.read_body(answer)
            assert answer.ended == "complete"


@asynccontextmanager
async def open_stream_after(
    gateway: Gateway, other: RawClient
) -> AsyncIterator[tuple[RawClient, RawResponse]]:
    """A stream, begun after a whole exchange on another connection, which is kept."""
    await other.send(request(gateway.token, action="generateContent"))
    answer = await other.read_response()
    assert (answer.status, answer.header("Connection")) == (200, [])
    async with open_stream(gateway) as stream:
        yield stream


async def test_an_upload_under_way_is_taken_to_its_end(tmp_path: Path, upstream: RawUpstream) -> None:
    upstream.set("go")
    body = b'{"contents": "' + b"x" * 300_000 + b'"}'
    with running(tmp_path, upstream) as gateway:
        whole = request(gateway.token, body)
        async with client(gateway) as connection:
            await connection.send(whole[:150_000])
            await (await upstream.request()).body_received(100_000)
            await drain(gateway)
            await connection.send(whole[150_000:])
            answer = await connection.read_response()
        assert (answer.status, answer.ended, answer.body) == (200, "complete", WHOLE)
        assert upstream.requests[0].body == body
        assert await asyncio.to_thread(gateway.process.wait) == 0


@pytest.mark.parametrize("cause", ["drain_seconds", "a second signal", "a second signal in the delay"])
async def test_a_stream_that_does_not_end_is_cut(tmp_path: Path, upstream: RawUpstream, cause: str) -> None:
    settings = {
        "drain_seconds": {"SERVER__DRAIN_SECONDS": "1"},
        "a second signal": {"SERVER__DRAIN_SECONDS": "600"},
        "a second signal in the delay": {"SERVER__DRAIN_DELAY_SECONDS": "600"},
    }[cause]
    with running(tmp_path, upstream, **settings) as gateway:
        async with open_stream(gateway) as (connection, answer):
            gateway.process.popen.send_signal(signal.SIGTERM)
            if cause != "drain_seconds":
                await eventually("unready", lambda: get(gateway.admin_url, "/readyz").status == 503)
                gateway.process.popen.send_signal(signal.SIGTERM)
            await connection.read_body(answer)
            assert answer.ended == "eof_without_terminator"
            first, told = answer.body.split(b"\n\n", 1)
            assert first + b"\n\n" == EVENTS[0]
            assert told.endswith(b"\r\n\r\n")
            error = json.loads(told.removeprefix(b"data: "))["error"]
            assert (error["code"], error["message"]) == (503, "gateway draining")
        assert await asyncio.to_thread(gateway.process.wait) == 0
        [line] = access_lines(gateway.log_lines())
    assert (line["status"], line["ending"]) == (200, "truncated")


async def test_a_request_without_an_answer_yet_is_told(tmp_path: Path, upstream: RawUpstream) -> None:
    upstream.answer_always([*SLOW_STREAM[2:]])
    with running(tmp_path, upstream, SERVER__DRAIN_SECONDS="0") as gateway:
        async with client(gateway) as connection:
            await connection.send(request(gateway.token))
            await upstream.request()
            gateway.process.popen.send_signal(signal.SIGTERM)
            answer = await connection.read_response()
        assert (answer.status, answer.ended) == (503, "complete")
        assert b"gateway draining" in answer.body
        assert answer.header("Retry-After") != []
        assert await asyncio.to_thread(gateway.process.wait) == 0
        [line] = access_lines(gateway.log_lines())
    assert (line["status"], line["reason"]) == (503, "DRAINING")
