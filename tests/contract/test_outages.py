"""The rows of the error table that take a fault around the gateway: its store, its upstream, its own end."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog import Catalog
from tests.contract import refusals
from tests.contract.refusals import check
from tests.contract.rig import MAX_BODY_BYTES, UPSTREAM_KEY, Rig, running_rig
from tests.contract.test_error_table import ACTIONS, WRONG_TOKEN
from tests.support.eventually import eventually
from tests.support.identity import damaged
from tests.support.raw_client import RawClient
from tests.support.script import Script, close, fin, keep_open, response, rst, send
from tests.support.stack import Settings, running_stack

ENDINGS: dict[str, Script] = {
    "fin": [close()],
    "rst": [rst()],
    "half a head": [send(b"HTTP/1.1 200 OK\r\nContent-"), fin()],
    "no HTTP": [send(b"\x15\x03\x01\x00\x02\x02\x46"), close()],
    "endless head": [send(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000), keep_open()],
    "unknown coding": [send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: br\r\n\r\nx"), keep_open()],
}
"""How an upstream can fail before the first byte of an answer that could be passed on."""


def shaped(rig: Rig, framing: str, **changes: Any) -> tuple[bytes, bool]:
    """A good request of that framing, and whether an error about it is an array."""
    action, query = ACTIONS[framing]
    request = rig.request(action=action, query=query, **changes)
    return request.encode(), request.wants_array


@pytest.mark.parametrize("framing", ACTIONS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_upstream_that_fails_before_its_first_byte(rig: Rig, ending: str, framing: str) -> None:
    request, array = shaped(rig, framing)
    with rig.answering(ENDINGS[ending]):
        async with rig.client() as client:
            await client.send(request)
            check(await client.read_response(), refusals.UPSTREAM_FAILED, array=array)
    assert (await rig.ask(rig.request())).status == 200


def google_error(status: int, reason: str, message: str) -> bytes:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]
    return json.dumps({"error": {"code": status, "message": message, "details": details}}).encode()


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (400, "API_KEY_INVALID", f"API key not valid: {UPSTREAM_KEY}"),
        (401, "", "Request had invalid authentication credentials."),
        (403, "CONSUMER_SUSPENDED", f"Permission denied: consumer api_key:{UPSTREAM_KEY} is suspended."),
        (403, "SERVICE_DISABLED", "Generative Language API has not been used in project 1"),
        (403, "", f"The API key {UPSTREAM_KEY} may not be used"),
    ],
)
async def test_a_refusal_of_the_gateways_own_key_is_not_the_clients(
    rig: Rig, status: int, reason: str, message: str
) -> None:
    body = google_error(status, reason, message)
    with rig.answering(response(status, [("Content-Type", "application/json")], body)):
        answer = await rig.ask(rig.request())
    check(answer, refusals.UPSTREAM_FAILED)
    assert UPSTREAM_KEY.encode() not in answer.raw_head + answer.body


@pytest.mark.parametrize("framing", ACTIONS)
async def test_a_body_that_grows_past_the_limit(rig: Rig, framing: str) -> None:
    request, array = shaped(rig, framing, length=None, body=b"", headers=(("Transfer-Encoding", "chunked"),))
    asked_before = rig.upstream.total_requests
    with rig.answering([keep_open()], after_body=False):
        async with rig.client() as client:
            await client.send(request + b"%x\r\n" % MAX_BODY_BYTES + bytes(MAX_BODY_BYTES) + b"\r\n")
            upstream = await rig.upstream.request(asked_before)
            await upstream.body_received(MAX_BODY_BYTES)
            await client.send(b"1\r\nx\r\n")
            check(await client.read_response(), refusals.BODY_TOO_LARGE, array=array, keep=False)
            assert await client.peer_left() == "fin"
        await upstream.closed()
    assert len(upstream.body) == MAX_BODY_BYTES
    assert not upstream.body_complete


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway that waits for nothing and takes three connections."""
    settings = {"TIMEOUTS__FIRST_BYTE": "0.3", "SERVER__MAX_CONNECTIONS": "3"}
    with running_rig(tmp_path_factory.mktemp("hurried"), None, **settings) as running:
        yield running


@pytest.mark.parametrize("framing", ACTIONS)
async def test_an_upstream_that_does_not_answer(hurried: Rig, framing: str) -> None:
    request, array = shaped(hurried, framing)
    asked_before = hurried.upstream.total_requests
    with hurried.answering([keep_open()]):
        async with hurried.client() as client:
            await client.send(request)
            check(await client.read_response(), refusals.UPSTREAM_TIMEOUT, array=array)
    await hurried.upstream.requests[asked_before].closed()


async def test_one_connection_too_many(hurried: Rig) -> None:
    held: list[RawClient] = []
    try:
        for _ in range(3):
            client = hurried.client()
            await client.connect()
            held.append(client)
            await client.send(hurried.request().encode())
            assert (await client.read_response()).status == 200
        async with hurried.client() as refused:
            check(await refused.read_response(), refusals.OVERLOADED, keep=False)  # nothing was sent
            assert await refused.peer_left() == "fin"
        async with hurried.client() as refused:
            await refused.send(hurried.request().encode())
            check(await refused.read_response(), refusals.OVERLOADED, keep=False)
            assert await refused.peer_left() == "fin"
    finally:
        for client in held:
            client.close()
    statuses = {503}
    while 200 not in statuses:  # the two that were refused still linger, for a second
        statuses.add((await hurried.ask(hurried.request())).status)
        assert statuses <= {200, 503}


async def test_a_request_too_many(tmp_path: Path) -> None:
    with running_rig(tmp_path, SERVER__MAX_OPEN_REQUESTS="1") as rig:
        with rig.answering([keep_open()]):
            async with rig.client() as first:
                await first.send(rig.request().encode())
                await rig.upstream.request(0)
                for framing in ACTIONS:
                    # Before anything is looked at, and the connection may be used again.
                    request, array = shaped(rig, framing, token=WRONG_TOKEN)
                    async with rig.client() as client:
                        for _ in range(2):
                            await client.send(request)
                            check(await client.read_response(), refusals.OVERLOADED, array=array)
        statuses = {503}
        while 200 not in statuses:  # that the first has left is seen in time, and then it has its place
            statuses.add((await rig.ask(rig.request())).status)
            assert statuses <= {200, 503}
        assert rig.upstream.total_requests == 2


async def test_requests_that_a_drain_cuts_off(tmp_path: Path) -> None:
    with running_rig(tmp_path, SERVER__DRAIN_SECONDS="0.2") as rig, rig.answering([keep_open()]):
        waiting: list[tuple[RawClient, bool]] = []
        for framing in ACTIONS:
            request, array = shaped(rig, framing)
            client = rig.client()
            await client.connect()
            await client.send(request)
            waiting.append((client, array))
        await rig.upstream.request(len(ACTIONS) - 1)
        rig.gateway.process.popen.send_signal(signal.SIGTERM)
        for client, array in waiting:
            check(await client.read_response(), refusals.DRAINING, array=array, keep=False)
            assert await client.peer_left() == "fin"
            client.close()


async def test_a_store_that_is_damaged_and_mended(tmp_path: Path) -> None:
    with running_rig(tmp_path) as rig:
        assert (await rig.ask(rig.request())).status == 200
        with damaged(tmp_path / "gateway.db"):
            for framing in ACTIONS:
                request, array = shaped(rig, framing, token=WRONG_TOKEN)
                async with rig.client() as client:
                    await client.send(request)
                    check(await client.read_response(), refusals.AUTHORIZATION_UNAVAILABLE, array=array)
            # The credential is known from before, the branch is not.
            unknown_branch = rig.request(host=rig.known.hosts["child"])
            check(await rig.ask(unknown_branch), refusals.AUTHORIZATION_UNAVAILABLE)
            assert (await rig.ask(rig.request())).status == 200
            asked = rig.upstream.total_requests
        check(await rig.ask(rig.request(token=WRONG_TOKEN)), refusals.CREDENTIAL_INVALID)
        assert rig.upstream.total_requests == asked == 2


async def test_a_fault_of_the_gateway_itself(
    rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_stack(tmp_path, rig.upstream.url, Settings()) as stack:
        catalog = stack.proxy.catalog
        stack.proxy.catalog = Catalog.__new__(Catalog)  # which knows nothing, not even itself
        for action, array in (("generateContent", False), ("streamGenerateContent", True)):
            async with stack.client() as client:
                await client.send(stack.request(action=action))
                check(await client.read_response(), refusals.INTERNAL, array=array)
        stack.proxy.catalog = catalog
        async with stack.client() as client:
            await client.send(stack.request(action="generateContent"))
            assert (await client.read_response()).status == 200
        assert "internal error" in caplog.text
        assert stack.token not in caplog.text


async def test_a_gateway_that_drains_says_so_before_it_looks_at_anything(rig: Rig, tmp_path: Path) -> None:
    async with running_stack(tmp_path, rig.upstream.url, Settings()) as stack:
        stack.proxy.draining = True
        async with stack.client() as client:
            await client.send(b"GET /nowhere HTTP/1.1\r\nHost: nobody\r\n\r\n")
            check(await client.read_response(), refusals.DRAINING)
        await eventually("its record", lambda: len(stack.observer.exchanges) == 1)
        assert stack.observer.exchanges[0].principal is None
