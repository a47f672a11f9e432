"""What a usage reader must find, computed from whole JSON values; and ways to feed it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import pytest

from gateway.exchange import Framing, Usage
from gateway.metering import UsageReader
from gateway.metering.array import ResponseArray
from gateway.metering.document import Document
from gateway.metering.events import EventStream
from gateway.metering.findings import Findings
from gateway.metering.lines import EventLines
from gateway.metering.scanner import Scanner

_COUNTS = {
    "prompt": "promptTokenCount",
    "cached": "cachedContentTokenCount",
    "candidates": "candidatesTokenCount",
    "thoughts": "thoughtsTokenCount",
    "tool_use_prompt": "toolUsePromptTokenCount",
    "total": "totalTokenCount",
}


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
    found = Found(reader.usage, reader.model_version, reader.finished, reader.error_seen)
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
    return Found(findings.usage, findings.model_version, findings.finished, findings.error_seen)


class _Body(Protocol):
    def feed(self, piece: bytes) -> None: ...

    def end(self) -> None: ...


class _ExactLines(EventLines):
    """With what the stream's beginning may have before its first line taken away."""

    __slots__ = ("_beginning",)

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
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
            super().feed(piece)


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
    counts = {}
    for name, key in _COUNTS.items():
        value = metadata.get(key, 0)
        counts[name] = value if type(value) is int and 0 <= value <= 2**53 else 0
    return Usage(**counts)


def expected(documents: Iterable[Any]) -> Found:
    """What whole documents (`json.loads` of each) say: objects, or arrays of them."""
    usage, version, finished, error_seen = None, "", False, False
    for document in documents:
        for response in document if isinstance(document, list) else [document]:
            if not isinstance(response, dict):
                continue
            metadata = response.get("usageMetadata")
            if isinstance(metadata, dict) and set(_COUNTS.values()) & metadata.keys():  # a report has a count
                usage = usage_of(metadata)
            if _is_name(response.get("modelVersion")):
                version = response["modelVersion"]
            candidates = response.get("candidates")
            for candidate in candidates if isinstance(candidates, list) else []:
                finished |= isinstance(candidate, dict) and _is_reason(candidate.get("finishReason"))
            feedback = response.get("promptFeedback")
            finished |= isinstance(feedback, dict) and _is_reason(feedback.get("blockReason"))
            error_seen |= isinstance(response.get("error"), dict)
    return Found(usage, version, finished, error_seen)


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
