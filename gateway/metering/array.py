"""A JSON array of responses, however it is cut: gives the scanner whole ones, which it decodes at once."""

from __future__ import annotations

from gateway.metering.findings import Findings
from gateway.metering.scanner import Scanner

WAIT_BYTES = 4 * 1024
"""The most that is kept of a response in order to read it whole."""

# Google indents what it sends, so only the end of a response is at the start of a line. Where that is not so,
# it costs time and nothing else: any cut is good for the scanner.
_RESPONSE_END = b"\n}"


class ResponseArray:
    """Takes the pieces of the array."""

    __slots__ = ("_rest", "_scanner")

    def __init__(self, findings: Findings) -> None:
        self._scanner = Scanner(findings)
        self._rest = b""

    def feed(self, piece: bytes) -> None:
        """Take the next piece, cut anywhere."""
        text = self._rest + piece
        end = text.rfind(_RESPONSE_END)
        if end >= 0:
            end += len(_RESPONSE_END)
            self._scanner.feed(text[:end])
            text = text[end:]
        if len(text) > WAIT_BYTES:
            self._scanner.feed(text)
            text = b""
        self._rest = text

    def end(self) -> None:
        """The array is over, whole or cut."""
        self._scanner.feed(self._rest)
        self._rest = b""
        self._scanner.end()
