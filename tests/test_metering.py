"""The usage reader on documents made to mislead it, and on every form of stream."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from gateway.exchange import Framing, Usage
from gateway.metering import UsageReader
from tests.support.metering import Found, by_byte, cut_at, read

USAGE = {"promptTokenCount": 7, "candidatesTokenCount": 2, "totalTokenCount": 9}
TRUE = Usage(prompt=7, candidates=2, total=9)
FALSE = '"usageMetadata":{"totalTokenCount":0},"finishReason":"STOP","error":{},"modelVersion":"x"'


def response(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def as_stream(framing: Framing, *documents: bytes) -> bytes:
    if framing is Framing.SSE:
        return b"".join(b"data: %b\r\n\r\n" % document for document in documents)
    if framing is Framing.JSON_ARRAY:
        return b"[" + b"\n,\r\n".join(documents) + b"]"
    (document,) = documents
    return document


def every_way(framing: Framing, body: bytes, encoding: str = "") -> Found:
    """What is found at any split, which must be the same."""
    found = read(framing, [body], encoding)
    assert read(framing, by_byte(body), encoding) == found
    for size in (2, 3, 5, 17):
        assert read(framing, cut_at(body, range(0, len(body), size)), encoding) == found, size
    for at in range(0, len(body), max(1, len(body) // 200)):
        assert read(framing, [body[:at], body[at:]], encoding) == found, at
    return found


@pytest.fixture(params=list(Framing), ids=str)
def framing(request: pytest.FixtureRequest) -> Framing:
    assert isinstance(request.param, Framing)
    return request.param


@pytest.mark.parametrize(
    "part",
    [
        {"text": FALSE},
        {"text": "{" + FALSE + "}"},
        {"text": '"}]}}],' + FALSE + "}"},
        {"text": "\\" + '"}]}}],' + FALSE + "}"},
        {"text": "\\\\" + '"}]}}],' + FALSE + "}"},
        {"text": "ends in \\", "thought": "{" + FALSE},
        {"text": "]}}]}\n\ndata: {" + FALSE + "}\n\n"},
        {"functionCall": {"name": "f", "args": json.loads("{" + FALSE + "}")}},
        {"functionCall": {"name": "f", "args": {"a": [{"b": [json.loads("{" + FALSE + "}")]}]}}},
        {"functionCall": {"name": "f", "args": {"candidates": [json.loads("{" + FALSE + "}")]}}},
        {"functionCall": {"name": "f", "args": {"usageMetadata": {"usageMetadata": {"totalTokenCount": 0}}}}},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
    ],
    ids=lambda part: json.dumps(part)[:60],
)
@pytest.mark.parametrize("usage_first", [True, False])
def test_not_fooled_by_what_a_model_writes(framing: Framing, part: dict[str, Any], usage_first: bool) -> None:
    candidates = [{"content": {"parts": [part], "role": "model"}, "index": 0}]
    fields = {"usageMetadata": USAGE, "candidates": candidates}
    if not usage_first:
        fields = {"candidates": candidates, "usageMetadata": USAGE}
    assert every_way(framing, as_stream(framing, response(**fields))) == Found(usage=TRUE)


@pytest.mark.parametrize(
    "wrapped",
    [
        {"response": {"usageMetadata": {"totalTokenCount": 1}, "error": {}}},
        {"usageMetadata": [{"totalTokenCount": 1}]},
        {"usageMetadata": "usageMetadata"},
        {"usageMetadata": None},
        {"usagemetadata": {"totalTokenCount": 1}},
        {
            "candidates": [
                {"usageMetadata": {"totalTokenCount": 1}},
                [{"finishReason": "STOP"}],
                "finishReason",
            ]
        },
        {"candidates": {"finishReason": "STOP"}},
        {"candidates": [{"content": {"finishReason": "STOP"}}, {"finishReason": None}, {"finishReason": ""}]},
        {"candidates": [{"finishReason": 0}, {"finishReason": True}, {"finishReason": {"a": 1}}]},
        {"promptFeedback": {"safetyRatings": [{"blockReason": "SAFETY"}], "blockReason": None}},
        {"promptFeedback": "blockReason", "finishReason": "STOP", "blockReason": "SAFETY"},
        {"error": None},
        {"error": "a string"},
        {"error": [{"code": 500}]},
        {"modelVersion": {"modelVersion": "x"}},
        {"modelVersion": "x" * 129},
        {"modelVersion": "x\n"},
        {"modelVersion": "gemini-\u202e2"},
        {"": {"usageMetadata": {"totalTokenCount": 1}}},
    ],
    ids=lambda wrapped: json.dumps(wrapped)[:60],
)
def test_only_the_response_objects_own_keys_count(framing: Framing, wrapped: dict[str, Any]) -> None:
    assert every_way(framing, as_stream(framing, response(**wrapped))) == Found()


def test_everything_is_found(framing: Framing) -> None:
    metadata = {
        "promptTokenCount": 1,
        "cachedContentTokenCount": 2,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 4,
        "toolUsePromptTokenCount": 5,
        "totalTokenCount": 6,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 99, "totalTokenCount": 98}],
        "trafficType": "ON_DEMAND",
    }
    body = response(
        candidates=[{"finishReason": "STOP", "index": 0}],
        usageMetadata=metadata,
        modelVersion="gemini-2.5-flash",
        responseId="abc",
    )
    usage = Usage(prompt=1, cached=2, candidates=3, thoughts=4, tool_use_prompt=5, total=6)
    assert every_way(framing, as_stream(framing, body)) == Found(usage, "gemini-2.5-flash", finished=True)


def test_keys_may_be_spelled_with_escapes(framing: Framing) -> None:
    body = (
        rb'{"\u0075sageMetadata":{"totalToken\u0043ount":9},"model\u0056ersion":"models\/\u0067 \"\\\u0041"}'
    )
    assert every_way(framing, as_stream(framing, body)) == Found(Usage(total=9), 'models/g "\\A')


@pytest.mark.parametrize("reason", ["STOP", "MAX_TOKENS", 1, 12])
def test_ends_are_told_by_name_or_by_number(framing: Framing, reason: str | int) -> None:
    candidates = [{"index": 0}, {"finishReason": reason}, {"index": 2}]
    assert every_way(framing, as_stream(framing, response(candidates=candidates))).finished
    blocked = response(promptFeedback={"blockReason": reason})
    assert every_way(framing, as_stream(framing, blocked)).finished


@pytest.mark.parametrize(
    ("spelled", "counted"),
    [
        ("5", 5),
        ("9007199254740992", 2**53),
        ("9007199254740993", 0),
        ("1" * 5000, 0),
        ("1e400", 0),
        ("-5", 0),
        ("5.5", 0),
        ('"5"', 0),
        ("null", 0),
        ("true", 0),
        ("[5]", 0),
        ('{"totalTokenCount":5}', 0),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_count_that_is_none_costs_no_other(framing: Framing, spelled: str, counted: int) -> None:
    body = b'{"usageMetadata":{"promptTokenCount":3,"totalTokenCount":%b,"thoughtsTokenCount":4}}'
    body = body % spelled.encode()
    usage = Usage(prompt=3, thoughts=4, total=counted)
    assert every_way(framing, as_stream(framing, body)).usage == usage


@pytest.mark.parametrize("framing", [Framing.SSE, Framing.JSON_ARRAY])
def test_the_last_object_wins_and_nothing_is_merged(framing: Framing) -> None:
    first = response(usageMetadata={"promptTokenCount": 100, "totalTokenCount": 102}, modelVersion="a")
    last = response(usageMetadata={"candidatesTokenCount": 5, "totalTokenCount": 9}, modelVersion="b")
    silent = response(candidates=[{"index": 0}])
    body = as_stream(framing, first, last, silent)
    assert every_way(framing, body) == Found(Usage(candidates=5, total=9), "b")


def test_an_empty_object_is_a_report_of_zeros(framing: Framing) -> None:
    assert every_way(framing, as_stream(framing, response(usageMetadata={}))).usage == Usage()


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


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP ", "", "identity"])
def test_encodings(framing: Framing, encoding: str) -> None:
    plain = as_stream(framing, response(usageMetadata=USAGE))
    body = {"gzip": gzip.compress(plain), "deflate": zlib.compress(plain)}.get(
        encoding.strip().lower(), plain
    )
    assert every_way(framing, body, encoding) == Found(usage=TRUE)


def test_deflate_without_its_header_and_gzip_of_several_members(framing: Framing) -> None:
    plain = as_stream(framing, response(usageMetadata=USAGE))
    compressor = zlib.compressobj(wbits=-15)
    bare = compressor.compress(plain) + compressor.flush()
    assert every_way(framing, bare, "deflate") == Found(usage=TRUE)
    members = b"".join(gzip.compress(piece) for piece in cut_at(plain, [0, 10, 11, 30]))
    assert every_way(framing, members, "gzip") == Found(usage=TRUE)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x"])
def test_unknown_encoding_means_unknown_usage(framing: Framing, encoding: str) -> None:
    assert every_way(framing, as_stream(framing, response(usageMetadata=USAGE)), encoding) == Found()


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


def test_no_bytes_no_findings(framing: Framing) -> None:
    assert read(framing, []) == read(framing, [b""]) == read(framing, [b"", b""]) == Found()


def test_bytes_after_the_end_and_a_second_end_change_nothing() -> None:
    reader = UsageReader(Framing.JSON_ARRAY, "")
    reader.feed(b"[" + response(usageMetadata=USAGE))
    reader.end()
    reader.feed(b"," + response(usageMetadata={"totalTokenCount": 1}))
    reader.end()
    assert reader.usage == TRUE
