"""Finds the JSON documents in a stream of server-sent events: several at once, in the form that streams have.

That is whole events of one line each, a blank line after each. What has another form `EventLines` reads.
"""

from __future__ import annotations

from gateway.metering.document import read_document
from gateway.metering.findings import Findings
from gateway.metering.lines import EventLines
from gateway.metering.response import decode_object

WAIT_BYTES = 4 * 1024
"""The most that is kept of an event in order to read it whole."""

_BOM = b"\xef\xbb\xbf"
_CR, _LF = b"\r\n"  # numbers, which `in` finds sooner
_DATA = b"data: "
_BLANK_LINE = b"\r\n\r\n"  # with the end of the line before


class EventStream:
    """Takes the pieces of the stream."""

    __slots__ = ("_begun", "_findings", "_lines", "_rest", "_within")

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._begun = False
        """Something was read: a byte order mark that comes now is none."""
        self._within = False
        """An event or a line is under way."""
        self._rest = b""
        """What of it is still to be read; the lines have the part before."""
        self._lines: EventLines | None = None

    def feed_events(self, pieces: list[bytes]) -> bool:
        """Take these pieces if each is one whole event, as Google sends them; False: nothing was taken."""
        if self._within:
            return False
        documents = [piece.removeprefix(_DATA).removesuffix(_BLANK_LINE) for piece in pieces]
        put_together = _DATA + (_BLANK_LINE + _DATA).join(documents) + _BLANK_LINE
        return put_together == b"".join(pieces) and self._read(documents)

    def feed(self, piece: bytes) -> None:
        """Take the next piece, cut anywhere."""
        text = self._rest + piece
        blank_line = _BLANK_LINE if _CR in text else b"\n\n"
        end = text.rfind(blank_line)
        if end >= 0:
            end += len(blank_line)
            self._events(text[:end], blank_line)
            text = text[end:]
        if len(text) > WAIT_BYTES:
            self._feed_lines(text)
            text = b""
        self._rest = text
        self._within = text != b"" or (self._lines is not None and self._lines.within)

    def end(self) -> None:
        """The stream is over, or was cut. An event without its blank line is read too."""
        if self._rest:
            self._feed_lines(self._rest)
            self._rest = b""
        if self._lines is not None:
            self._lines.end()

    def _events(self, text: bytes, blank_line: bytes) -> None:
        """Read whole events; of the first one the lines may have a part."""
        within = self._lines is not None and self._lines.within
        if not within and text.startswith(_DATA):
            documents = text[len(_DATA) : -len(blank_line)].split(blank_line + _DATA)
            if self._read(documents):
                return
        self._feed_lines(text)

    def _read(self, documents: list[bytes]) -> bool:
        """Read what came between `data: ` and a blank line; False: some of it has several lines."""
        data = b"".join(documents)
        if _CR in data or _LF in data:
            return False
        self._begun = True
        try:
            taken = self._findings.take(list(map(decode_object, documents)))
        except (ValueError, RecursionError):  # one is no such object
            taken = False
        if not taken:
            for document in documents:
                read_document(document + b"\n", self._findings)  # with the line's end, as the lines read it
        return True

    def _feed_lines(self, text: bytes) -> None:
        if self._lines is None:
            self._lines = EventLines(self._findings)
        self._lines.feed(text if self._begun else text.removeprefix(_BOM))
        self._begun = True
