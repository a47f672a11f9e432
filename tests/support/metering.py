"""What a usage reader must find, computed from whole JSON values; and ways to feed it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import pytest

from gateway.exchange import Framing
from gateway.metering import UsageReader
from gateway.metering.array import ResponseArray
from gateway.metering.document import Document
from gateway.metering.events import EventStream
from gateway.metering.findings import Findings
from gateway.metering.lines import EventLines
from gateway.metering.report import read_details, read_usage
from gateway.metering.scanner import Scanner
from gateway.token_usage import NO_DETAILS, Usage, UsageDetails

_COUNTS = {
    "prompt": "promptTokenCount",
    "cached": "cachedContentTokenCount",
    "candidates": "candidatesTokenCount",
    "thoughts": "thoughtsTokenCount",
    "tool_use_prompt": "toolUsePromptTokenCount",
    "total": "totalTokenCount",
}
_DETAILS = {
    "prompt": "promptTokensDetails",
    "cached": "cacheTokensDetails",
    "candidates": "candidatesTokensDetails",
    "tool_use_prompt": "toolUsePromptTokensDetails",
}
_MODALITIES = ["", "TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT"]
_TRAFFIC_TYPES = ["", "ON_DEMAND", "PROVISIONED_THROUGHPUT", "ON_DEMAND_PRIORITY", "ON_DEMAND_FLEX"]

ANY_FRAMING = pytest.mark.parametrize("framing", list(Framing))
USAGE = {"promptTokenCount": 7, "candidatesTokenCount": 2, "totalTokenCount": 9}
TRUE = Usage(prompt=7, candidates=2, total=9)
"""What `USAGE` means."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a reader knows at the end of a body."""

    usage: Usage | None = None
    model_version: str = ""
    finished: bool = False
    error_seen: bool = False
    details: UsageDetails = NO_DETAILS


def read(framing: Framing, pieces: Iterable[bytes], encoding: str = "") -> Found:
    """What the gateway's reader finds in these pieces.

    It gathers small pieces and reads what it can at once. What it does with each piece as it comes, and with
    forms that are rare, must come to the same.
    """
    pieces = list(pieces)
    reader = UsageReader(framing, encoding)
    for piece in pieces:
        reader.feed(piece)
    reader.end()
    found = Found(reader.usage, reader.model_version, reader.finished, reader.error_seen, reader.details)
    if not encoding:
        for way in _WAYS[framing]:
            assert read_as(way, pieces) == found, (way, pieces)
    return found


def read_as(way: Callable[[Findings], _Body], pieces: Iterable[bytes]) -> Found:
    """What one of the reader's parts finds in these pieces."""
    findings = Findings()
    body = way(findings)
    for piece in pieces:
        body.feed(piece)
    body.end()
    return found_in(findings)


def found_in(findings: Findings) -> Found:
    return Found(
        read_usage(findings),
        findings.model_version,
        findings.finished,
        findings.error_seen,
        read_details(findings),
    )


class _Body(Protocol):
    def feed(self, piece: bytes) -> None: ...

    def end(self) -> None: ...


class _ExactLines:
    """With what the stream's beginning may have before its first line taken away."""

    def __init__(self, findings: Findings) -> None:
        self._lines = EventLines(findings)
        self._beginning: bytes | None = b""

    def feed(self, piece: bytes) -> None:
        if self._beginning is not None:
            piece = self._beginning + piece
            if len(piece) < len(_BOM) and _BOM.startswith(piece):
                self._beginning = piece
                return
            self._beginning = None
            piece = piece.removeprefix(_BOM)
        if piece:
            self._lines.feed(piece)

    def end(self) -> None:
        self._lines.end()


_BOM = b"\xef\xbb\xbf"
_WAYS: dict[Framing, list[Callable[[Findings], _Body]]] = {
    Framing.SSE: [EventStream, _ExactLines],
    Framing.JSON_ARRAY: [ResponseArray, Scanner],
    Framing.UNARY: [Document, Scanner],
}


def cut_at(body: bytes, places: Iterable[int]) -> list[bytes]:
    """The body in pieces, cut at these places (some of which may fall together)."""
    edges = [0, *sorted(min(place, len(body)) for place in places), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


def by_byte(body: bytes) -> list[bytes]:
    """The body one byte at a time."""
    return [body[at : at + 1] for at in range(len(body))]


def by_event(body: bytes) -> list[bytes]:
    """An event stream in pieces that end with an event."""
    return re.findall(rb"(?s).+?(?:\r\n\r\n|\n\n|\r\r|\Z)", body)


def usage_of(metadata: dict[str, Any]) -> Usage:
    """The counts of a `usageMetadata` object; what is no whole number in range counts as 0."""
    return Usage(**{name: _count(metadata.get(key)) for name, key in _COUNTS.items()})


def details_of(metadata: dict[str, Any], features: Iterable[str] = ()) -> UsageDetails:
    """What else the object says, and these features."""
    modalities = {}
    for kind, key in _DETAILS.items():
        details = metadata.get(key)
        entries = [entry for entry in details if isinstance(entry, dict)] if isinstance(details, list) else []
        counts: Counter[str] = Counter()
        for entry in entries[:8]:
            counts[_member(entry.get("modality"), _MODALITIES)] += _count(entry.get("tokenCount"))
        if named := {name: counts[name] for name in counts if name}:
            modalities[kind] = named
    return UsageDetails(
        modalities,
        _member(metadata.get("trafficType"), _TRAFFIC_TYPES),
        _member(metadata.get("serviceTier"), []),
        tuple(sorted(features)),
    )


def features_of(candidate: dict[str, Any]) -> set[str]:
    """What of a candidate costs more than its tokens."""
    grounding = candidate.get("groundingMetadata")
    if not isinstance(grounding, dict):
        return set()
    features = set()
    if _is_filled(grounding.get("webSearchQueries")) or _is_filled(grounding.get("imageSearchQueries")):
        features.add("google_search")
    chunks = grounding.get("groundingChunks")
    for chunk in chunks if isinstance(chunks, list) else []:
        if isinstance(chunk, dict) and isinstance(chunk.get("maps"), dict):
            features.add("google_maps")
        if isinstance(chunk, dict) and isinstance(chunk.get("retrievedContext"), dict):
            features.add("retrieval")
    return features


def expected(documents: Iterable[Any]) -> Found:
    """What whole documents (`json.loads` of each) say: objects, or arrays of them."""
    metadata, version, finished, error_seen = None, "", False, False
    features: set[str] = set()
    for document in documents:
        for response in document if isinstance(document, list) else [document]:
            if not isinstance(response, dict):
                continue
            report = response.get("usageMetadata")
            if isinstance(report, dict) and set(_COUNTS.values()) & report.keys():  # a report has a count
                metadata = report
            if _is_name(response.get("modelVersion")):
                version = response["modelVersion"]
            candidates = response.get("candidates")
            for candidate in candidates if isinstance(candidates, list) else []:
                if isinstance(candidate, dict):
                    finished |= _is_reason(candidate.get("finishReason"))
                    features |= features_of(candidate)
            feedback = response.get("promptFeedback")
            finished |= isinstance(feedback, dict) and _is_reason(feedback.get("blockReason"))
            error_seen |= isinstance(response.get("error"), dict)
    usage = None if metadata is None else usage_of(metadata)
    return Found(usage, version, finished, error_seen, details_of(metadata or {}, features))


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value < 2**31 else 0


def _member(value: object, names: list[str]) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,31}", value):
        return value
    return names[value] if type(value) is int and 0 <= value < len(names) else ""


def _is_filled(value: object) -> bool:
    return isinstance(value, list) and value != []


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 128 and all(" " <= one <= "~" for one in value)


def _is_reason(value: object) -> bool:
    return (isinstance(value, str) and value != "") or (type(value) is int and value >= 1)


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
