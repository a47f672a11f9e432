"""One client's connection: requests in, one at a time, and bytes out.

A request goes from `data_received` straight to the handler, with no task, no future and no body reader made
for it: what aiohttp's server makes for each request costs more than all else of it (docs/decisions.md). What
is malformed, too long or too late gets the contract's answer here, and a connection is closed so that no
reset can overtake the last bytes written.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from gateway.config import Network
from gateway.errors import (
    DRAINING,
    OVERLOADED,
    GatewayError,
    Refusal,
)
from gateway.exchange import Exchange
from gateway.http_request import HttpRequest
from gateway.outgoing import Outgoing
from gateway.refusal import refusal_bytes
from gateway.request_reader import RequestReader
from gateway.sockets import bytes_unread, has_hung_up

AHEAD_BYTES = 64 * 1024
"""How much of what comes behind the present request is kept; then reading pauses."""
LINGER_SECONDS = 1.0
"""How long what the client still sends is discarded after the last byte to it, so that it is not reset."""


class Passage(Protocol):
    """What is under way for the present request; told what becomes of the client and of the request."""

    def on_body(self) -> None:
        """More of the body has come (`request.take_body` gives it), or it is broken (`body_is_broken`)."""

    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def client_lost(self) -> None: ...


class Server(Protocol):
    """Whose connections these are."""

    loop: asyncio.AbstractEventLoop
    connections: set[ClientConnection]
    draining: bool
    limits: Limits
    outgoing: Outgoing
    handle: Callable[[ClientConnection], None]
    """Takes the request that a connection holds, and calls `finish` when it is answered."""
    on_malformed: Callable[[Exchange], None]
    """Records an exchange that the HTTP parser, the limit of connections, or the drain refused."""

    def joined(self, connection: ClientConnection) -> None:
        """It is open."""

    def lost(self, connection: ClientConnection) -> None:
        """It is closed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may hold, and for how many seconds."""

    max_connections: int
    write_seconds: float
    trusted_proxies: tuple[Network, ...] = ()
    head_seconds: float = 10.0
    """From a head's first byte (on a new connection: from its start) to its last."""
    idle_seconds: float = 75.0
    """How long a kept-alive connection may stay without a request."""


class ClientConnection(asyncio.Protocol):
    """A client's connection. While a request is under way it is `request`, and `passage` is told of it."""

    request: HttpRequest

    __slots__ = (
        "_ahead",
        "_discarding",
        "_due",
        "_handing_over",
        "_idle",
        "_in_exchange",
        "_reader",
        "_server",
        "_timer",
        "_timer_at",
        "_trusted",
        "outgoing",
        "passage",
        "request",
        "transport",
        "writing_paused",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self.outgoing = server.outgoing
        """Writes to it, but for the middle of a stream."""
        self.transport: asyncio.Transport | None = None
        self.passage: Passage | None = None
        """Set by whoever handles the present request."""
        self.writing_paused = False
        self._in_exchange = False
        self._handing_over = False
        self._reader = RequestReader()
        self._ahead = b""
        """What has come behind the present request, and was not parsed yet."""
        self._discarding = False
        self._idle = False
        """No byte of the next head has come; a new connection's head counts as begun."""
        self._timer: asyncio.TimerHandle | None = None
        """Ends the connection if nothing else does: no head, a late one, or a client that does not leave."""
        self._timer_at = 0.0
        self._due = math.inf
        """When the connection is to end for want of a head (the loop's clock); never during an exchange."""
        self._trusted: bool | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        server = self._server
        server.joined(self)
        with suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if server.draining:  # it was on its way when the listeners closed
            self._refuse(DRAINING)
        elif len(server.connections) > server.limits.max_connections:
            self._refuse(OVERLOADED)
        else:
            self._await_head(server.limits.head_seconds)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if self._discarding or reader.fault:
            return
        if not self._in_exchange:
            self._ahead = reader.feed(data)
            self._hand_over()
        elif reader.arriving is self.request:
            self._ahead = reader.feed(data)
            if self.passage:
                self.passage.on_body()
        else:
            self._ahead += data
            if len(self._ahead) > AHEAD_BYTES:
                self.pause_reading()

    def eof_received(self) -> None:
        # A client that ends its side is gone (the transport closes itself now). With bytes still to write,
        # that close would wait for their reader, so it is cut at once, unless it is at its end anyway.
        if self.transport and self.transport.get_write_buffer_size() and not self._discarding:
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.transport = None
        self._server.lost(self)
        self._stop_timer()
        if passage := self.passage:
            self.passage = None
            passage.client_lost()

    def pause_writing(self) -> None:
        self.writing_paused = True
        if self.passage:
            self.passage.pause_writing()

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self.passage:
            self.passage.resume_writing()

    # The handler's side

    @property
    def draining(self) -> bool:
        """Whether this connection ends with its present exchange."""
        return self._server.draining

    @property
    def from_trusted_proxy(self) -> bool:
        """Whether the peer's address is one of the configured trusted proxies."""
        if self._trusted is None and self.transport:
            peer = self.transport.get_extra_info("peername")
            self._trusted = isinstance(peer, tuple) and any(
                peer[0].partition("%")[0] in network for network in self._server.limits.trusted_proxies
            )
        return bool(self._trusted)

    @property
    def another_waits(self) -> bool:
        """Whether something of the next request is here."""
        return bool(self._ahead or self._reader.requests)

    @property
    def body_is_broken(self) -> bool:
        """Whether what follows of the present request's body is none."""
        return self._reader.fault is not None and not self.request.body_whole

    def write(self, data: bytes) -> None:
        """Send bytes of the answer, in this turn of the event loop; to a client that has left, nothing."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            self.outgoing.write(transport, data)

    def pause_reading(self) -> None:
        """Take no more of the body for now."""
        if self.transport and self.transport.is_reading():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take more of the body."""
        if self.transport and not self.transport.is_reading() and not self.transport.is_closing():
            self.transport.resume_reading()

    def finish(self, *, keep: bool) -> None:
        """The present request is answered, its last byte written. `keep`: another one may follow."""
        self.passage = None
        if self.transport is None:
            return
        if not keep or self._server.draining:
            self._start_ending()
            return
        self._in_exchange = False
        self._idle = True
        self._hand_over()

    def close(self) -> None:
        """End it: not for longer than the write deadline does it wait for the client to take what is written.

        Under TLS it also waits for the client's goodbye, which idle clients don't say.
        """
        transport = self.transport
        if transport is None:
            return
        self._discarding = True
        self.outgoing.flush()
        transport.close()
        if transport.get_write_buffer_size():
            self._set_timer(self._server.limits.write_seconds, transport.abort)
        elif transport.get_extra_info("sslcontext"):
            self._set_timer(LINGER_SECONDS, transport.abort)

    def abort(self) -> None:
        """End it at once."""
        if self.transport:
            self.transport.abort()

    def close_if_idle(self) -> None:
        """Close it where it waits for a request."""
        if not self._in_exchange:
            self.close()

    def has_left(self) -> bool:
        """Whether the client has closed its side."""
        transport = self.transport
        return transport is None or transport.is_closing() or has_hung_up(transport)

    def bytes_unread(self) -> int:
        """How much of what was written the client's side has yet to acknowledge."""
        transport = self.transport
        return 0 if transport is None or transport.is_closing() else bytes_unread(transport)

    # From one request to the next

    def _hand_over(self) -> None:
        """Have the requests that are here handled, one after another."""
        if self._handing_over:
            return
        self._handing_over = True
        reader = self._reader
        while self.transport and not self._in_exchange and not self._discarding:
            if reader.requests:
                self.request = reader.requests.popleft()
                if reader.arriving is self.request:  # it came behind another: its body waits
                    self._ahead = reader.feed(self._ahead)
                    self.resume_reading()
                self._in_exchange = True
                self._due = math.inf
                self._server.handle(self)
            elif reader.fault:
                self._refuse(reader.fault)
            elif self._ahead:
                self._ahead = reader.feed(self._ahead)
                self.resume_reading()
            else:
                self._wait_for_head()
                break
        self._handing_over = False

    # Time

    def _wait_for_head(self) -> None:
        if not self._reader.in_head:
            self._await_head(self._server.limits.idle_seconds)
        elif self._idle:
            self._idle = False
            self._await_head(self._server.limits.head_seconds)

    def _await_head(self, seconds: float) -> None:
        """End the connection unless a head is whole by then."""
        self._due = due = self._server.loop.time() + seconds
        if self._timer is None or self._timer_at > due:
            self._set_timer(seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self._timer = None
        left = self._due - self._server.loop.time()
        if left <= 0:
            self.close()
        elif left != math.inf:  # another request has come meanwhile: the timer is not moved for each
            self._set_timer(left, self._head_is_late)

    def _set_timer(self, seconds: float, end: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer_at = self._server.loop.time() + seconds
        self._timer = self._server.loop.call_later(seconds, end)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    # Ending

    def _refuse(self, refusal: Refusal) -> None:
        """Answer where no request can be handled, and end."""
        exchange = Exchange()
        self.write(refusal_bytes(exchange, GatewayError(refusal), keep=False, with_body=True))
        self._server.on_malformed(exchange)
        self._start_ending()

    def _start_ending(self) -> None:
        """End the connection after what is written: FIN, then discard for at most `LINGER_SECONDS`."""
        transport = self.transport
        if transport is None or self._discarding:
            return
        self._discarding = True
        self.outgoing.flush()
        self._set_timer(LINGER_SECONDS, self.close)
        if not transport.can_write_eof():  # TLS: close_notify is the only half-close there is
            transport.close()
            return
        try:
            transport.write_eof()
        except OSError:  # reset by the client, which nothing told while reading was paused
            transport.abort()
            return
        self.resume_reading()
