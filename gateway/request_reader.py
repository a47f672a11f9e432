"""From a client's bytes to its requests: parsing by llhttp (httptools), and the limits of heads. No I/O.

httptools parses all that it is fed, so it is fed piece by piece, and no further than to the end of a request
that is whole: what comes behind that waits as bytes.
"""

from __future__ import annotations

from collections import deque

import httptools

from gateway.errors import HTTP_HEADER_TOO_LONG, HTTP_LINE_TOO_LONG, HTTP_MALFORMED, Refusal
from gateway.http_request import HttpRequest, RawHeaders, head_bytes

HEAD_BYTES = 16 * 1024
"""The largest request head: line and headers together."""
MAX_HEADERS = 128
_HEAD_PIECE = 4 * 1024
"""How much is fed at once in search of a head's end: so much can hold several small requests."""
_CHUNKED_PIECE = 64 * 1024


class RequestReader:
    """Reads the requests of one connection. httptools calls the `on_…` methods while data is fed."""

    __slots__ = (
        "_begun",
        "_body_left",
        "_ended",
        "_head_fed",
        "_head_most",
        "_headers",
        "_offered_upgrade",
        "_parser",
        "_quiet_bytes",
        "_target",
        "arriving",
        "fault",
        "requests",
    )

    def __init__(self) -> None:
        self.requests: deque[HttpRequest] = deque()
        """Those whose head is whole, to be taken from the left."""
        self.arriving: HttpRequest | None = None
        """The one whose body is being read."""
        self.fault: Refusal | None = None
        """Why nothing more is read."""
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: RawHeaders = []
        self._begun = False
        """Something of the next head has come, other than empty lines."""
        self._ended = False
        """A request has become whole since feeding began."""
        self._head_fed = 0
        """How much has been fed in search of the present head's end."""
        self._head_most = 0
        """How long a head that ends in the present piece can be."""
        self._body_left = 0
        """Bytes of the arriving body that have yet to come, by its announced length."""
        self._quiet_bytes = 0
        """How much of a chunked body's framing has come without a byte of the body."""
        self._offered_upgrade: HttpRequest | None = None

    @property
    def in_head(self) -> bool:
        """Whether a part of a head has come."""
        return self._head_fed > 0

    def feed(self, data: bytes) -> bytes:
        """Read on until a request is whole; what is left is to be fed when that one is answered."""
        at, end = 0, len(data)
        self._ended = False
        while at < end and not self._ended and not self.fault:
            size = _HEAD_PIECE
            if arriving := self.arriving:
                size = _CHUNKED_PIECE if arriving.chunked else self._body_left
            self._feed(data[at : at + size])
            at += size
        return data[at:]

    def _feed(self, data: bytes) -> None:
        while data:
            self._head_fed += len(data)
            self._head_most = self._head_fed
            self._quiet_bytes += len(data)
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._ignore_upgrade()
                data = data[upgrade.args[0] :]
            except httptools.HttpParserError:
                self.fault = HTTP_MALFORMED
                return
            else:
                break
        self._judge_progress()

    def _judge_progress(self) -> None:
        """Whether too much has come for what it has brought; from here on, count what belongs to a head."""
        if self.arriving:
            self._head_fed = 0
            if self._quiet_bytes > HEAD_BYTES:
                self.fault = HTTP_MALFORMED
        elif self._head_fed > HEAD_BYTES:
            line, _ = head_bytes(b"", self._target, ())
            self.fault = HTTP_LINE_TOO_LONG if line > HEAD_BYTES else HTTP_HEADER_TOO_LONG
        elif self._begun and not self._head_fed:  # behind another request, in one piece with it
            self._head_fed = head_bytes(b"", self._target, self._headers)[1]

    def _ignore_upgrade(self) -> None:
        """Go on with the body of a request that offers an upgrade: httptools takes it for something else."""
        self._offered_upgrade = request = self.requests[-1]
        request.body_whole = False
        framing = (b"content-length", b"transfer-encoding")
        lines = [name + b": " + value for name, value in request.headers if name.lower() in framing]
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(b"\r\n".join([b"POST / HTTP/1.1", *lines, b"", b""]))
        self._target = b""

    # httptools' side

    def on_message_begin(self) -> None:
        self._begun = True

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.arriving:  # otherwise it is a trailer, which is nobody's
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser, headers = self._parser, self._headers
        self._headers = []
        if self._offered_upgrade:
            self.arriving, self._offered_upgrade = self._offered_upgrade, None
            return
        self.arriving = request = HttpRequest(
            parser.get_method(),
            self._target,
            parser.get_http_version(),
            headers,
            keep_alive=parser.should_keep_alive(),
        )
        if self._head_most > HEAD_BYTES or len(headers) > MAX_HEADERS:
            request.fault = self._too_long(request)
        self._target = b""
        self._quiet_bytes = 0
        self._body_left = request.content_length or 0
        self.requests.append(request)

    def on_body(self, data: bytes) -> None:
        assert self.arriving
        self._quiet_bytes = 0
        self._body_left -= len(data)
        self.arriving.add_body(data)

    def on_message_complete(self) -> None:
        assert self.arriving
        self.arriving.body_whole = True
        self.arriving = None
        self._ended = True
        self._begun = False
        self._head_fed = 0

    def _too_long(self, request: HttpRequest) -> Refusal | None:
        """Which limit the head is over; what of the piece was body is not counted."""
        line, head = head_bytes(request.method.encode("ascii"), self._target, request.headers)
        if line > HEAD_BYTES:
            return HTTP_LINE_TOO_LONG
        return HTTP_HEADER_TOO_LONG if head > HEAD_BYTES or len(request.headers) > MAX_HEADERS else None
