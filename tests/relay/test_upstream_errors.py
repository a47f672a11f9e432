"""Errors of the upstream: they pass as they are, except a refusal of the gateway's own key."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.relay.google_errors import RETRY, google_error, info
from tests.relay.parts import JSON, case, refusal
from tests.support.places import UPSTREAM_KEY
from tests.support.raw_client import RawResponse
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, chunk, close, response, rst, send, wait_for
from tests.support.stack import Stack

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


async def ask(stack: Stack, action: str = "generateContent") -> RawResponse:
    async with stack.client() as client:
        await client.send(stack.request(action=action))
        return await client.read_response()


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_an_error_passes_unchanged(framing: str, stack: Stack, upstream: RawUpstream) -> None:
    headers = [JSON, ("X-Ratelimit-Remaining", "0"), ("Retry-After", "3"), ("X-Request-Id", "up-1")]
    for number, status in enumerate([400, 402, 403, 404, 409, 413, 429, 499, 500, 501, 502, 503, 504]):
        with case(status):
            body = google_error(status, 'Invalid JSON payload received. Unknown name "x"', info("X"))
            chunks = chunk(body[:9]) + chunk(body[9:]) + LAST_CHUNK
            framed = {
                "length": b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
                "chunked": b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
                "close": b"Connection: close\r\n\r\n" + body,
            }[framing]
            lines = [b"HTTP/1.1 %d Some Reason" % status, *(f"{k}: {v}".encode() for k, v in headers)]
            upstream.answer_next(
                [send(b"\r\n".join([*lines, framed])), *([close()] if framing == "close" else [])]
            )
            answer = await ask(stack)
            assert (answer.status, answer.reason, answer.body) == (status, "Some Reason", body)
            assert answer.headers[:3] == headers[:3]
            assert answer.header("retry-after") == ["3"]
            assert answer.header("x-gateway-error") == []
            exchange = await stack.exchange(number)
            assert (exchange.ending, exchange.status, exchange.reason) == (Ending.UPSTREAM_ERROR, status, "")
            assert (exchange.usage, exchange.response_bytes) == (None, len(body))


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [("12.345678901s", ["13"]), ("38s", ["38"]), ("0.2s", ["1"]), ("soon", []), ("-1s", [])],
)
async def test_a_429_that_says_how_long_gets_retry_after(
    delay: str, seconds: list[str], stack: Stack, upstream: RawUpstream
) -> None:
    body = google_error(429, "Quota exceeded", info("RATE_LIMIT_EXCEEDED"), RETRY | {"retryDelay": delay})
    for coding, action in product(CODINGS, ("generateContent", "streamGenerateContent")):
        with case((coding, action)):
            sent = encoded(b"[" + body + b"]" if action.startswith("stream") else body, coding)
            upstream.answer_next(response(429, [JSON, *coding_header(coding)], sent))
            answer = await ask(stack, action)
            assert (answer.status, answer.body, answer.header("retry-after")) == (429, sent, seconds)


async def test_a_429_keeps_the_retry_after_that_it_has(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next(response(429, [("retry-after", "99")], google_error(429, "no", RETRY)))
    assert (await ask(stack)).header("retry-after") == ["99"]


KEY_REFUSALS = {
    "401": (401, google_error(401, "Request had invalid authentication credentials.")),
    "401 without a body": (401, b""),
    "401 as a page": (401, b"<html>who are you?</html>"),
    "400 API_KEY_INVALID": (400, google_error(400, "API key not valid.", info("API_KEY_INVALID"))),
    "403 API_KEY_SERVICE_BLOCKED": (403, google_error(403, "blocked", info("API_KEY_SERVICE_BLOCKED"))),
    "403 CONSUMER_SUSPENDED": (403, google_error(403, "suspended", info("CONSUMER_SUSPENDED"))),
    "403 SERVICE_DISABLED": (403, google_error(403, "not enabled", info("SERVICE_DISABLED"))),
    "403 ACCESS_TOKEN_SCOPE_INSUFFICIENT": (
        403,
        google_error(403, "s", info("ACCESS_TOKEN_SCOPE_INSUFFICIENT")),
    ),
    "the second detail": (403, google_error(403, "x", {"@type": "y"}, info("CONSUMER_INVALID"))),
    "403 about the API key": (403, google_error(403, "Your API key was reported as leaked.")),
}


@pytest.mark.parametrize(("status", "body"), KEY_REFUSALS.values(), ids=KEY_REFUSALS)
async def test_a_refusal_of_the_gateways_own_key_does_not_pass(
    status: int, body: bytes, stack: Stack, upstream: RawUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    body = body.replace(b'"X"', f'"{UPSTREAM_KEY}"'.encode())
    actions = ("generateContent", "streamGenerateContent", "streamGenerateContent?alt=sse")
    for coding, action in product(CODINGS, actions):
        with case((coding, action)):
            headers = [JSON, ("WWW-Authenticate", "Bearer"), ("X-Theirs", "1"), *coding_header(coding)]
            upstream.answer_next(response(status, headers, encoded(body, coding)))
            answer = await ask(stack, action)
            assert refusal(answer) == (502, "UPSTREAM_FAILED")
            assert answer.header("www-authenticate") == answer.header("x-theirs") == []
            assert answer.header("content-encoding") == []
            assert UPSTREAM_KEY.encode() not in answer.body
    exchange = await stack.exchange()
    assert (exchange.ending, exchange.status, exchange.reason) == (Ending.REFUSED, 502, "UPSTREAM_FAILED")
    alarms = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [("refuses the gateway's key" in alarm) for alarm in alarms] == [True] * 9
    assert UPSTREAM_KEY not in caplog.text


PASSING = {
    "a 403 about a file": (403, google_error(403, "You do not have permission to access the File abc")),
    "a 403 with another reason": (403, google_error(403, "x", info("USER_PROJECT_DENIED"))),
    "a 400 that names the key": (400, google_error(400, "the field api_key is unknown")),
    "the reason in another place": (
        400,
        b'{"error": {"message": "API_KEY_INVALID", "reason": "API_KEY_INVALID"}}',
    ),
    "a 404 with that reason": (404, google_error(404, "x", info("API_KEY_INVALID"))),
    "no JSON": (403, b"<html>no</html>"),
    "no UTF-8": (403, b'{"error": {"message": "\xff"}}'),
    "odd JSON": (400, b'{"error": {"details": [1, null, {"reason": 5}], "message": []}}'),
    "a list": (400, b"[]"),
    "deep": (400, b"[" * 20_000),
    "longer than what is looked at": (400, google_error(400, "x" * 100_000)),
    "a bomb": (400, b" " * 5_000_000),
}


async def test_other_errors_pass_whatever_they_say(stack: Stack, upstream: RawUpstream) -> None:
    for (what, (status, body)), coding in product(PASSING.items(), CODINGS):
        with case((what, coding)):
            sent = encoded(body, coding)
            upstream.answer_next(response(status, [JSON, *coding_header(coding)], sent))
            answer = await ask(stack)
            assert (answer.status, answer.body) == (status, sent)


async def test_an_error_in_a_coding_that_is_not_the_one_it_says(stack: Stack, upstream: RawUpstream) -> None:
    for coding in "gzip", "br", "deflate":
        upstream.answer_next(response(403, [("Content-Encoding", coding)], b"plain"))
        answer = await ask(stack)
        assert (answer.status, answer.body) == (403, b"plain")


@pytest.mark.parametrize("cut", [close(), rst()], ids=["close", "rst"])
async def test_an_error_that_breaks_off_while_it_is_looked_at(
    cut: Any, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([send(b"HTTP/1.1 400 Bad\r\nContent-Length: 500\r\n\r\n{"), cut])
    assert refusal(await ask(stack)) == (502, "UPSTREAM_FAILED")
    assert (await stack.exchange()).ending is Ending.REFUSED


async def test_an_error_that_comes_in_pieces_is_looked_at_whole(stack: Stack, upstream: RawUpstream) -> None:
    body = google_error(400, "no", info("API_KEY_INVALID"))
    upstream.answer_next(response(400, [JSON], body, splits=range(0, 400, 40), gap=0.001))
    assert refusal(await ask(stack)) == (502, "UPSTREAM_FAILED")


async def test_an_error_that_is_looked_at_has_the_first_bytes_deadline(
    start: Start, upstream: RawUpstream
) -> None:
    stack = await start(first_byte=0.2)
    upstream.answer_next([send(b"HTTP/1.1 429 No\r\nContent-Length: 5\r\n\r\n{"), wait_for("never")])
    assert refusal(await ask(stack)) == (504, "UPSTREAM_TIMEOUT")
    assert (await stack.exchange()).ending is Ending.DEADLINE


def encoded(body: bytes, coding: str) -> bytes:
    return CODINGS[coding](body)


def coding_header(coding: str) -> list[tuple[str, str]]:
    return [] if coding == "identity" else [("Content-Encoding", coding)]
