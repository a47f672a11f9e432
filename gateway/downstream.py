"""The response on its way down: head, framing and end of what a client is sent, one write for each read.

The transfer framing is made anew for this connection, so that no chunk line of an upstream reaches a client
unread, and so that the client's stands between two chunks whenever the upstream breaks off.
"""

from __future__ import annotations

from aiohttp import web

from gateway import headers
from gateway.client_connection import ClientConnection, may_keep
from gateway.dialects import gemini
from gateway.errors import Refusal
from gateway.exchange import Exchange, Framing
from gateway.upstreams.connection import ResponseHead

_EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")


class Downstream:
    """Writes one response to the client's transport."""

    def __init__(self, request: web.BaseRequest, client: ClientConnection, exchange: Exchange) -> None:
        self._request = request
        self._client = client
        self._exchange = exchange
        self.head_sent = False
        self.keeps_connection = False
        """Whether the head has promised the client to take another request on this connection."""
        self.framing = exchange.route.framing
        """How the body that comes is framed; known better once its head is here."""
        self.content_encoding = b""
        self._chunked = False
        self._tail = b"\n\n"

    def send(self, head: ResponseHead | None, body: bytes, *, whole: bool, upload_whole: bool) -> None:
        """Write what one read of the upstream brought."""
        out = self._head(head, upload_whole) if head else b""
        if body:
            out += _chunk(body) if self._chunked else body
            self._tail = body[-4:] if len(body) >= 4 else self._tail[-4:] + body
            self._exchange.response_bytes += len(body)
        if whole and self._chunked:
            out += b"0\r\n\r\n"
        self._write(out)

    def tell_broken(self, refusal: Refusal) -> None:
        """The one event that says why a stream breaks off, where its framing takes one."""
        readable = self._chunked and self.content_encoding in (b"", b"identity")
        if readable and self.framing is Framing.SSE and self._tail.endswith(_EVENT_ENDS):
            self._write(_chunk(gemini.error_event(refusal, self._exchange.id)))

    def _head(self, head: ResponseHead, upload_whole: bool) -> bytes:
        exchange = self._exchange
        self.head_sent = True
        exchange.status = head.status
        if head.first.get(b"content-type", b"").lower().startswith(b"text/event-stream"):
            self.framing = Framing.SSE
        self.content_encoding = head.first.get(b"content-encoding", b"").strip().lower()
        lines = headers.response_lines(head.headers)
        http_1_0 = self._request.version < (1, 1)
        self.keeps_connection = may_keep(self._request) and upload_whole
        if head.has_body:
            if head.content_length is not None:
                lines.append(b"Content-Length: " + head.content_length)
            elif http_1_0:
                self.keeps_connection = False
            else:
                self._chunked = True
                lines.append(b"Transfer-Encoding: chunked")
        upstream_id = head.first.get(b"x-request-id")
        if upstream_id:
            exchange.upstream_request_id = upstream_id.decode("latin-1")[:128]
            lines.append(b"x-upstream-request-id: " + upstream_id)
        lines.append(b"x-request-id: " + exchange.id.encode("ascii"))
        if exchange.client_request_id:
            lines.append(b"x-client-request-id: " + exchange.client_request_id.encode("ascii"))
        if not self.keeps_connection:
            lines.append(b"Connection: close")
        elif http_1_0:
            lines.append(b"Connection: keep-alive")
        return b"HTTP/1.1 %d %b\r\n%b\r\n\r\n" % (head.status, head.reason, b"\r\n".join(lines))

    def _write(self, data: bytes) -> None:
        transport = self._client.transport
        if transport and not transport.is_closing():
            transport.write(data)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
