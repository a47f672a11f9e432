"""Whatever is sent, however it is cut: an answer of the contract or a clean close, and soon.

Each example is followed by bytes that end every request which might still be open, so that nothing waits
for a deadline. HYPOTHESIS_PROFILE=deep tries many times as many.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract import refusals
from tests.contract.refusals import check_some_refusal
from tests.contract.rig import MAX_BODY_BYTES, UPSTREAM_KEY, Rig, running_rig
from tests.support.eventually import eventually
from tests.support.raw_client import PeerLeftError, RawResponse

END = b"\x01" * (MAX_BODY_BYTES + 20_000)
"""Too long for a body or a head, and neither a request nor a chunk."""
NEVER = {refusals.INTERNAL, refusals.UPSTREAM_TIMEOUT, refusals.UPSTREAM_FAILED}
FORWARDED = re.compile(
    r"/(v1|v1beta|v1alpha)/models/gemini-2\.5-(flash|pro):(generateContent|streamGenerateContent)"
    r"(\?(\$|%24)?alt=(sse|json|json(;|%3[Bb])enum-encoding(=|%3[Dd])int))?"
)
often = settings(
    max_examples=3 * settings().max_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

any_splits = st.lists(st.integers(0, 600), max_size=6)
any_byte = st.integers(0, 255).map(lambda n: bytes([n]))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One of this file's own, for the sake of its log."""
    with running_rig(tmp_path_factory.mktemp("properties")) as running:
        yield running


async def answers(
    rig: Rig, data: bytes, splits: Sequence[int], method: str = "POST", end: bytes = END
) -> list[RawResponse]:
    """All that comes back until the gateway leaves, which it does in time; then it answers others."""
    found: list[RawResponse] = []
    async with rig.client(deadline=10.0) as client:
        try:
            await client.send(data, splits)
            await client.send(end)
        except ConnectionError:
            pass  # it has answered and left before
        try:
            while True:
                found.append(await client.read_response("POST" if found else method))
        except PeerLeftError as left:
            how = str(left)
    assert how.endswith("after b''")  # between two answers
    for answer in found:
        check_answer(answer, head=method == "HEAD" and answer is found[0])
    assert (await rig.ask(rig.request())).status == 200
    return found


def check_answer(answer: RawResponse, *, head: bool = False) -> None:
    assert answer.ended == "complete"
    if answer.header("x-gateway-error"):
        assert check_some_refusal(answer, head=head) not in NEVER
    elif answer.status != 100:
        assert answer.status == 200
        assert b'"finishReason": "STOP"' in answer.body


PATH_PIECES = [
    "/", "//", "ai-gateway", "v1", "v1beta", "v1alpha", "gemini", "models", "gemini-2-5-flash", ":", "%3A",
    "%3a", "generateContent", "streamGenerateContent", "countTokens", "?", "&", "alt=sse", "$alt=json",
    "alt=", "key=", "..", ".", "%2F", "%00", "%zz", "%", ";", "\\", "#", "%2e%2e", "http://", "example.com",
    "*", "a" * 200,
]  # fmt: skip
good_starts = st.sampled_from(
    ["", "/", "/ai-gateway/gemini/v1beta/models/", "/v1/gemini/models/gemini-2-5-flash:"]
)
any_target = st.builds(
    lambda start, pieces: (start + "".join(pieces)).encode("latin-1"),
    good_starts,
    st.lists(st.sampled_from(PATH_PIECES) | st.characters(max_codepoint=255), max_size=12),
)


@often
@given(any_target, any_splits)
async def test_any_target(rig: Rig, target: bytes, splits: list[int]) -> None:
    request = rig.request(path="TARGET").encode().replace(b"TARGET", target, 1)
    await answers(rig, request, splits)


any_method = st.text("!#$%&'*+-.^_`|~0123456789abcXYZ", min_size=1, max_size=20) | st.sampled_from(
    [
        "GET",
        "HEAD",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "PROPFIND",
        "QUERY",
        "PRI",
        "SOURCE",
    ]
)


@often
@given(any_method, any_splits)
async def test_any_method(rig: Rig, method: str, splits: list[int]) -> None:
    # Nothing behind it: what is refused together with a HEAD has a body.
    request = rig.request(method=method, headers=(("Connection", "close"),))
    (found,) = await answers(rig, request.encode(), splits, method, end=b"")
    assert found.status in (400, 405)


KNOWN_HEADERS = [
    "Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect", "Upgrade", "Authorization", "TE",
    "x-goog-api-key", "x-request-id", "X-Forwarded-Host", "Accept-Encoding", "x-server-timeout", "Trailer",
    "x-goog-request-params", "Content-Encoding", "Content-Type", "User-Agent", "Keep-Alive", "Cookie",
    "x-gateway-error", "Sec-WebSocket-Key", "Sec-WebSocket-Key1", "HTTP2-Settings", "Content-Range",
]  # fmt: skip
KNOWN_VALUES = [
    "", "chunked", "identity", "gzip", "gzip, br;q=0.5", "close", "keep-alive", "Upgrade", "websocket",
    "h2c", "100-continue", "0", "2", "17", "999999999", "18446744073709551615", "-1", "Bearer x",
    "Basic eDp5", "trailers", "nt_live_", "a" * 5000, "1.5", "1e9", "model=models/x", "\xff\xfe",
]  # fmt: skip
any_header = st.tuples(
    st.sampled_from(KNOWN_HEADERS) | st.text(st.characters(max_codepoint=255), max_size=10),
    st.sampled_from(KNOWN_VALUES) | st.text(st.characters(max_codepoint=255), max_size=40),
)


@often
@given(st.lists(any_header, max_size=8), st.booleans(), st.booleans(), any_splits)
async def test_any_headers(
    rig: Rig, headers: list[tuple[str, str]], own_credential: bool, own_length: bool, splits: list[int]
) -> None:
    request = rig.request(headers=tuple(headers), length=None if own_length else "")
    if own_credential:
        request = rig.request(headers=tuple(headers), length=request.length, token="")
    await answers(rig, request.encode(), splits)


@often
@given(st.binary(max_size=300), st.booleans(), any_splits)
async def test_any_query(rig: Rig, query: bytes, stream: bool, splits: list[int]) -> None:
    action = "streamGenerateContent" if stream else "generateContent"
    request = rig.request(query="QUERY", action=action).encode().replace(b"QUERY", query, 1)
    await answers(rig, request, splits)


WORDS = [
    b"POST ", b"GET ", b"OPTIONS ", b"PRI * HTTP/2.0", b"/", b"*", b" HTTP/1.1", b" HTTP/1.0", b"\r\n",
    b"\r\n\r\n", b"\n", b"\r", b" ", b"\t", b"Host: a", b"Content-Length: ", b"Content-Length: 5",
    b"Transfer-Encoding: chunked", b"Upgrade: websocket", b"Connection: Upgrade", b"Expect: 100-continue",
    b"x-goog-api-key: ", b"0", b"5", b"\x00", b"\x16\x03\x01", b":", b";", b"a" * 9000,
]  # fmt: skip


@often
@given(
    st.binary(max_size=2000) | st.lists(st.sampled_from(WORDS) | any_byte, max_size=40).map(b"".join),
    any_splits,
)
async def test_any_bytes(rig: Rig, data: bytes, splits: list[int]) -> None:
    assert await answers(rig, data, splits)  # END is malformed, whatever it follows


edits = st.tuples(st.integers(0, 500), st.integers(0, 30), st.sampled_from(WORDS) | st.binary(max_size=8))


@often
@given(st.lists(edits, max_size=4), st.booleans(), any_splits)
async def test_a_good_request_with_any_edits(
    rig: Rig, changes: list[tuple[int, int, bytes]], chunked: bool, splits: list[int]
) -> None:
    headers = (("Transfer-Encoding", "chunked"),) if chunked else ()
    body = b"2;x\r\n{}\r\n0\r\nA: b\r\n\r\n" if chunked else b"{}"
    data = rig.request(headers=headers, body=body, length=None if chunked else "").encode()
    for at, removed, inserted in changes:
        data = data[:at] + inserted + data[at + removed :]
    assert await answers(rig, data, splits)


async def test_afterwards_nothing_but_requests_is_in_the_log_and_good_ones_upstream(rig: Rig) -> None:
    (last,) = (await rig.ask(rig.request(token=""))).header("x-request-id")
    await eventually("its line", lambda: any(last in line for line in rig.gateway.log_lines()))
    lines = rig.gateway.log_lines()
    started = max(n for n, line in enumerate(lines, 1) if line.startswith("upstream '"))
    for line in lines[started:]:
        assert json.loads(line)["reason"] not in {row.reason for row in NEVER}  # no warning, no traceback
    for asked in rig.upstream.requests:
        assert (asked.method, asked.header("x-goog-api-key")) == ("POST", [UPSTREAM_KEY])
        assert FORWARDED.fullmatch(asked.target), asked.target
