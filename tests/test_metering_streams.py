"""The usage reader on every form of stream: framings, encodings, cuts, damage."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from gateway.exchange import Framing
from gateway.metering import UsageReader
from gateway.token_usage import Usage
from tests.support.metering import (
    ANY_FRAMING,
    TRUE,
    USAGE,
    Found,
    as_stream,
    by_byte,
    cut_at,
    every_way,
    read,
    response,
)

FALSE = '"usageMetadata":{"totalTokenCount":0},"finishReason":"STOP","error":{},"modelVersion":"x"'


@pytest.mark.parametrize("framing", [Framing.SSE, Framing.JSON_ARRAY])
def test_the_last_object_wins_and_nothing_is_merged(framing: Framing) -> None:
    first = response(usageMetadata={"promptTokenCount": 100, "totalTokenCount": 102}, modelVersion="a")
    last = response(usageMetadata={"candidatesTokenCount": 5, "totalTokenCount": 9}, modelVersion="b")
    silent = response(candidates=[{"index": 0}])
    body = as_stream(framing, first, last, silent)
    assert every_way(framing, body) == Found(Usage(candidates=5, total=9), "b")


@ANY_FRAMING
@pytest.mark.parametrize("countless", [{}, {"trafficType": "ON_DEMAND"}])
def test_an_object_without_a_count_reports_nothing(framing: Framing, countless: dict[str, str]) -> None:
    only = as_stream(framing, response(usageMetadata=countless))
    assert every_way(framing, only).usage is None
    if framing is Framing.UNARY:
        return
    after = as_stream(framing, response(usageMetadata=USAGE), response(usageMetadata=countless))
    assert every_way(framing, after).usage == TRUE


@pytest.mark.parametrize("framing", [Framing.SSE, Framing.JSON_ARRAY])
def test_error_in_the_stream(framing: Framing) -> None:
    error = response(error={"code": 503, "message": "overloaded", "status": "UNAVAILABLE"})
    body = as_stream(framing, response(usageMetadata=USAGE), error)
    assert every_way(framing, body) == Found(usage=TRUE, error_seen=True)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("in_array", [True, False])
@pytest.mark.parametrize("before", [b"", b": comment\n", b'data: {"candidates":[]}\n', b"\n"])
def test_bare_json_in_an_event_stream(indent: int | None, in_array: bool, before: bytes) -> None:
    error: Any = {"error": {"code": 429, "message": "data: x\n\ndata: {}", "status": "RESOURCE_EXHAUSTED"}}
    bare = json.dumps([error] if in_array else error, indent=indent).encode()
    event = b"data: " + response(usageMetadata=USAGE) + b"\n\n"
    for body in (event + before + bare, before + bare + b"\n" + event, before + bare + b"\r\n\r\n" + event):
        assert every_way(Framing.SSE, body) == Found(usage=TRUE, error_seen=True), body
    cut = before + bare[: bare.index(b"429")]
    assert every_way(Framing.SSE, cut) == Found(error_seen=True)


def test_bare_json_and_events_broken_off_by_each_other() -> None:
    event = b"data: " + response(usageMetadata=USAGE) + b"\n"
    assert every_way(Framing.SSE, b'{"a":[\n' + event) == Found(usage=TRUE)
    assert every_way(Framing.SSE, b'data: {"a":[\n{"error":{}}\n' + event) == Found(
        usage=TRUE, error_seen=True
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_form_of_an_event_stream(end: bytes) -> None:
    lines = [
        b"\xef\xbb\xbfdata:" + response(modelVersion="first"),
        b"",
        b": a comment",
        b'data: {"usageMetadata":',
        b"event: message",
        b'data: {"totalTokenCount":',
        b"data",
        b"data:9",
        b"id: 1",
        b"data:}}",
        b"",
        b"",
        b'datum: {"modelVersion":"no"}',
        b' data: {"modelVersion":"no"}',
        b'x{"modelVersion":"no"}',
        b"dat",
        b"retry: 10",
        b"",
        b"data: [DONE]",
        b"",
        b"data: " + response(candidates=[{"finishReason": "STOP"}]),
        b"",
        b"",
    ]
    body = end.join(lines)
    assert every_way(Framing.SSE, body) == Found(Usage(total=9), "first", finished=True)


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"usageMetadata":{"totalTokenCount":1\ndata:2}}\n\n',  # 1, line feed, 2: no number
        b"data: {}\n\n\xef\xbb\xbfdata: " + response(usageMetadata=USAGE) + b"\n\n",  # no longer the start
        b"ddata: " + response(usageMetadata=USAGE) + b"\n\n",
    ],
)
def test_what_is_no_event(body: bytes) -> None:
    assert every_way(Framing.SSE, body) == Found()


def test_a_lone_cr_ends_a_line() -> None:
    body = b'data: {"modelVersion":"a"}\r: {"error":{}}\n\ndata: {"a":1,\r"error":{}}\n\n'
    assert every_way(Framing.SSE, body) == Found(model_version="a")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_number_ends_with_its_line(end: bytes) -> None:
    body = b'data: {"candidates":[{"finishReason":1' + end * 2
    assert every_way(Framing.SSE, body) == Found(finished=True)


@pytest.mark.parametrize("after", [b"", b"data: {}\r\n\r\n", b": a comment\r\n"])
def test_a_lone_cr_ends_a_line_among_others(after: bytes) -> None:
    body = b'data: {"modelVersion":"a",\r"error":{}}\r\n\r\n' + after
    assert every_way(Framing.SSE, body) == Found(model_version="a")


LONG = b" " * 5000
"""More than is waited for."""


@pytest.mark.parametrize(
    ("before", "data", "found"),
    [
        (b"data: " + LONG + b'{"modelVersion":"a",\r\n', b'"error":{}}', Found(None, "a", error_seen=True)),
        (b'{"modelVersion":"a",' + LONG + b"\r\n", b'"error":{}}', Found(None, "a")),
        (b": a comment" + LONG, b'{"error":{}}', Found()),
        (b": a comment" + LONG + b"\r\ndat", b'{"error":{}}', Found()),
    ],
)
@pytest.mark.parametrize("after", [b"", b": a comment\r\n"])
def test_what_looks_like_an_event_within_another_line_or_event(
    before: bytes, data: bytes, found: Found, after: bytes
) -> None:
    event = b"data: " + data + b"\r\n\r\n"
    assert read(Framing.SSE, [before, event + after]) == found
    assert read(Framing.SSE, [before + event + after]) == found


def test_last_event_without_its_blank_line_is_read() -> None:
    body = b"data: " + response(usageMetadata=USAGE, candidates=[{"finishReason": "STOP"}])
    assert every_way(Framing.SSE, body) == Found(usage=TRUE, finished=True)


@pytest.mark.parametrize("framing", [Framing.SSE, Framing.JSON_ARRAY])
def test_a_cut_anywhere_leaves_the_last_whole_object(framing: Framing) -> None:
    documents = [
        response(
            candidates=[{"content": {"parts": [{"text": FALSE}]}}],
            usageMetadata={"promptTokenCount": number, "totalTokenCount": number * 10},
            modelVersion="gemini",
        )
        for number in (1, 2, 3)
    ]
    body = as_stream(framing, *documents)
    ends = {}
    for number in (1, 2, 3):
        tail = b'"totalTokenCount": %d}' % (number * 10)
        ends[body.index(tail) + len(tail)] = Usage(prompt=number, total=number * 10)
    for cut in range(len(body) + 1):
        whole = [usage for end, usage in ends.items() if end <= cut]
        truly = whole[-1] if whole else None
        assert read(framing, [body[:cut]]).usage == truly, body[:cut]
        assert read(framing, by_byte(body[:cut])).usage == truly, body[:cut]


def test_a_cut_unary_body_leaves_what_was_whole() -> None:
    body = response(usageMetadata=USAGE, candidates=[{"finishReason": "STOP"}], modelVersion="gemini")
    end = body.index(b'"totalTokenCount": 9}') + len(b'"totalTokenCount": 9}')
    reason = body.index(b'"STOP"') + len(b'"STOP"')
    for cut in range(len(body) + 1):
        found = read(Framing.UNARY, [body[:cut]])
        assert (found.usage, found.finished) == (TRUE if cut >= end else None, cut >= reason), body[:cut]


@ANY_FRAMING
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP ", "", "identity"])
def test_encodings(framing: Framing, encoding: str) -> None:
    plain = as_stream(framing, response(usageMetadata=USAGE))
    body = {"gzip": gzip.compress(plain), "deflate": zlib.compress(plain)}.get(
        encoding.strip().lower(), plain
    )
    assert every_way(framing, body, encoding) == Found(usage=TRUE)


@ANY_FRAMING
def test_deflate_without_its_header_and_gzip_of_several_members(framing: Framing) -> None:
    plain = as_stream(framing, response(usageMetadata=USAGE))
    compressor = zlib.compressobj(wbits=-15)
    bare = compressor.compress(plain) + compressor.flush()
    assert every_way(framing, bare, "deflate") == Found(usage=TRUE)
    members = b"".join(gzip.compress(piece) for piece in cut_at(plain, [0, 10, 11, 30]))
    assert every_way(framing, members, "gzip") == Found(usage=TRUE)


@ANY_FRAMING
@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x"])
def test_unknown_encoding_means_unknown_usage(framing: Framing, encoding: str) -> None:
    assert every_way(framing, as_stream(framing, response(usageMetadata=USAGE)), encoding) == Found()


@ANY_FRAMING
def test_damaged_gzip_keeps_what_came_before(framing: Framing) -> None:
    compressor = zlib.compressobj(wbits=31)
    good = compressor.compress(as_stream(framing, response(usageMetadata=USAGE)))
    good += compressor.flush(zlib.Z_SYNC_FLUSH)
    for damage in (b"\xff" * 50, b"", b"\x03\x00wrong sum"):
        assert read(framing, [good, damage, b"more"], "gzip") == Found(usage=TRUE)
    assert read(framing, [b"not gzip at all"], "gzip") == Found()


@pytest.mark.parametrize("framing", [Framing.JSON_ARRAY, Framing.UNARY])
def test_what_is_no_json_is_not_trusted(framing: Framing) -> None:
    whole = response(usageMetadata=USAGE)
    later = response(usageMetadata={"totalTokenCount": 1})
    for body in (
        whole + b" , " + later,
        b"[" + whole + later + b"]",
        b"[" + whole + b": " + later + b"]",
        b"[" + whole + b", }" + later + b"]",
        whole[:-1] + b" 1 " + later,
        whole[:-1] + b', "a" "b"' + later,
        whole[:-1] + b", 1: " + later,
        b"[" + whole + b'"' + later + b"]",
    ):
        assert every_way(framing, body).usage == TRUE, body
    assert every_way(framing, b"<html><style>p {}</style>" + whole) == Found()


def test_a_piece_that_ends_as_a_response_of_an_array_begins() -> None:
    body = b'[[{"a":1}],' + response(usageMetadata=USAGE) + b"]"
    assert every_way(Framing.JSON_ARRAY, body).usage == TRUE


@ANY_FRAMING
def test_no_bytes_no_findings(framing: Framing) -> None:
    assert read(framing, []) == read(framing, [b""]) == read(framing, [b"", b""]) == Found()


@pytest.mark.parametrize("framing", [Framing.SSE, Framing.JSON_ARRAY])
def test_bytes_after_the_end_and_a_second_end_change_nothing(framing: Framing) -> None:
    both = as_stream(framing, response(usageMetadata=USAGE), response(usageMetadata={"totalTokenCount": 1}))
    first = both.index(b"}}") + 2
    reader = UsageReader(framing, "")
    reader.feed(both[:first])
    reader.end()
    reader.feed(both[first:])
    reader.end()
    assert reader.usage == TRUE
