"""The tests' own view of HTTP/1.1 and of the recorded exchanges, against which the gateway is judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.recorded import last_usage, recorded_exchanges
from tests.support.script import cut, response_bytes
from tests.support.wire import WireError, take_head


def decode(raw: bytes) -> bytes:
    buffer = bytearray(raw)
    head = take_head(buffer)
    assert head is not None
    body = head.response_body("POST")
    body.feed(buffer)
    return bytes(body.data)


@given(st.lists(st.binary(max_size=20)), st.sets(st.integers(0, 400)))
def test_a_body_is_decoded_the_same_however_it_is_cut(pieces: list[bytes], splits: set[int]) -> None:
    raw = response_bytes(body=pieces, framing="chunked")
    buffer = bytearray(raw)
    head = take_head(buffer)
    assert head is not None
    body = head.response_body("POST")
    buffer.clear()
    for piece in cut(raw[len(head.raw) :] + b"next", splits):
        buffer += piece
        body.feed(buffer)
    assert (body.complete, bytes(body.data), bytes(buffer)) == (True, b"".join(pieces), b"next")
    assert bytes(body.raw) == raw[len(head.raw) :]


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x4\r\n1234\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n1234\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\n1234\r\n0\r\n\r\n",
    ],
)
def test_a_response_that_is_not_http_is_not_forgiven(raw: bytes) -> None:
    with pytest.raises(WireError):
        decode(raw)


def test_what_is_allowed_is_read() -> None:
    assert (
        decode(
            b"HTTP/1.1 200 \r\nEmpty:\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\n12\r\n0\r\nT: 1\r\n\r\n"
        )
        == b"12"
    )
    assert decode(b"HTTP/1.0 200 OK\r\n\r\n12") == b"12"
    assert decode(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n12") == b""


def test_the_recorded_exchanges_have_the_usage_their_last_object_tells() -> None:
    exchanges = {exchange.name: exchange for exchange in recorded_exchanges()}
    streamed = exchanges["pydantic-ai/test_native_output_with_builtin_tools_stream#0"]
    assert (streamed.alt, streamed.action, streamed.compressed) == ("sse", "streamGenerateContent", False)
    assert (last_usage(streamed) or {})["totalTokenCount"] == 165
    array = exchanges["llm-gemini/test_tools#0"]
    assert (array.alt, array.model, array.compressed, array.exact) == (None, "gemini-2.5-flash", True, True)
    assert (last_usage(array) or {})["totalTokenCount"] > 0
    without = [exchange.status for exchange in exchanges.values() if last_usage(exchange) is None]
    assert without == [404, 400]
