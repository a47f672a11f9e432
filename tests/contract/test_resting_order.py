"""Upstreams that rest are found to only after the checks before them, the quota's included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.limits import Limits
from tests.contract.test_quotas import limits
from tests.support.raw_client import RawResponse
from tests.support.raw_upstream import RawUpstream
from tests.support.script import response
from tests.support.stack import Settings, Stack, running_stack

MESSAGE = "You exceeded your current quota."
_DETAILS = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "40s"}]
SPENT = response(
    429,
    [("Content-Type", "application/json")],
    json.dumps({"error": {"code": 429, "message": MESSAGE, "details": _DETAILS}}).encode(),
)
REQUESTS, TOKENS = 3, 100_000
"""A minute."""


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        running.answer_always(SPENT)
        yield running


def reason(answer: RawResponse) -> tuple[int, list[str]]:
    return answer.status, answer.header("x-gateway-error")


async def asked(stack: Stack, request: bytes) -> RawResponse:
    async with stack.client() as client:
        await client.send(request)
        return await client.read_response()


async def test_what_is_wrong_with_a_request_is_told_before_that_upstreams_rest(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    settings = Settings(
        cooldown=True,
        max_body_bytes=100,
        limits=Limits(requests_per_minute=REQUESTS, tokens_per_minute=TOKENS),
    )
    async with running_stack(tmp_path, upstream.url, settings) as stack:
        first = await asked(stack, stack.request(action="generateContent"))
        assert reason(first) == (429, [])  # the upstream's own words
        before = limits(first)
        assert reason(await asked(stack, stack.request(action="generateContent?alt=xml"))) == (
            400,
            ["ALT_UNSUPPORTED"],
        )
        assert reason(await asked(stack, stack.request(bytes(101)))) == (413, ["BODY_TOO_LARGE"])
        for number in (1, 2):
            resting = await asked(stack, stack.request(action="generateContent"))
            assert reason(resting) == (429, ["UPSTREAM_COOLDOWN"])
            assert json.loads(resting.body)["error"]["message"] == MESSAGE
            assert limits(resting)["remaining-requests"] == before["remaining-requests"] - number
        blocked = await asked(stack, stack.request(action="generateContent"))
        assert reason(blocked) == (429, ["REQUEST_LIMIT_EXCEEDED"])
        # Who was sent nowhere used no token: what counts is the first request's alone.
        assert limits(blocked)["remaining-tokens"] == before["remaining-tokens"]
        assert upstream.total_requests == 1
