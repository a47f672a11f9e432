"""Limits as a client meets them: what is admitted, what a block says, and the headers on every answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.contract.rig import running_rig
from tests.contract.test_error_table import ACTIONS
from tests.contract.test_outages import shaped
from tests.support.raw_client import RawResponse
from tests.support.script import Script, keep_open, response, send

TYPE = "type.googleapis.com/google.rpc."


def reporting(tokens: int, *headers: tuple[str, str]) -> Script:
    """An answer that used as many."""
    usage = {"promptTokenCount": tokens - 1, "candidatesTokenCount": 1, "totalTokenCount": tokens}
    body = json.dumps({"candidates": [{"finishReason": "STOP"}], "usageMetadata": usage}).encode()
    return response(headers=[("Content-Type", "application/json"), *headers], body=body)


def limits(answer: RawResponse) -> dict[str, int]:
    """Its `x-ratelimit-…` headers, without that."""
    found = [(name.lower(), value) for name, value in answer.headers]
    told = {name[12:]: int(value) for name, value in found if name.startswith("x-ratelimit-")}
    assert len(told) == sum(name.startswith("x-ratelimit-") for name, _ in found)
    return told


def check_block(answer: RawResponse, message: str, *, array: bool = False, waits: bool = True) -> int:
    """A quota's block, whole; the seconds of its Retry-After."""
    assert answer.status == 429
    assert answer.header("x-gateway-error") == ["REQUEST_LIMIT_EXCEEDED"]
    body: Any = json.loads(answer.body)
    if array:
        (body,) = body
    assert (body["error_code"], body["message"]) == ("REQUEST_LIMIT_EXCEEDED", message)
    error = body["error"]
    assert (error["code"], error["message"], error["status"]) == (429, message, "RESOURCE_EXHAUSTED")
    kinds = {detail["@type"].removeprefix(TYPE): detail for detail in error["details"]}
    assert kinds["ErrorInfo"]["reason"] == "REQUEST_LIMIT_EXCEEDED"
    if not waits:
        assert set(kinds) == {"ErrorInfo"}
        assert not answer.header("Retry-After")
        return 0
    (wait,) = answer.header("Retry-After")
    assert kinds["RetryInfo"]["retryDelay"] == f"{wait}s"
    assert set(kinds) == {"ErrorInfo", "RetryInfo"}
    return int(wait)


@pytest.mark.parametrize("framing", ACTIONS)
async def test_tokens_in_a_minute(tmp_path: Path, framing: str) -> None:
    with running_rig(tmp_path, LIMITS__TOKENS_PER_MINUTE="1000") as rig:
        with rig.answering(reporting(5000)):
            first = await rig.ask(rig.request())  # larger than the whole limit, but nothing was used yet
        assert first.status == 200
        assert limits(first)["limit-tokens"] == 1000
        request, array = shaped(rig, framing)
        async with rig.client() as client:
            await client.send(request)
            blocked = await client.read_response()
        message = 'ai gateway per-minute token limit exceeded for model "gemini-2-5-flash"'
        # What was overdrawn is paid off first: a limit's worth with each turn of the window.
        assert 4 * 60 < check_block(blocked, message, array=array) <= 5 * 61
        assert limits(blocked)["remaining-tokens"] == 0
        assert rig.upstream.total_requests == 1
        assert (await rig.ask(rig.request(model="gemini-2-5-pro"))).status == 200  # each has its own


async def test_requests_in_a_minute(tmp_path: Path) -> None:
    with running_rig(tmp_path, LIMITS__REQUESTS_PER_MINUTE="2", LIMITS__TOKENS_PER_MINUTE="0") as rig:
        told = [limits(await rig.ask(rig.request())) for _ in range(2)]
        assert [(one["limit-requests"], one["remaining-requests"]) for one in told] == [(2, 1), (2, 0)]
        assert all(set(one) == {"limit-requests", "remaining-requests", "reset-requests"} for one in told)
        blocked = await rig.ask(rig.request())
        assert 0 < check_block(blocked, "ai gateway per-minute request limit exceeded") <= 61
        # Who may not ask at all is told so first, and of no limit.
        assert limits(await rig.ask(rig.request(model="gemini-9"))) == {}
        other = await rig.ask(rig.request(token=rig.known.other_project, host=rig.known.hosts["other main"]))
        assert (other.status, limits(other)["remaining-requests"]) == (200, 1)


async def test_requests_at_once(tmp_path: Path) -> None:
    with running_rig(tmp_path, LIMITS__CONCURRENT_REQUESTS="1") as rig:
        with rig.answering([keep_open()]):
            async with rig.client() as first:
                await first.send(rig.request().encode())
                await rig.upstream.request(0)
                blocked = await rig.ask(rig.request())
                check_block(blocked, "ai gateway concurrent request limit exceeded", waits=False)
        statuses = {429}
        while 200 not in statuses:  # that the first has left is seen in time, and then there is room
            statuses.add((await rig.ask(rig.request())).status)
            assert statuses <= {200, 429}


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("TOKENS_PER_DAY", "ai gateway daily token limit exceeded"),
        ("SPEND_PER_DAY_USD", "ai gateway daily spend limit exceeded"),
    ],
)
async def test_a_day(tmp_path: Path, limit: str, message: str) -> None:
    amount = "1000" if limit == "TOKENS_PER_DAY" else "0.0003"
    with running_rig(tmp_path, None, **{f"LIMITS__{limit}": amount}) as rig:
        with rig.answering(reporting(1100)):
            assert (await rig.ask(rig.request())).status == 200
        wait = check_block(await rig.ask(rig.request()), message)
        assert 86_000 < wait <= 86_460


async def test_an_upstream_that_tells_of_limits_of_its_own(tmp_path: Path) -> None:
    with running_rig(tmp_path, LIMITS__REQUESTS_PER_MINUTE="9") as rig:
        with rig.answering(reporting(3, ("X-RateLimit-Remaining-Tokens", "77"))):
            assert limits(await rig.ask(rig.request())) == {"remaining-tokens": 77}
        assert limits(await rig.ask(rig.request()))["remaining-requests"] == 7


async def test_who_leaves_just_before_the_end_gains_nothing(tmp_path: Path) -> None:
    event = b'data: {"candidates": [{"content": {"parts": [{"text": "x"}]}}]}\r\n\r\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    script: Script = [send(head + b"%x\r\n%b\r\n" % (len(event), event)), keep_open()]
    with running_rig(tmp_path, LIMITS__TOKENS_PER_MINUTE="20000") as rig, rig.answering(script):
        remaining = 20_000
        for number in range(5):
            async with rig.client() as client:
                await client.send(rig.request(action="streamGenerateContent", query="alt=sse").encode())
                left = limits(await client.read_head())["remaining-tokens"]
            assert left < remaining, "what was reserved stands, though the client has left"
            remaining = left
            await rig.upstream.requests[number].closed()
