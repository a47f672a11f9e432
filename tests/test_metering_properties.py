"""The usage reader on any document at any split: the decoder, the scanner and `json.loads` agree."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.exchange import Framing
from gateway.metering.document import read_document
from gateway.metering.findings import Findings
from gateway.metering.response import decode
from gateway.metering.scanner import Scanner
from tests.support.metering import Found, by_byte, by_event, cut_at, expected, found_in, read

at_any_pace = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine too

WANTED = [
    "usageMetadata",
    "promptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
    "modelVersion",
    "candidates",
    "finishReason",
    "promptFeedback",
    "blockReason",
    "error",
    "promptTokensDetails",
    "cacheTokensDetails",
    "candidatesTokensDetails",
    "toolUsePromptTokensDetails",
    "modality",
    "tokenCount",
    "trafficType",
    "serviceTier",
    "groundingMetadata",
    "webSearchQueries",
    "imageSearchQueries",
    "groundingChunks",
    "maps",
    "retrievedContext",
]

# JSON as text, not made from Python objects: keys given twice, escapes and white space are part of it.
space = st.sampled_from(["", "", "", " ", "\n", "\r\n", "\t  "])


@st.composite
def strings(draw: st.DrawFn, content: st.SearchStrategy[str]) -> str:
    spelling = draw(st.sampled_from(["plain", "plain", "ascii", "escapes"]))
    text = draw(content)
    if spelling == "escapes" and text.isascii():
        return '"' + "".join(f"\\u{ord(one):04x}" for one in text) + '"'
    return json.dumps(text, ensure_ascii=spelling == "ascii")


keys = strings(st.sampled_from(WANTED) | st.text(max_size=5))
texts = strings(
    st.sampled_from(
        ["", "STOP", "gemini", "gemini-2.5", '\\"}', "\\", "]}", "x" * 129, "é", "\u2028", "a\\b"]
    )
    | st.text(max_size=20)
) | st.just(r'"\ud83d"')
numbers = st.sampled_from(["0", "1", "12", "2147483647", "2147483648", "-1", "1.5", "2e3", "9" * 40])
scalars = st.one_of(texts, numbers, st.sampled_from(["null", "true", "false"]))


@st.composite
def members(draw: st.DrawFn, pairs: st.SearchStrategy[tuple[str, str]]) -> str:
    """An object of these pairs of key and value, either as it is spelled."""
    spaced = draw(st.lists(st.tuples(space, pairs, space, space, space), max_size=6))
    return (
        "{"
        + ",".join(f"{a}{key}{b}:{c}{value}{d}" for a, (key, value), b, c, d in spaced)
        + draw(space)
        + "}"
    )


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return members(st.tuples(keys, values))


@st.composite
def arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(st.tuples(space, values, space), max_size=4))
    return "[" + ",".join(f"{a}{value}{b}" for a, value, b in items) + draw(space) + "]"


def named(*names: str) -> st.SearchStrategy[str]:
    return strings(st.sampled_from(names))


any_json = st.recursive(scalars, lambda inner: objects(inner) | arrays(inner), max_leaves=12)
unwanted = st.tuples(strings(st.text(max_size=5)), any_json)
whole_numbers = st.sampled_from(["0", "1", "4", "12", "2147483647"])
members_of_enumerations = (
    strings(st.sampled_from(["TEXT", "AUDIO", "IMAGE", "ON_DEMAND", "flex", "A" * 33]))
    | whole_numbers
    | st.just("null")
    | texts
)
reasons = texts | whole_numbers | st.just("null")


def responses(other: st.SearchStrategy[str] = numbers | any_json) -> st.SearchStrategy[str]:
    """Response objects; `other` is what may stand instead of a value of the right type."""

    def record(*wanted: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[str]:
        return members(st.one_of(*wanted, unwanted, st.tuples(keys, other)))

    def value(right: st.SearchStrategy[str], *names: str) -> st.SearchStrategy[tuple[str, str]]:
        return st.tuples(named(*names), right | other)

    modality = record(value(members_of_enumerations, "modality"), value(whole_numbers, "tokenCount"))
    metadata = record(
        value(whole_numbers, *[name for name in WANTED if name.endswith("TokenCount")]),
        value(arrays(modality), *[name for name in WANTED if name.endswith("Details")]),
        value(members_of_enumerations, "trafficType", "serviceTier"),
    )
    chunk = record(value(st.just("{}") | any_json, "maps", "retrievedContext"))
    grounding = record(
        value(arrays(texts), "webSearchQueries", "imageSearchQueries"),
        value(arrays(chunk), "groundingChunks"),
    )
    candidate = record(value(reasons, "finishReason"), value(grounding, "groundingMetadata"))
    return record(
        value(metadata, "usageMetadata"),
        value(arrays(candidate | other), "candidates"),
        value(record(value(reasons, "blockReason")), "promptFeedback"),
        value(texts, "modelVersion"),
        value(any_json, "error"),
    )


documents = st.one_of(responses(), arrays(responses()), arrays(responses() | any_json), any_json)
splits = st.lists(st.integers(0, 2000) | st.integers(0, 20_000), max_size=8)


def scanned(pieces: list[bytes]) -> Found:
    findings = Findings()
    scanner = Scanner(findings)
    for piece in pieces:
        scanner.feed(piece)
    scanner.end()
    return found_in(findings)


def decoded(document: bytes) -> Found:
    findings = Findings()
    read_document(document, findings)
    return found_in(findings)


@at_any_pace
@given(documents, splits)
def test_decoder_scanner_and_json_agree_on_any_document(text: str, places: list[int]) -> None:
    body = text.encode()
    truly = expected([json.loads(text)])
    assert decoded(body) == truly
    assert scanned(by_byte(body)) == truly
    assert scanned(cut_at(body, places)) == truly
    for framing in (Framing.UNARY, Framing.JSON_ARRAY):
        assert read(framing, cut_at(body, places)) == truly


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    body = bytearray(draw(documents).encode())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        new = draw(
            st.sampled_from([b"", b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b" ", b"1", b"\xff"])
        )
        body[at : at + draw(st.integers(0, 2))] = new
    return bytes(body)


@at_any_pace
@given(damaged() | st.binary(max_size=200), splits)
def test_decoder_and_scanner_agree_on_damaged_documents(body: bytes, places: list[int]) -> None:
    """Where the decoder takes a document the scanner sees the same in it; else it decides, at any split."""
    truly = scanned(by_byte(body))
    assert decoded(body) == truly
    assert scanned([body]) == truly
    assert scanned(cut_at(body, places)) == truly


@at_any_pace
@given(responses(st.nothing()) | arrays(responses(st.nothing())))
def test_what_is_well_typed_takes_the_short_way(text: str) -> None:
    """So that agreement is a property of two ways, not of the scanner with itself."""
    body = text.encode()
    if r"\ud83d" not in text:  # half a character: JSON, yet no text
        assert decode(body) is not None
    assert decoded(body) == scanned(by_byte(body)) == expected([json.loads(text)])


@st.composite
def event_streams(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """A stream, of a few bytes or of some ten thousand, and the texts of the documents in it."""
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    noise = st.lists(
        st.sampled_from([": comment", "event: message", "id: {}", "retry: 10", "data", "x"]), max_size=2
    )
    lines: list[str] = []
    texts = draw(st.lists(documents, max_size=5))
    for text in texts:
        bare = text[0] in "{[" and draw(st.booleans()) and draw(st.booleans())
        parts = text.replace("\r\n", "\n").split("\n") if draw(st.booleans()) else [text.translate(SPACES)]
        if bare:
            lines += ["", text.translate(SPACES), ""]
            continue
        parts[0] = " " * draw(st.sampled_from([0, 0, 300, 1200, 5000])) + parts[0]
        for part in parts:
            lines += [draw(st.sampled_from(["data:", "data: ", "data: "])) + part, *draw(noise)]
        lines += [""] * draw(st.integers(1, 2))
    bom = draw(st.sampled_from(["", "\ufeff"]))
    return (bom + end.join(lines) + end * draw(st.integers(0, 2))).encode(), texts


SPACES = str.maketrans("\r\n", "  ")


@at_any_pace
@given(event_streams(), splits)
def test_any_event_stream_at_any_split(stream: tuple[bytes, list[str]], places: list[int]) -> None:
    body, texts = stream
    truly = expected(json.loads(text) for text in texts)
    assert read(Framing.SSE, [body]) == truly
    assert read(Framing.SSE, by_byte(body)) == truly
    assert read(Framing.SSE, by_event(body)) == truly
    assert read(Framing.SSE, cut_at(body, places)) == truly


@at_any_pace
@given(
    st.lists(st.tuples(damaged() | documents.map(str.encode), st.integers(0, 2000)), max_size=30),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    splits,
    st.integers(0, 20_000),
)
def test_many_events_are_read_as_one_by_one(
    events: list[tuple[bytes, int]], end: bytes, places: list[int], cut: int
) -> None:
    """`read` compares; in whatever state the stream breaks off."""
    body = b"".join(b"data: " + b" " * spaces + document + end * 2 for document, spaces in events)
    for whole in (body, body[:cut]):
        truly = read(Framing.SSE, [whole])
        assert read(Framing.SSE, by_event(whole)) == truly
        assert read(Framing.SSE, cut_at(whole, places)) == truly


@at_any_pace
@given(damaged() | st.binary(max_size=200), splits, st.sampled_from(list(Framing)))
def test_no_bytes_make_it_raise(body: bytes, places: list[int], framing: Framing) -> None:
    for encoding in ("", "gzip", "deflate", "br"):
        read(framing, cut_at(body, places), encoding)
    for end in (b"\r\n\r\n", b"\n\n", b"\r\r", b"\r\n\n"):
        stream = b"data: " + body + end + body
        truly = read(framing, by_byte(stream))
        assert read(framing, [stream]) == truly
        assert read(framing, cut_at(stream, places)) == truly
