"""The response on its way down: what a client is sent of it, and what was used.

The transfer framing is made anew for this connection, so that no chunk line of an upstream reaches a client
unread, and so that the client's stands between two chunks whenever the upstream breaks off.
"""

from __future__ import annotations

import logging

from gateway.client_connection import ClientConnection
from gateway.dialects import gemini
from gateway.errors import Refusal, described
from gateway.exchange import Ending, Exchange, Framing
from gateway.metering import UsageReader
from gateway.upstreams.response_head import ResponseHead

_log = logging.getLogger(__name__)
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
_EVENT_STREAM = b"text/event-stream"
_ONE_ATTEMPT = b"x-gateway-attempts: 1"
# Globals, for an enumeration's member is found a good deal later.
_COMPLETE, _UPSTREAM_ERROR = Ending.COMPLETE, Ending.UPSTREAM_ERROR


class Downstream:
    """Writes one response, whose head is here, to the client: one write for each read of the upstream."""

    __slots__ = (
        "_chunked",
        "_client",
        "_exchange",
        "_reader",
        "_tail",
        "_transport",
        "body_bytes",
        "content_encoding",
        "framing",
        "keeps_connection",
    )

    def __init__(
        self, client: ClientConnection, exchange: Exchange, head: ResponseHead, *, keep: bool
    ) -> None:
        """keep: another request may follow on the connection, as far as this one is concerned."""
        self._client = client
        self._transport = client.transport
        self._exchange = exchange
        has_length = head.content_length is not None or not head.has_body
        self._chunked = not has_length and client.request.http_1_1
        self.keeps_connection = keep and (has_length or self._chunked)
        """Whether the head promises the client to take another request on this connection."""
        self.framing = Framing.SSE if head.content_type.startswith(_EVENT_STREAM) else exchange.route.framing
        self.content_encoding = head.content_encoding
        self.body_bytes = 0
        """How many were passed on."""
        self._tail = b"\n\n"
        self._reader = (
            UsageReader(self.framing, head.content_encoding.decode("latin-1")) if head.status < 400 else None
        )

    def begin(self, head: ResponseHead, body: bytes, *, whole: bool) -> None:
        """Write the head and what of the body came with it."""
        exchange = self._exchange
        exchange.status = head.status
        lines = head.lines
        if head.has_body:
            if self._chunked:
                lines.append(b"Transfer-Encoding: chunked")
            elif head.content_length is not None:
                lines.append(b"Content-Length: " + head.content_length)
        if head.request_id:
            exchange.upstream_request_id = head.request_id.decode("latin-1")[:128]
            lines.append(b"x-upstream-request-id: " + head.request_id)
        lines.append(b"x-request-id: " + exchange.id.encode("ascii"))
        attempts = exchange.attempts
        lines.append(_ONE_ATTEMPT if attempts == 1 else b"x-gateway-attempts: %d" % attempts)
        if exchange.answered_as != exchange.model:
            lines.append(b"x-gateway-model: " + exchange.answered_as.encode("ascii"))
        if exchange.client_request_id:
            lines.append(b"x-client-request-id: " + exchange.client_request_id.encode("ascii"))
        if exchange.rate_limit_lines and not head.has_rate_limits:
            lines.append(exchange.rate_limit_lines)
        if not self.keeps_connection:
            lines.append(b"Connection: close")
        elif not self._client.request.http_1_1:
            lines.append(b"Connection: keep-alive")
        start = b"HTTP/1.1 %d %b\r\n%b\r\n\r\n" % (head.status, head.reason, b"\r\n".join(lines))
        self._write(start, body, whole=whole)
        if not whole:
            self._client.outgoing.flush()

    def write(self, data: bytes) -> None:
        """Write what one read of the upstream brought from the middle of the body.

        The way of nearly every chunk. Of a thousand streams each other object that it touches has to be
        fetched from memory: so it keeps to this one, the transport and the reader.
        """
        size = len(data)
        self.body_bytes += size
        self._tail = data[-4:] if size >= 4 else self._tail[-4:] + data
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(b"%x\r\n%b\r\n" % (size, data) if self._chunked else data)
        if self._reader is not None:
            self._reader.feed(data)

    def end(self, body: bytes, *, whole: bool) -> None:
        """Write the last bytes of the body, and its end if it is whole."""
        self._write(b"", body, whole=whole)

    def _write(self, start: bytes, body: bytes, *, whole: bool) -> None:
        """All that one read brought, in one write."""
        if body:
            self.body_bytes += len(body)
            self._tail = body[-4:] if len(body) >= 4 else self._tail[-4:] + body
            start += b"%x\r\n%b\r\n" % (len(body), body) if self._chunked else body
        if whole and self._chunked:
            start += b"0\r\n\r\n"
        if start:
            self._client.write(start)
        if body and self._reader is not None:
            self._reader.feed(body)

    def finish(self, *, whole: bool) -> None:
        """Nothing more comes: tell the exchange how it ended, and where to learn what was used."""
        exchange = self._exchange
        exchange.response_bytes = self.body_bytes
        if self._reader is not None:
            exchange.reading = self._read
        if whole:
            exchange.ending = _UPSTREAM_ERROR if exchange.status >= 400 else _COMPLETE

    def _read(self) -> None:
        """What was used; and of what came whole, whether its content says so, too."""
        exchange, reader = self._exchange, self._reader
        assert reader is not None
        reader.end()
        exchange.usage = reader.usage
        exchange.usage_details = reader.details
        exchange.model_version = reader.model_version
        if reader.fault is not None:
            _log.error("internal error: a response was not read for its usage: %s", described(reader.fault))
        if exchange.ending is _COMPLETE and exchange.status == 200:
            if reader.error_seen:
                exchange.ending = Ending.UPSTREAM_ERROR_IN_STREAM
            elif not reader.finished:
                exchange.ending = Ending.SUSPECT

    def tell_broken(self, refusal: Refusal) -> None:
        """The one event that says why a stream breaks off, where its framing takes one."""
        readable = self._chunked and self.content_encoding in (b"", b"identity")
        if readable and self.framing is Framing.SSE and self._tail.endswith(_EVENT_ENDS):
            event = gemini.error_event(refusal, self._exchange.id)
            self._client.write(b"%x\r\n%b\r\n" % (len(event), event))
