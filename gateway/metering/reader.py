"""The usage reader: is fed a copy of a response's body and knows what was used and how it ended."""

from __future__ import annotations

import zlib

from gateway.exchange import Framing, Usage
from gateway.metering.document import Document
from gateway.metering.events import EventStream
from gateway.metering.findings import Findings
from gateway.metering.inflate import PIECE_BYTES, Inflate
from gateway.metering.scanner import Scanner


class UsageReader:
    """Reads one response's body. No bytes make it raise, and it keeps a bounded number of them."""

    __slots__ = ("_body", "_findings", "_inflate", "_readable")

    def __init__(self, framing: Framing, content_encoding: str) -> None:
        """`content_encoding` is the response header's value; empty where there is none."""
        coding = content_encoding.strip().lower()
        self._findings = Findings()
        self._inflate = Inflate(coding) if coding in ("gzip", "deflate") else None
        self._readable = coding in ("", "identity", "gzip", "deflate")
        self._body: EventStream | Scanner | Document
        if framing is Framing.SSE:
            self._body = EventStream(self._findings)
        elif framing is Framing.JSON_ARRAY:
            self._body = Scanner(self._findings)
        else:
            self._body = Document(self._findings)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body as the upstream sent it, less the transfer coding; cut anywhere."""
        if not self._readable:
            return
        if self._inflate is not None:
            self._feed_inflated(self._inflate, data)
        elif len(data) <= PIECE_BYTES:
            self._body.feed(data)
        else:
            for start in range(0, len(data), PIECE_BYTES):
                self._body.feed(data[start : start + PIECE_BYTES])

    def _feed_inflated(self, inflate: Inflate, data: bytes) -> None:
        try:
            for piece in inflate.feed(data):
                self._body.feed(piece)
        except zlib.error:
            self._readable = False

    def end(self) -> None:
        """The body is over, cleanly or cut; what is said below is final."""
        self._readable = False
        self._body.end()

    @property
    def usage(self) -> Usage | None:
        """What the last whole top-level `usageMetadata` object says; None when none came.

        Whole is the object, not necessarily the response around it: a stream may be cut between the two.
        """
        return self._findings.usage

    @property
    def model_version(self) -> str:
        """The last top-level `modelVersion`: printable ASCII, at most 128 characters; empty for none."""
        return self._findings.model_version

    @property
    def finished(self) -> bool:
        """A candidate's finishReason or the prompt's blockReason came."""
        return self._findings.finished

    @property
    def error_seen(self) -> bool:
        """A top-level `error` object began."""
        return self._findings.error_seen
