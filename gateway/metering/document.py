"""One JSON document, however it is cut: decoded whole if it is small, else scanned as it comes."""

from __future__ import annotations

from gateway.metering.findings import Findings
from gateway.metering.response import decode
from gateway.metering.scanner import Scanner

WHOLE_BYTES = 64 * 1024
"""The most that is kept of a document in order to decode it whole."""


class Document:
    """Takes the pieces of a document; after `end`, those of the next one."""

    __slots__ = ("_findings", "_kept", "_scanner")

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._kept: bytes | bytearray = b""
        self._scanner: Scanner | None = None

    def feed(self, piece: bytes) -> None:
        """Take the next piece, of any length."""
        kept = self._kept
        if self._scanner is not None:
            self._scanner.feed(piece)
        elif len(kept) + len(piece) > WHOLE_BYTES:
            self._scanner = Scanner(self._findings)
            self._scanner.feed(bytes(kept))
            self._scanner.feed(piece)
            self._kept = b""
        elif not kept:  # mostly the only one: it needs no copy
            self._kept = piece
        elif isinstance(kept, bytearray):
            kept += piece
        else:
            self._kept = bytearray(kept) + piece

    def end(self) -> None:
        """The document is over, whole or cut. Nothing came: nothing happens."""
        if self._scanner is not None:
            self._scanner.end()
            self._scanner = None
        elif self._kept:
            read_document(bytes(self._kept), self._findings)
            self._kept = b""


def read_document(document: bytes, findings: Findings) -> None:
    """Read a document that is here as whole as it will ever be."""
    responses = decode(document)
    if responses is None or not findings.take(responses):
        scanner = Scanner(findings)
        scanner.feed(document)
        scanner.end()
