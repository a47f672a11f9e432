"""Every answer to a request that was counted tells how full its limits are, whatever became of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.contract.rig import MAX_BODY_BYTES, UNREACHABLE, Rig, running_rig
from tests.contract.test_outages import google_error
from tests.contract.test_quotas import limits
from tests.support.raw_client import RawResponse
from tests.support.script import LAST_CHUNK, Script, chunk, keep_open, response, send

LIMIT = 1000
"""Requests a minute; tokens are so many that no estimate is more."""
TOKENS = 1_000_000
TOLD = {f"{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("tokens", "requests")}
JSON = ("Content-Type", "application/json")


def stream(media_type: bytes, content: bytes) -> Script:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % media_type
    return [send(head), send(chunk(content) + LAST_CHUNK)]


@dataclass(frozen=True)
class Case:
    status: int
    script: Script
    """What the upstream does."""
    changes: dict[str, Any] = field(default_factory=dict)
    after_body: bool = True


CASES = {
    "unary": Case(200, response(headers=[JSON], body=b"{}")),
    "sse": Case(
        200,
        stream(b"text/event-stream", b"data: {}\n\n"),
        {"action": "streamGenerateContent", "query": "alt=sse"},
    ),
    "array": Case(200, stream(b"application/json", b"[{}]"), {"action": "streamGenerateContent"}),
    "a client's mistake": Case(400, response(400, [JSON], google_error(400, "BAD_FIELD", "no such field"))),
    "the upstream's own limit": Case(429, response(429, [JSON], google_error(429, "QUOTA", "slow down"))),
    "the gateway's own key": Case(502, response(401, [JSON], google_error(401, "API_KEY_INVALID", "no"))),
    "an upstream that is not there": Case(502, [], {"model": UNREACHABLE}),
    "an upstream that does not answer": Case(504, [keep_open()]),
    "a body that is too large": Case(
        413,
        [keep_open()],
        {
            "length": None,
            "headers": (("Transfer-Encoding", "chunked"),),
            "body": chunk(bytes(MAX_BODY_BYTES)) + chunk(b"x"),
        },
        after_body=False,
    ),
}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    settings = {
        "LIMITS__REQUESTS_PER_MINUTE": str(LIMIT),
        "LIMITS__TOKENS_PER_MINUTE": str(TOKENS),
        "TIMEOUTS__FIRST_BYTE": "0.3",
    }
    with running_rig(tmp_path_factory.mktemp("limited"), None, **settings) as running:
        yield running


async def answered(rig: Rig, case: Case) -> RawResponse:
    with rig.answering(case.script, after_body=case.after_body):
        answer = await rig.ask(rig.request(**case.changes))
    assert answer.status == case.status
    return answer


@pytest.mark.parametrize("case", CASES)
async def test_limits_are_told(limited: Rig, case: str) -> None:
    before = limits(await answered(limited, CASES["unary"]))
    told = limits(await answered(limited, CASES[case]))
    assert told.keys() == before.keys() == TOLD
    assert (told["limit-requests"], told["limit-tokens"]) == (LIMIT, TOKENS)
    assert told["remaining-requests"] == before["remaining-requests"] - 1
    assert 0 < told["remaining-tokens"] < TOKENS
    assert all(0 < told[f"reset-{of}"] <= 61 for of in ("tokens", "requests"))


@pytest.mark.parametrize("status", [200, 400, 429])
async def test_an_upstreams_own_stand_in_place_of_them(limited: Rig, status: int) -> None:
    own = [JSON, ("x-ratelimit-limit-requests", "7"), ("X-RateLimit-Reset-Tokens", "8")]
    answer = await answered(limited, Case(status, response(status, own, b"{}")))
    assert limits(answer) == {"limit-requests": 7, "reset-tokens": 8}
