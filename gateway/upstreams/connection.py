"""One HTTP/1.1 connection to an upstream: states, response parsing (llhttp, by httptools), flow control.

    IDLE --start()--> ACTIVE --response and request both whole--> IDLE (back to the pool) or CLOSED
    any state --abort(), the peer closing, a protocol error--> CLOSED

A connection that stands between two whole messages is the only one that is ever used again. An unfinished
one is aborted, never closed: a polite TLS close keeps an upstream that ignores it running for half a minute.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from enum import Enum

import httptools

from gateway.outgoing import Outgoing
from gateway.sockets import has_ended, has_hung_up
from gateway.upstreams.receiver import Failure, Receiver
from gateway.upstreams.response_head import ResponseHead

_VERSIONS = frozenset({"1.0", "1.1"})
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_KNOWN_INTERIM = frozenset({100, 102, 103})
"""Of any other 1xx llhttp would read a body, where it announces one."""
_READ_BYTES = 256 * 1024
MAX_HEAD_BYTES = 64 * 1024
"""How much of a response is read in search of its head's end; llhttp itself has no limit."""


class State(Enum):
    IDLE = "idle"
    ACTIVE = "active"
    CLOSED = "closed"


_IDLE, _ACTIVE, _CLOSED = State  # globals, for an enumeration's member is found a good deal later


class UpstreamConnection(asyncio.Protocol):
    """The protocol of one connection. httptools calls the `on_…` methods while data is fed."""

    __slots__ = (
        "_body",
        "_complete",
        "_ended_by_peer",
        "_head",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_keep_alive",
        "_on_idle",
        "_outgoing",
        "_parser",
        "_reason",
        "_request_sent",
        "_response_began",
        "_surplus",
        "_until_close",
        "idle_since",
        "loop",
        "on_body",
        "receiver",
        "response_began",
        "reused",
        "state",
        "take_body",
        "transport",
        "writing_paused",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_idle: Callable[[UpstreamConnection], None]
    ) -> None:
        self.loop = loop
        self.state = _IDLE
        self.reused = False
        """Whether this connection has carried a whole exchange before."""
        self.idle_since = 0.0
        self.transport: asyncio.Transport | None = None
        self.writing_paused = False
        self._on_idle = on_idle
        self._outgoing: Outgoing | None = None
        """Has written the request's head, or is about to."""
        self.receiver: Receiver | None = None
        """Who is told; may be set to another while a response is on its way."""
        self.take_body: Callable[[bytes], None] | None = None
        """Takes what a read brings of the body, if nothing else; may be set when the head has come. None: the
        receiver does."""
        self._ended_by_peer = False
        self._surplus = False
        """More came than one response."""
        self._body: list[bytes] = []
        self.on_body = self._body.append  # for the parser: a method of ours would cost it a frame each time
        self._parser = httptools.HttpResponseParser(self)
        self._expect_response()

    def __repr__(self) -> str:
        return f"<UpstreamConnection {self.state.value}{' reused' if self.reused else ''}>"

    def _expect_response(self) -> None:
        self._expect_head()
        self._head_bytes = 0
        self._head: ResponseHead | None = None
        """Parsed, and not yet told to the receiver."""
        self._in_head = True
        self.response_began = False
        """Whether a byte of the answer, or of an interim one, is here."""
        self._until_close = False
        self._complete = False
        self._keep_alive = False
        self._request_sent = False

    def _expect_head(self) -> None:
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []

    # The asker's side

    def start(self, receiver: Receiver, head: bytes, outgoing: Outgoing, *, whole: bool) -> None:
        """Send a request's head and the body bytes that are at hand; the response goes to the receiver.

        whole: nothing more of the request follows.
        """
        assert self.state is _IDLE
        assert self.transport
        self.state = _ACTIVE
        self.receiver = receiver
        self._request_sent = whole
        self._outgoing = outgoing
        outgoing.write(self.transport, head)

    def write(self, data: bytes) -> None:
        """Send request body bytes, framed already; none to an upstream that has closed its side."""
        transport = self.transport
        if self.state is not _ACTIVE or not transport or transport.is_closing() or not self._outgoing:
            return
        if _is_tls(transport) and has_hung_up(transport):
            return  # uvloop would drop it, too, and warn of each
        self._outgoing.write(transport, data)

    def request_sent(self) -> None:
        """The request is whole: from now on the connection may go back to the pool with its response."""
        self._request_sent = True
        if self._complete:
            self._finish()

    def pause_response(self) -> None:
        if self.transport and self.state is _ACTIVE and self.transport.is_reading():
            self.transport.pause_reading()

    def resume_response(self) -> None:
        if self.transport and self.state is _ACTIVE and not self.transport.is_reading():
            self.transport.resume_reading()

    def look(self) -> None:
        """Cut it if the upstream has closed its side; to be called while a large request is under way.

        Under TLS uvloop tells nothing of a FIN as long as something waits to be taken by the peer.
        """
        transport = self.transport
        if transport and not transport.is_closing() and _is_tls(transport) and has_ended(transport):
            self._cut()

    def abort(self) -> None:
        """Give up whatever is under way, at once; the receiver hears nothing more."""
        self.receiver = self.take_body = None
        self.state = _CLOSED
        if self.transport:
            self.loop.call_soon(self._cut)  # asyncio's TLS layer takes offence at it within a read

    def _cut(self) -> None:
        if self.transport:
            self.transport.abort()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.state is not _ACTIVE or self._complete:
            self.abort()  # bytes that nobody asked for: what follows could be taken for an answer
            return
        if self._in_head:
            self.response_began = True
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._complete:
                if not self._head:  # otherwise nothing has been passed on, and it can still be refused
                    self._deliver()
                self._fail(Failure.MALFORMED)
                return
            self._surplus = True
        if not self._in_head:
            if self._head or self._complete:
                self._deliver()
            elif body := self._body:  # the way of nearly every read of a stream
                data = body[0] if len(body) == 1 else b"".join(body)
                body.clear()
                if self.take_body is not None:
                    self.take_body(data)
                elif self.receiver is not None:
                    self.receiver.on_response(None, data, False)
        elif self._head_bytes > MAX_HEAD_BYTES:
            self._fail(Failure.MALFORMED)

    def eof_received(self) -> bool:
        if self.transport:
            self._ended_by_peer = _is_sure_end(self.transport)
            self.loop.call_soon(self._cut)  # closing would wait until the peer takes what is written
        return False  # connection_lost tells the receiver

    def connection_lost(self, exc: Exception | None) -> None:
        self._read_rest()
        self.transport = None
        if self.state is _ACTIVE and not self._complete:
            if self._until_close and self._ended_by_peer and exc is None:
                self._complete = True
                self._deliver()
            else:
                stale = self.reused and not self.response_began
                self._fail(Failure.STALE if stale else Failure.CLOSED)
        self.state = _CLOSED
        self._on_idle(self)

    def _read_rest(self) -> None:
        """Take what a TLS layer has read while reading was paused: uvloop's gives it up with the socket."""
        tls = self.transport.get_extra_info("ssl_object") if self.transport else None
        try:
            while tls and self.state is _ACTIVE and not self._complete:
                if data := tls.read(_READ_BYTES):
                    self.data_received(data)
                else:  # close_notify
                    self._ended_by_peer = True
                    break
        except ssl.SSLError:
            pass  # no more has come

    def pause_writing(self) -> None:
        self.writing_paused = True
        if self.receiver:
            self.receiver.on_upload_flow()

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self.receiver:
            self.receiver.on_upload_flow()

    # httptools' side

    def on_message_begin(self) -> None:
        if self._complete:
            self._surplus = True
            self._body = self._body.copy()  # the parser goes on with the other one

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # a trailer would need a promise in the head that the gateway does not make
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._surplus:
            return
        status = self._parser.get_status_code()
        if status < 100 or _CONTROL.search(self._reason) or self._parser.get_http_version() not in _VERSIONS:
            raise ValueError("a status line that can't be passed on")
        head = ResponseHead(status, self._reason, self._headers)
        self._expect_head()
        if status < 200:
            if status not in _KNOWN_INTERIM and (head.chunked or int(head.content_length or 0)):
                raise ValueError("an interim answer with a body, of which there is none")
        else:
            self._in_head = False
            self._head = head
            self._until_close = head.has_body and not head.chunked and head.content_length is None

    def on_message_complete(self) -> None:
        if not self._surplus and not self._in_head:  # 1xx are messages, too
            self._keep_alive = self._parser.should_keep_alive()  # known until the message is over
            self._complete = True

    # Ends

    def _deliver(self) -> None:
        """Tell the receiver what this read brought; after the end the connection is free before it hears."""
        receiver, head, body, whole = self.receiver, self._head, self._body, self._complete
        self._head = None
        data = b"".join(body) if len(body) != 1 else body[0]
        body.clear()
        if whole and self._request_sent:
            self._finish()
        if receiver and (data or head or whole):
            receiver.on_response(head, data, whole)

    def _finish(self) -> None:
        self.receiver = self.take_body = None
        transport = self.transport
        if transport and self._keep_alive and not self._surplus and not transport.is_closing():
            self.resume_response()
            self.state = _IDLE
            self.reused = True
            self.idle_since = self.loop.time()
            self._expect_response()
            self._on_idle(self)
        else:
            self.abort()

    def _fail(self, failure: Failure) -> None:
        receiver = self.receiver
        self.abort()
        if receiver:
            receiver.on_response_failed(failure)


def _is_tls(transport: asyncio.BaseTransport) -> bool:
    return transport.get_extra_info("ssl_object") is not None


def _is_sure_end(transport: asyncio.BaseTransport) -> bool:
    """Whether the end of the stream is the peer's word: under TLS a FIN alone may be anybody's."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None:
        return True
    try:
        return not tls.read(1)  # close_notify reads as an end
    except ssl.SSLError:
        return False
