"""The response's head: what of the upstream's passes, what stays behind, and what the gateway adds."""

from __future__ import annotations

import re

import pytest

from tests.relay.parts import JSON, UNARY, WHOLE, refusal
from tests.support.raw_client import RawResponse
from tests.support.raw_upstream import RawUpstream
from tests.support.script import response, send
from tests.support.stack import Stack

Headers = list[tuple[str, str]]

OURS = ["x-request-id", "x-gateway-attempts"]


async def ask(stack: Stack, headers: Headers = []) -> RawResponse:  # noqa: B006 - never changed
    async with stack.client() as client:
        await client.send(stack.request(action="generateContent", headers=headers))
        return await client.read_response()


async def test_headers_pass_in_their_order_and_as_they_were_written(
    stack: Stack, upstream: RawUpstream
) -> None:
    passing = [
        ("content-TYPE", "application/json"),
        ("Retry-After", "7"),
        ("X-Ratelimit-Limit-Tokens", "100"),
        ("Vary", "Origin"),
        ("vary", "X-Origin"),
        ("Server-Timing", "gfet4t7; dur=1671"),
        ("X-Empty", ""),
        ("X-Latin", "Gr\xfc\xdfe"),
        ("WWW-Authenticate", 'Bearer realm="x"'),
        ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("x-goog-anything", "a\tb"),
    ]
    upstream.answer_next(response(200, passing, UNARY))
    answer = await ask(stack)
    assert answer.headers[: len(passing)] == passing
    added = [name for name, _ in answer.headers[len(passing) :]]
    assert added == ["Content-Length", *OURS]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Set-Cookie", "a=b"),
        ("SERVER", "scaffolding on HTTPServer2"),
        ("Alt-Svc", 'h3=":443"'),
        ("X-Gateway-Error", "INTERNAL"),
        ("x-gateway-anything", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Trailer", "X-A"),
        ("Upgrade", "h2c"),
        ("X-Client-Request-Id", "forged"),
        ("X-Upstream-Request-Id", "forged"),
    ],
)
async def test_headers_that_stay_behind(name: str, value: str, stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next(response(200, [("A", "1"), (name, value), ("B", "2"), (name, value)], UNARY))
    answer = await ask(stack)
    assert [name for name, _ in answer.headers] == [
        "A",
        "B",
        "Content-Length",
        "x-request-id",
        "x-gateway-attempts",
    ]
    assert answer.body == UNARY


async def test_what_the_connection_header_names_stays_behind(stack: Stack, upstream: RawUpstream) -> None:
    headers = [
        ("Connection", "X-One, upgrade"),
        ("X-One", "1"),
        ("Upgrade", "h2c"),
        ("X-Two", "2"),
        ("Connection", " x-two ,keep-alive"),
        ("X-Three", "3"),
    ]
    upstream.answer_next(response(200, headers, UNARY))
    answer = await ask(stack)
    assert [name for name, _ in answer.headers] == [
        "X-Three",
        "Content-Length",
        "x-request-id",
        "x-gateway-attempts",
    ]


@pytest.mark.parametrize("bad", [b"X-A: \x01", b"X-A: a\x7fb", b"X-A: a\x00b", b"X-A: a\rb", b"X-A: a\nb"])
async def test_a_value_with_control_bytes_never_passes(
    bad: bytes, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([send(WHOLE.replace(b"\r\n", b"\r\n" + bad + b"\r\n", 1))])
    answer = await ask(stack)
    if answer.status == 502:
        assert refusal(answer) == (502, "UPSTREAM_FAILED")
    else:
        assert (answer.status, answer.header("x-a")) == (200, [])
        assert answer.body == UNARY


async def test_the_ids_of_all_three_parties(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next(response(200, [JSON, ("X-Request-ID", "theirs 1")], UNARY))
    answer = await ask(stack, [("X-Request-Id", "mine-1._")])
    [own] = answer.header("x-request-id")
    assert re.fullmatch("[0-9a-f]{32}", own)
    assert answer.header("x-upstream-request-id") == ["theirs 1"]
    assert answer.header("x-client-request-id") == ["mine-1._"]
    assert (await upstream.request()).header("x-request-id") == []
    [line] = await stack.log_lines()
    assert (line["id"], line["client_request_id"], line["upstream_request_id"]) == (
        own,
        "mine-1._",
        "theirs 1",
    )


@pytest.mark.parametrize("client_id", ["", "a b", "a" * 129, "\xfc", "a,b", "nt_live_abc_0123"])
async def test_an_id_of_the_client_that_is_not_kept(
    client_id: str, stack: Stack, upstream: RawUpstream
) -> None:
    upstream.answer_next([send(WHOLE)])
    answer = await ask(stack, [("x-request-id", client_id)])
    assert (answer.status, answer.header("x-client-request-id")) == (200, [])


async def test_a_head_as_large_as_google_may_send(stack: Stack, upstream: RawUpstream) -> None:
    headers = [(f"X-{number}", "v" * 1000) for number in range(40)]
    upstream.answer_next(response(200, headers, UNARY))
    answer = await ask(stack)
    assert answer.headers[:40] == headers


async def test_a_head_that_never_ends_is_given_up(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(b"HTTP/1.1 200 OK\r\n"), send(b"X-A: b\r\n" * 20_000)])
    assert refusal(await ask(stack)) == (502, "UPSTREAM_FAILED")
    assert (await upstream.requests[0].closed()).kind in ("fin", "rst")


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 200 \r\n", b"HTTP/1.1 200\r\n", b"HTTP/1.1 200 Gr\xfc\xdfe dich\r\n"]
)
async def test_any_reason_phrase(line: bytes, stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(line + WHOLE.partition(b"\r\n")[2])])
    answer = await ask(stack)
    assert (answer.status, answer.body) == (200, UNARY)
    assert answer.raw_head.partition(b"\r\n")[0].rstrip() == line.rstrip()


async def test_an_unknown_status_passes(stack: Stack, upstream: RawUpstream) -> None:
    upstream.answer_next([send(WHOLE.replace(b"200 OK", b"799 Odd"))])
    answer = await ask(stack)
    assert (answer.status, answer.reason, answer.body) == (799, "Odd", UNARY)
