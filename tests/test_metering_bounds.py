"""The usage reader keeps little of a body, however large, deep or misleadingly compressed it is."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import repeat
from string import ascii_letters
from threading import Thread

import pytest

from gateway.exchange import Framing
from gateway.metering import UsageReader
from gateway.metering.document import WHOLE_BYTES
from gateway.token_usage import NO_DETAILS, Usage
from tests.support.machine import PROJECT
from tests.support.metering import Found, by_byte, cut_at, read

TAIL = b'"usageMetadata":{"promptTokenCount":3,"totalTokenCount":9}}'
PIECE = 64 * 1024
KEPT = 80 * 1024
"""The most between two calls: of one document 64 KiB, and the reader itself."""
OPEN = 9 * 1024
"""The most that a stream of small events holds, its last report included."""
PEAK = 512 * 1024
"""The most at any time: that, and passing copies of one piece."""
OURS = [tracemalloc.Filter(True, f"{PROJECT}/gateway/*"), tracemalloc.Filter(True, __file__)]
DECODED = 16
"""The most, times its length, that a document of up to 64 KiB takes for a moment while it is decoded."""


def around(framing: Framing) -> tuple[bytes, bytes]:
    return {
        Framing.SSE: (b"data: ", b"\n\n"),
        Framing.JSON_ARRAY: (b"[", b"]"),
        Framing.UNARY: (b"", b""),
    }[framing]


def assert_held(most: int) -> None:
    """Less is held by now of what the gateway and its test have allocated.

    All that is traced is the process's, of threads of the test runner, too: it's told apart where it matters.
    """
    if tracemalloc.get_traced_memory()[0] >= most:
        ours = tracemalloc.take_snapshot().filter_traces(OURS)
        assert sum(trace.size for trace in ours.traces) < most


def test_what_other_threads_hold_is_left_out() -> None:
    content = bytes(2 * OPEN)
    kept = BytesIO()
    tracemalloc.start()
    try:
        other = Thread(target=kept.write, args=(content,))
        other.start()
        other.join()
        assert tracemalloc.get_traced_memory()[0] > OPEN
        assert_held(OPEN)
        ours = bytes(OPEN)
        with pytest.raises(AssertionError):
            assert_held(len(ours))
    finally:
        tracemalloc.stop()


def assert_little_memory(reader: UsageReader, pieces: Iterable[bytes]) -> None:
    """Feeds the pieces, which are made before or shared, and watches what is allocated."""
    tracemalloc.start()
    try:
        for piece in pieces:
            reader.feed(piece)
            assert_held(KEPT)
        reader.end()
        assert tracemalloc.get_traced_memory()[1] < PEAK
    finally:
        tracemalloc.stop()


def filled(framing: Framing, start: bytes, filling: bytes, times: int, end: bytes) -> Iterator[bytes]:
    """One response object, mostly filling."""
    before, after = around(framing)
    yield before + start
    yield from repeat(filling, times)
    yield end + after


@pytest.mark.parametrize("framing", [Framing.SSE, Framing.JSON_ARRAY])
@pytest.mark.parametrize(
    ("start", "unit", "end"),
    [
        pytest.param(b'{"a":"', b"QUJD", b'",', id="string"),
        pytest.param(b'{"', b"QUJD", b'":1,', id="key"),
        pytest.param(b'{"modelVersion":"', b"QUJD", b'",', id="modelVersion"),
        pytest.param(b'{"a":', b"1", b",", id="number"),
        pytest.param(b'{"a":[', b'{"b":"c"},', b"1],", id="objects"),
        pytest.param(b"{", b" ", b"", id="white space"),
        pytest.param(b"{", b'"modelVersion":"a",', b"", id="one key again and again"),
        pytest.param(b'{"usageMetadata":{"a":[', b'"totalTokenCount",', b"1]},", id="details"),
        pytest.param(b'{"candidates":[', b'{"finishReason":"STOP"},', b"{}],", id="candidates"),
        pytest.param(b'{"usageMetadata":{"promptTokensDetails":[', b"{},", b"{}]},", id="modalities"),
        pytest.param(
            b'{"usageMetadata":{"promptTokensDetails":[{"modality":"', b"QUJD", b'"}]},', id="modality"
        ),
        pytest.param(
            b'{"candidates":[{"groundingMetadata":{"groundingChunks":[',
            b'{"web":{"uri":"https://example.com/"}},',
            b"{}]}}],",
            id="grounding",
        ),
        pytest.param(
            b'{"candidates":[{"groundingMetadata":{"webSearchQueries":[',
            b'"a query",',
            b'""]}}],',
            id="queries",
        ),
        pytest.param(b'{"a":"', rb"\"\\\u0041", b'",', id="escapes"),
    ],
)
def test_memory_for_one_large_response(framing: Framing, start: bytes, unit: bytes, end: bytes) -> None:
    filling = unit * (PIECE // len(unit))
    reader = UsageReader(framing, "")
    pieces = filled(framing, start, filling, 10, end + TAIL)
    assert_little_memory(reader, pieces)
    assert reader.usage == Usage(prompt=3, total=9)


@pytest.mark.parametrize(
    "start",
    [
        b'{"candidates":[',
        b'{"candidates":[{"groundingMetadata":{"groundingChunks":[',
        b'{"usageMetadata":{"promptTokensDetails":[',
    ],
)
def test_memory_for_a_document_of_many_parts_that_is_decoded_whole(start: bytes) -> None:
    closing = bytes(reversed(start.translate(bytes.maketrans(b"{[", b"}]"), b'":' + ascii_letters.encode())))
    document = start + b"{}," * 20_000 + b"{}" + closing
    json.loads(document)
    assert len(document) < WHOLE_BYTES
    reader = UsageReader(Framing.UNARY, "")
    tracemalloc.start()
    try:
        reader.feed(document)
        reader.end()
        assert (reader.usage, reader.details) == (None, NO_DETAILS)
        assert tracemalloc.get_traced_memory()[1] < DECODED * len(document)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("framing", list(Framing))
def test_memory_for_fifty_megabytes_in_one_event_and_one_call(framing: Framing) -> None:
    before, after = around(framing)
    body = before + b'{"candidates":[{"a":"' + b"QUJD" * 12_500_000 + b'"}],' + TAIL + after
    reader = UsageReader(framing, "")
    assert_little_memory(reader, [body])
    assert reader.usage == Usage(prompt=3, total=9)


@pytest.mark.parametrize(
    "unit",
    [b"data: 12345678\n", b": a comment\n", b"x", b"{              \n", b"data: {}\n\r", b": comment "],
)
def test_memory_for_a_long_event_stream(unit: bytes) -> None:
    reader = UsageReader(Framing.SSE, "")
    assert_little_memory(reader, repeat(unit * (PIECE // len(unit)), 10))


@pytest.mark.parametrize("size", [2, 100, 400])
def test_an_open_stream_holds_little_however_small_its_pieces(size: int) -> None:
    event = b'data: {"candidates":[{"content":{"parts":[{"text":"' + b"word " * 50 + b'"}]}}],'
    event += (
        b'"usageMetadata":{"promptTokenCount":3,"promptTokensDetails":[{"modality":"TEXT","tokenCount":3}]}}'
    )
    event += b"\r\n\r\n"
    body = memoryview(event * 200)
    reader = UsageReader(Framing.SSE, "")
    tracemalloc.start()
    try:
        for start in range(0, len(body), size):
            reader.feed(bytes(body[start : start + size]))
            assert_held(OPEN)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [100_000, 10_000])
def test_memory_for_a_gzip_bomb(size: int) -> None:
    compressor = zlib.compressobj(wbits=31)
    bomb = compressor.compress(b'[{"a":"')
    for filling in repeat(bytes(PIECE), 800):
        bomb += compressor.compress(filling)
    bomb += compressor.compress(b'",' + TAIL + b"]") + compressor.flush()
    assert len(bomb) < PIECE  # of 50 MB
    reader = UsageReader(Framing.JSON_ARRAY, "gzip")
    assert_little_memory(reader, cut_at(bomb, range(0, len(bomb), size)))
    assert reader.usage == Usage(prompt=3, total=9)


def test_nothing_inflated_stays_behind_at_the_bound_of_a_piece() -> None:
    """Cut within a long match, zlib has read all of its input and still has something to say."""
    report = b'{"usageMetadata":{"totalTokenCount":%d}},'
    for before in range(PIECE - 120, PIECE, 2):
        plain = b"[" + b" " * before + b"".join(report % number for number in (1, 2, 1, 2, 1, 2))
        compressor = zlib.compressobj(wbits=31)
        body = compressor.compress(plain) + compressor.flush()
        for cut in range(len(body) - 30, len(body)):
            inflated = zlib.decompressobj(31).decompress(body[:cut])
            truly = read(Framing.JSON_ARRAY, [inflated])
            assert read(Framing.JSON_ARRAY, [body[:cut]], "gzip") == truly, (before, cut)
            assert read(Framing.JSON_ARRAY, [body[:12], body[12:cut]], "gzip") == truly, (before, cut)


@pytest.mark.parametrize("framing", list(Framing))
@pytest.mark.parametrize("opening", [b'{"a":', b"["])
def test_depth_costs_neither_recursion_nor_memory(framing: Framing, opening: bytes) -> None:
    levels = 100_000
    closing = b"}" if opening == b'{"a":' else b"]"
    deep = b'{"candidates":[{"finishReason":"STOP","content":' + opening * levels + b"1" + closing * levels
    before, after = around(framing)
    body = before + deep + b"}]," + TAIL + after
    reader = UsageReader(framing, "")
    assert_little_memory(reader, [body])
    assert (reader.usage, reader.finished) == (Usage(prompt=3, total=9), True)


@pytest.mark.parametrize("framing", list(Framing))
@pytest.mark.parametrize("levels", [10, 900, 1000, 1100, 5000])
def test_depth_about_the_limit_of_recursion(framing: Framing, levels: int) -> None:
    before, after = around(framing)
    body = before + b'{"a":' + b"[" * levels + b"]" * levels + b"," + TAIL + after
    assert read(framing, [body]) == read(framing, by_byte(body)) == Found(Usage(prompt=3, total=9))


def test_events_after_a_large_one_are_read_by_themselves() -> None:
    large = b'data: {"a":"' + b"QUJD" * 50_000 + b'","modelVersion":"large"}\n\n'
    small = b"data: {" + TAIL + b"\n\n"
    for body in (large + small, small + large, large + small + large):
        found = Found(Usage(prompt=3, total=9), "large")
        assert read(Framing.SSE, [body]) == found
        assert read(Framing.SSE, cut_at(body, range(0, len(body), 1000))) == found
    assert read(Framing.SSE, [large + small[:-10]]) == Found(model_version="large")
