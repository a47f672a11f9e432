"""One client's connection: aiohttp's server protocol, with the contract's limits and endings added.

What aiohttp would answer by itself must not show: its own 400 echoes the client's input, token and all. So
malformed requests get the contract's answer here, a head has a deadline and a size, and a connection is
closed so that no reset can overtake the last bytes written. The four names of aiohttp's `RequestHandler`
that start with an underscore are used in this file only (tests/test_aiohttp_internals.py watches them).
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import select
import sys
import termios
from array import array
from collections.abc import Callable, Sequence
from typing import Protocol

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong

from gateway.config import Network
from gateway.errors import (
    DRAINING,
    HTTP_HEADER_TOO_LONG,
    HTTP_LINE_TOO_LONG,
    HTTP_MALFORMED,
    INTERNAL,
    OVERLOADED,
    GatewayError,
    Refusal,
)
from gateway.exchange import Exchange
from gateway.refusal import refusal_bytes

HEAD_BYTES = 16 * 1024
"""The largest request head: line and headers together."""
HEAD_SECONDS = 10.0
"""From a head's first byte (on a new connection: from its start) to its last."""
IDLE_SECONDS = 75.0
"""How long a kept-alive connection may stay without a request."""
LINGER_SECONDS = 1.0
"""How long what the client still sends is discarded after the last byte to it, so that it is not reset."""

_log = logging.getLogger(__name__)


class Flow(Protocol):
    """Whoever writes to a client, told when the client falls behind and when it has caught up."""

    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Answer(web.StreamResponse):
    """What a handler returns to aiohttp when the answer's bytes have been written to the transport already.

    Only the public methods that aiohttp calls on a response are here: nothing is prepared or sent again, and
    a connection that must not be kept is ended gently first.
    """

    def __init__(self, connection: ClientConnection, *, keep: bool) -> None:
        # The parent's __init__ prepares headers and cookies that nothing here would read.
        self._connection = connection
        self._keep = keep

    @property
    def keep_alive(self) -> bool:
        return self._keep and not self._connection.draining

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        if self.keep_alive:
            self._connection.exchange_over()
        else:
            await self._connection.end_gently()


class ClientServer(web.Server):
    """The public listener's protocol factory: aiohttp's low-level server, making `ClientConnection`s."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], object],
        *,
        max_connections: int,
        write_timeout: float,
        trusted_proxies: Sequence[Network],
        on_malformed: Callable[[Exchange], None],
        head_seconds: float = HEAD_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        super().__init__(handler, handler_cancellation=True)  # type: ignore[arg-type]
        self.loop = asyncio.get_running_loop()
        self.max_connections = max_connections
        self.write_timeout = write_timeout
        self.trusted_proxies = trusted_proxies
        self.head_seconds = head_seconds
        self.idle_seconds = idle_seconds
        self.draining = False
        self.on_malformed = on_malformed
        """Records an exchange that the HTTP parser, the limit of connections, or the drain refused."""
        self.open = 0
        """Connections."""
        self._none_open = asyncio.Event()

    def __call__(self) -> ClientConnection:
        return ClientConnection(self)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.open += 1

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.open -= 1
        if not self.open:
            self._none_open.set()

    async def drained(self) -> None:
        """Wait, after `drain`, until no connection is open: every client has all that was written for it."""
        while self.open:
            self._none_open.clear()
            await self._none_open.wait()

    def drain(self) -> None:
        """Keep no connection beyond its present exchange; those that have none are closed."""
        self.draining = True
        for connection in self.connections:
            assert isinstance(connection, ClientConnection)
            connection.close_if_idle()


class ClientConnection(web.RequestHandler):
    """A client's connection. `flow` is set by whoever writes a response body to it."""

    __slots__ = (
        "_deaf",
        "_discarding",
        "_ended",
        "_in_exchange",
        "_last_body",
        "_received",
        "_server",
        "_timer",
        "_trusted",
        "flow",
        "request_bytes",
    )

    def __init__(self, server: ClientServer) -> None:
        super().__init__(
            server,
            loop=server.loop,
            keepalive_timeout=server.idle_seconds,
            access_log=None,  # type: ignore[arg-type]
            logger=_log,
            max_line_size=HEAD_BYTES,
            # One less than the line's limit, so that the parser's error tells which of the two was too long.
            max_field_size=HEAD_BYTES - 1,
            lingering_time=0,
            read_bufsize=64 * 1024,
            auto_decompress=False,
        )
        self._server = server
        self.flow: Flow | None = None
        self.request_bytes = sys.maxsize
        """The length of the present request, head and body, as soon as the handler has told it."""
        self._in_exchange = False
        self._last_body: StreamReader | None = None
        """Of the newest request, the one that the parser is reading."""
        self._received = 0
        """Bytes of the present request and of what has come behind it."""
        self._deaf = False
        """A head behind the present request is too long: nothing more is read, and the connection ends."""
        self._timer: asyncio.TimerHandle | None = None
        """Ends the connection if nothing else does: a head that is late, or a client that does not leave."""
        self._discarding = False
        self._ended: asyncio.Future[None] | None = None
        self._trusted: bool | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.draining:  # it was on its way when the listeners closed
            self._refuse(DRAINING)
        elif self._server.open > self._server.max_connections:
            self._refuse(OVERLOADED)
        else:
            self._await_head()

    def data_received(self, data: bytes) -> None:
        if self._discarding or self._deaf:
            return
        self._received += len(data)
        super().data_received(data)
        if self._messages:
            self._watch_body()
            if not self._in_exchange:
                self._in_exchange = True
                self._stop_timer()
        elif not self._in_exchange:
            self._head_has_begun()
        elif self._received - self.request_bytes > HEAD_BYTES:
            self._deaf = True

    def eof_received(self) -> None:
        # A client that ends its side is gone (the transport closes itself now). With bytes still to write,
        # that close would wait for their reader, so it is cut at once, unless it is at its end anyway.
        if self.transport and self.transport.get_write_buffer_size() and not self._discarding:
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._wake_ended()
        super().connection_lost(exc)
        self._stop_timer()

    def force_close(self) -> None:
        # A close waits for the client to take what is written: not for longer than the write deadline. Under
        # TLS it also waits for the client's goodbye, which idle clients don't say.
        transport = self.transport
        super().force_close()
        if transport and transport.get_write_buffer_size():
            self._set_timer(self._server.write_timeout, transport.abort)
        elif transport and transport.get_extra_info("sslcontext"):
            self._set_timer(LINGER_SECONDS, transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.flow:
            self.flow.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.flow:
            self.flow.resume_writing()

    # The handler's side

    @property
    def draining(self) -> bool:
        """Whether this connection ends with its present exchange."""
        return self._server.draining or self._deaf

    def close_if_idle(self) -> None:
        # aiohttp's own close() would also drop the rest of a request body that is being uploaded.
        if not self._in_exchange:
            self.force_close()

    @property
    def from_trusted_proxy(self) -> bool:
        """Whether the peer's address is one of the configured trusted proxies."""
        if self._trusted is None:
            peer = self.peername
            self._trusted = isinstance(peer, tuple) and any(
                peer[0].partition("%")[0] in network for network in self._server.trusted_proxies
            )
        return self._trusted

    def peer_is_gone(self) -> bool:
        """Whether the client has closed its side, seen even while reading is paused.

        asyncio tells nothing then: the end of the stream stands behind bytes that nobody reads.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            return True
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def bytes_unread(self) -> int:
        """How much of what was written the client's side has yet to acknowledge.

        The kernel's part is counted, too: it takes more from us only in steps of up to a megabyte.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            return 0
        in_kernel = array("i", [0])
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, in_kernel)
        return transport.get_write_buffer_size() + in_kernel[0]

    def exchange_over(self) -> None:
        """The connection waits for its next head, unless that has come already."""
        self._received = max(0, self._received - self.request_bytes)
        self.request_bytes = sys.maxsize
        self._in_exchange = bool(self._messages)
        if self._received and not self._in_exchange:
            self._head_has_begun()

    async def end_gently(self) -> None:
        """End the connection after what is written: FIN, then discard for at most `LINGER_SECONDS`."""
        self._start_ending()
        if self._ended:
            await self._ended

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> Answer:
        """The contract's answer to what the HTTP parser refused; called by aiohttp."""
        if status >= 500:
            # Our handler answers its own faults: this one is aiohttp's. Its text may quote the client.
            _log.error("fault in the HTTP server: %s", type(exc).__name__)
            refusal = INTERNAL
        elif isinstance(exc, LineTooLong):
            refusal = HTTP_LINE_TOO_LONG if exc.args[1] == HEAD_BYTES else HTTP_HEADER_TOO_LONG
        elif message == "Too many headers received":
            refusal = HTTP_HEADER_TOO_LONG
        else:
            refusal = HTTP_MALFORMED
        self._write_refusal(refusal)
        return Answer(self, keep=False)

    def _watch_body(self) -> None:
        """Tell the reader of a body that its framing is broken: aiohttp puts the error behind the request."""
        message, body = self._messages[-1]
        if isinstance(message, RawRequestMessage):
            self._last_body = body
        elif self._last_body and not self._last_body.is_eof():
            self._last_body.set_exception(web.RequestPayloadError())

    def _head_has_begun(self) -> None:
        if self._received > HEAD_BYTES:
            self._refuse(HTTP_HEADER_TOO_LONG)
        elif self._timer is None:
            self._await_head()

    def _await_head(self) -> None:
        self._set_timer(self._server.head_seconds, self.force_close)

    def _set_timer(self, seconds: float, end: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, end)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    # Ending

    def _refuse(self, refusal: Refusal) -> None:
        """Answer where no handler runs, and end."""
        self._write_refusal(refusal)
        self._start_ending()

    def _write_refusal(self, refusal: Refusal) -> None:
        if self.transport is None:
            return
        exchange = Exchange()
        self.transport.write(refusal_bytes(exchange, GatewayError(refusal), keep=False, with_body=True))
        self._server.on_malformed(exchange)

    def _start_ending(self) -> None:
        transport = self.transport
        if transport is None or self._discarding:
            return
        self._discarding = True
        self._ended = self._loop.create_future()
        self._set_timer(LINGER_SECONDS, self._end_now)
        if not transport.can_write_eof():  # TLS: close_notify is the only half-close there is
            transport.close()
            return
        try:
            transport.write_eof()
        except OSError:  # reset by the client, which nothing told while reading was paused
            transport.abort()
            return
        self._reading_paused = False
        self._resume_transport_reading()

    def _end_now(self) -> None:
        self.force_close()
        self._wake_ended()

    def _wake_ended(self) -> None:
        if self._ended and not self._ended.done():
            self._ended.set_result(None)


def may_keep(request: web.BaseRequest) -> bool:
    """Whether another request may follow this one on its connection, by what the client sent.

    Not where aiohttp's parser loses track: it takes what follows an `Upgrade` for another protocol, though
    nothing is upgraded here, and the last trailer of a chunked body for a header of the next request.
    """
    sent = request.headers
    return bool(request.keep_alive) and "Upgrade" not in sent and "Transfer-Encoding" not in sent
