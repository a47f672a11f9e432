"""Finds the JSON documents in a stream of server-sent events line by line: the exact way, however it is cut.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream. Beyond it,
JSON that stands bare between the events, on one line or more, is a document too: so Google may send errors.
"""

from __future__ import annotations

from enum import Enum, auto

from gateway.metering.document import Document
from gateway.metering.findings import Findings

_DATA = b"data:"


class _Line(Enum):
    """What the line under way is."""

    UNKNOWN = auto()
    """None has begun, or it is too short yet to tell."""
    DATA = auto()
    BARE = auto()
    OTHER = auto()


class EventLines:
    """Takes the pieces of the stream. JSON minds neither the space after `data:` nor an LF after a line."""

    __slots__ = ("_after_cr", "_bare", "_document", "_line", "_open", "_start")

    def __init__(self, findings: Findings) -> None:
        self._document = Document(findings)
        self._open = False
        """An event has data already, or a bare document has begun."""
        self._bare = False
        """What is open is a bare document."""
        self._line = _Line.UNKNOWN
        self._start = b""
        """Of the line under way, as long as it is unknown."""
        self._after_cr = False
        """The last piece ended with CR: an LF that follows belongs to it."""

    @property
    def within(self) -> bool:
        """An event, a document or a line is under way: what comes next can't be read by itself.

        But for an LF that belongs to a CR before: by itself it is an empty line, which changes nothing then.
        """
        return self._open or self._start != b"" or self._line is not _Line.UNKNOWN

    def feed(self, piece: bytes) -> None:
        """Take the next piece, not empty, cut anywhere."""
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        self._after_cr = piece.endswith(b"\r")
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        at = 0
        while at < len(piece):
            end = piece.find(b"\n", at)
            if end < 0:
                self._part_of_line(piece[at:])
                return
            self._part_of_line(piece[at:end])
            self._end_of_line()
            at = end + 1

    def end(self) -> None:
        """The stream is over, or was cut.

        An event without its blank line is read too, though a client discards it: the tokens were used.
        """
        self._close()

    def _part_of_line(self, part: bytes) -> None:
        if self._line is _Line.UNKNOWN:
            part = self._start + part
            if len(part) < len(_DATA) and _DATA.startswith(part):
                self._start = part
                return
            self._start = b""
            self._line = self._kind(part)
            if self._line is _Line.DATA:
                part = part[len(_DATA) :]
        if self._line is not _Line.OTHER:
            self._document.feed(part)

    def _kind(self, line: bytes) -> _Line:
        if line.startswith(_DATA):
            if self._bare:
                self._close()
            self._open = True
            return _Line.DATA
        if not self._bare and line.startswith((b"{", b"[")):
            self._close()
            self._open = self._bare = True
        return _Line.BARE if self._bare else _Line.OTHER

    def _end_of_line(self) -> None:
        if self._line is _Line.UNKNOWN:
            if not self._start:
                self._close()
        elif self._line is not _Line.OTHER:
            self._document.feed(b"\n")
        self._line = _Line.UNKNOWN
        self._start = b""

    def _close(self) -> None:
        self._document.end()
        self._open = self._bare = False
