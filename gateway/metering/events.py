"""Finds the JSON documents in a stream of server-sent events, however it is cut.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream. Beyond it,
JSON that stands bare between the events, on one line or more, is a document too: so Google may send errors.
"""

from __future__ import annotations

from enum import Enum, auto

from gateway.metering.document import Document, read_document
from gateway.metering.findings import Findings
from gateway.metering.response import decode_object

_DATA = b"data:"
_BOM = b"\xef\xbb\xbf"


class _Line(Enum):
    """What the line under way is."""

    UNKNOWN = auto()
    """None has begun, or it is too short yet to tell."""
    DATA = auto()
    BARE = auto()
    OTHER = auto()


_UNKNOWN = (
    _Line.UNKNOWN
)  # looked at for every piece, and a global is found sooner than an enumeration's member


class EventStream:
    """Takes the pieces of the stream. JSON minds neither the space after `data:` nor an LF after a line."""

    __slots__ = ("_after_cr", "_bare", "_document", "_findings", "_first", "_line", "_open", "_start")

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._document = Document(findings)
        self._open = False
        """An event has data already, or a bare document has begun."""
        self._bare = False
        """What is open is a bare document."""
        self._line = _UNKNOWN
        self._start = b""
        """Of the line under way, as long as it is unknown."""
        self._first = True
        """The line under way is the stream's first, which may begin with a byte order mark."""
        self._after_cr = False
        """The last piece ended with CR: an LF that follows belongs to it."""

    def feed(self, piece: bytes) -> None:
        """Take the next piece, cut anywhere."""
        at = 0
        if not self._open and self._line is _UNKNOWN and not self._start:
            at = self._whole_events(piece)
        if at < len(piece):
            self._lines(piece[at:])

    def end(self) -> None:
        """The stream is over, or was cut.

        An event without its blank line is read too, though a client discards it: the tokens were used.
        """
        self._close()

    def _whole_events(self, piece: bytes) -> int:
        """Read the events of one line that stand whole at the start of the piece; where they end."""
        at = 0
        while piece.startswith(_DATA, at):
            end = piece.find(b"\n", at)
            following = piece[end + 1 : end + 3]
            if end < 0 or piece.find(b"\r", at, end - 1) >= 0:  # a CR alone ends a line as well
                break
            if following == b"\r\n":
                after = end + 3
            elif following.startswith(b"\n"):
                after = end + 2
            else:
                break
            document = piece[at + len(_DATA) : end]
            try:
                self._findings.take(decode_object(document))
            except (ValueError, RecursionError):  # no such object: read the long way
                read_document(document, self._findings)
            self._first = self._after_cr = False
            at = after
        return at

    def _lines(self, piece: bytes) -> None:
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

    def _part_of_line(self, part: bytes) -> None:
        if self._line is _UNKNOWN:
            part = self._start + part
            if self._first:
                if len(part) < len(_BOM) and _BOM.startswith(part):
                    self._start = part
                    return
                part = part.removeprefix(_BOM)
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
        if self._line is _UNKNOWN:
            if not self._start:
                self._close()
        elif self._line is not _Line.OTHER:
            self._document.feed(b"\n")
        self._line = _UNKNOWN
        self._start = b""
        self._first = False

    def _close(self) -> None:
        self._document.end()
        self._open = self._bare = False
