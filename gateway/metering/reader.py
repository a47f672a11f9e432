"""The usage reader: is fed a response's body and knows in the end what was used and how it ended."""

from __future__ import annotations

import sys
import zlib

from gateway.exchange import Framing
from gateway.metering.array import ResponseArray
from gateway.metering.document import Document
from gateway.metering.events import EventStream
from gateway.metering.findings import Findings
from gateway.metering.inflate import Inflate
from gateway.metering.report import read_details, read_usage
from gateway.token_usage import NO_DETAILS, Usage

GATHERED_BYTES = 4 * 1024
"""The most that is gathered before it is read: small pieces cost less read together."""
PIECE_BYTES = 16 * 1024
"""The most that is read at once, besides."""

_SSE, _JSON_ARRAY = Framing.SSE, Framing.JSON_ARRAY
_OBJECT_BYTES = sys.getsizeof(b"")


class UsageReader:
    """Reads one response's body. It never raises, and keeps a bounded number of its bytes.

    No bytes should bring about a `fault`; memory that is lacking can.
    """

    __slots__ = ("_body", "_findings", "_gathered", "_inflate", "_pieces", "details", "fault", "usage")

    def __init__(self, framing: Framing, content_encoding: str) -> None:
        """`content_encoding` is the response header's value; empty where there is none."""
        findings = self._findings = Findings()
        self.usage: Usage | None = None
        """At the end: what the last whole top-level `usageMetadata` object said; None when none came.

        Whole is the object, not necessarily the response around it: a stream may be cut between the two.
        """
        self.details = NO_DETAILS
        """At the end: what that object said beside its counts, and which features were used."""
        self.fault: Exception | None = None
        """Why nothing is known of this body."""
        self._pieces: list[bytes] = []
        """Gathered."""
        self._gathered = 0
        """The memory that they take."""
        self._inflate: Inflate | None = None
        self._body: EventStream | ResponseArray | Document | None
        """None: nothing more is read."""
        if framing is _SSE:
            self._body = EventStream(findings)
        elif framing is _JSON_ARRAY:
            self._body = ResponseArray(findings)
        else:
            self._body = Document(findings)
        if content_encoding:
            self._decode(content_encoding.strip().lower())

    def _decode(self, coding: str) -> None:
        if coding in ("gzip", "deflate"):
            self._inflate = Inflate(coding)
        elif coding not in ("", "identity"):
            self._body = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body as the upstream sent it, less the transfer coding; cut anywhere."""
        if self._inflate is not None:
            self._feed_inflated(self._inflate, data)
            return
        self._pieces.append(data)
        self._gathered += len(data) + _OBJECT_BYTES
        if self._gathered > GATHERED_BYTES:
            self._read()

    def _feed_inflated(self, inflate: Inflate, data: bytes) -> None:
        try:
            for piece in inflate.feed(data):
                self._pieces.append(piece)
                self._gathered += len(piece) + _OBJECT_BYTES
                if self._gathered > GATHERED_BYTES:
                    self._read()
        except zlib.error:
            self.end()
        except Exception as error:
            self._give_up(error)

    def _read(self) -> None:
        """Read what was gathered."""
        pieces, self._pieces = self._pieces, []
        size, self._gathered = self._gathered, 0
        if self._body is not None:
            try:
                self._read_pieces(self._body, pieces, size)
            except Exception as error:
                self._give_up(error)

    def _read_pieces(
        self, body: EventStream | ResponseArray | Document, pieces: list[bytes], size: int
    ) -> None:
        if size <= PIECE_BYTES:
            if not isinstance(body, EventStream) or not body.feed_events(pieces):
                body.feed(b"".join(pieces))
            return
        data = b"".join(pieces)
        for start in range(0, len(data), PIECE_BYTES):
            body.feed(data[start : start + PIECE_BYTES])

    def end(self) -> None:
        """The body is over, cleanly or cut: what is said below is known only now, and is final."""
        self._read()
        body, self._body = self._body, None
        self._inflate = None
        if body is not None:
            try:
                body.end()
                self.usage = read_usage(self._findings)
                self.details = read_details(self._findings)
            except Exception as error:
                self._give_up(error)

    def _give_up(self, fault: Exception) -> None:
        """The response passes all the same, and what it used is unknown, which is better than half of it."""
        self.fault = fault
        self._body = self._inflate = self.usage = None
        self.details = NO_DETAILS
        self._findings = Findings()

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
