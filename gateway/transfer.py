"""One request's passage: up to its upstream and the response down to the client, byte for byte.

No task waits for it: the request is sent from within the client's `data_received`, and response bytes go from
the upstream's `data_received` straight to the client's transport; only a new connection is opened in a task.
An upstream that falls behind pauses its client, and a client that does, its upstream; a client
that leaves aborts it. What a stream looks like at its end is decided here: a broken one never
ends cleanly, and never by reset.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Protocol

from gateway import headers
from gateway.client_connection import ClientConnection
from gateway.deadlines import Deadline, Timeouts, Waiting
from gateway.downstream import Downstream
from gateway.errors import (
    BODY_TOO_LARGE,
    HTTP_MALFORMED,
    INTERNAL,
    OVERLOADED,
    UPSTREAM_FAILED,
    UPSTREAM_TIMEOUT,
    GatewayError,
    Refusal,
    described,
)
from gateway.exchange import Ending, Exchange
from gateway.upload import KEPT_BYTES, Upload, framed
from gateway.upstreams import Target, refusals
from gateway.upstreams.connection import Failure, UpstreamConnection
from gateway.upstreams.connector import TooManyConnections
from gateway.upstreams.response_head import ResponseHead

STALE_SECONDS = 1.0
"""A reused connection that closes this soon without a response byte had been closed before it was used."""

_log = logging.getLogger(__name__)
_MUCH_BYTES = 64 * 1024
"""Unwritten bytes beyond which a client may turn out to be behind: the transports' own high-water mark."""
# Globals, for an enumeration's member is found a good deal later.
_FIRST_BYTE, _NEXT_CHUNK, _CLIENT_READS = Waiting.FIRST_BYTE, Waiting.NEXT_CHUNK, Waiting.CLIENT_READS


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator has set for every passage."""

    timeouts: Timeouts
    max_body_bytes: int
    forward_request_headers: frozenset[bytes]
    """Lower-case names of request headers that go upstream beyond the usual ones."""


class Relaying(Protocol):
    """What all transfers share."""

    rules: Rules
    live: set[Transfer]
    """Those under way."""


class Owner(Protocol):
    """Who had a transfer made: told once, at its end."""

    def refused(self, client: ClientConnection, exchange: Exchange, error: GatewayError) -> None:
        """It came to nothing, and the client has not been sent a byte."""

    def answered(self, client: ClientConnection, exchange: Exchange, *, keep: bool) -> None:
        """All that the client is to be sent is written. `keep`: another request may follow."""

    def left(self, client: ClientConnection, exchange: Exchange) -> None:
        """The client is gone."""


class Transfer:
    """One request's passage: receiver of an upstream connection, and passage of a client connection."""

    # What is not set yet stands in the class: every request has one of these, and few set everything.
    _connection: UpstreamConnection | None = None
    _downstream: Downstream | None = None
    _upload: Upload | None = None
    _task: asyncio.Task[None] | None = None
    """Opens a connection."""
    _body: bytes | None = b""
    """All of the body as it was sent; None when it is not here, or no longer kept."""
    _request_whole = False
    _whole = False
    _failure: Refusal | None = None
    _cut: Ending | None = None
    """Why the client's connection was cut from here."""
    _over = False
    _held: refusals.HeldAnswer | None = None
    _unread = 0
    """Bytes that a client which is behind had yet to take when last looked at."""
    _asked_at = 0.0

    def __init__(
        self, relay: Relaying, owner: Owner, client: ClientConnection, exchange: Exchange, target: Target
    ) -> None:
        self._relay = relay
        self._rules = rules = relay.rules
        self._owner = owner
        self._client = client
        self._exchange = exchange
        self._target = target
        self._deadline = Deadline(rules.timeouts, exchange.began)

    @property
    def credential_id(self) -> str:
        """Who asked."""
        return self._exchange.principal.credential_id if self._exchange.principal else ""

    # The request

    def start(self) -> None:
        """Send the request, or begin to. Raises GatewayError where its body can't be taken."""
        client, exchange, limit = self._client, self._exchange, self._rules.max_body_bytes
        request = client.request
        body = request.take_body()
        if client.body_is_broken:
            raise GatewayError(HTTP_MALFORMED)
        if len(body) > limit:
            exchange.request_bytes = len(body)
            raise GatewayError(BODY_TOO_LARGE)
        if request.body_whole:
            exchange.request_bytes = len(body)
            self._body = framed(body, last=True) if request.chunked else body
            self._request_whole = True
        else:
            self._upload = Upload(client, exchange, self._deadline, body, max_bytes=limit)
        client.passage = self
        self._relay.live.add(self)
        connection = self._target.upstream.connector.take()
        if connection is None:
            self._begin_connect()
        else:
            self._ask(connection)

    def _begin_connect(self) -> None:
        if self._upload:
            self._upload.wait()
        self._task = asyncio.get_running_loop().create_task(self._connect())
        self._task.add_done_callback(self._connect_is_done)

    async def _connect(self) -> None:
        upstream = self._target.upstream
        try:
            connection = await upstream.connector.connect()
        except TooManyConnections:
            self.fail(OVERLOADED)
        except OSError as error:
            _log.warning("upstream %s can't be reached: %s", upstream.name, type(error).__name__)
            self.fail(UPSTREAM_FAILED)
        else:
            self._ask(connection)

    def _ask(self, connection: UpstreamConnection) -> None:
        """Send the request, with what of its body is here; the second time on a fresh connection."""
        self._connection = connection
        self._exchange.upstream = self._target.upstream.name
        upload = self._upload
        body = self._body if upload is None else upload.so_far()
        if body is None:  # meanwhile the body has grown beyond what is kept
            self.fail(UPSTREAM_FAILED)
            return
        connection.start(self, self._request_head() + body, whole=self._request_whole)
        self._asked_at = monotonic()
        if len(body) > KEPT_BYTES:
            self._body = None
        if self._request_whole:
            self._deadline.wait_for(_FIRST_BYTE)
        if upload:
            upload.send_on(connection)

    def _request_head(self) -> bytes:
        request, target = self._client.request, self._target
        lines = headers.request_lines(
            request.headers,
            self._rules.forward_request_headers,
            renamed=target.model != self._exchange.route.model,
            longest_timeout=self._rules.timeouts.total,
        )
        if request.chunked:
            lines.append(b"Transfer-Encoding: chunked\r\n\r\n")
        else:
            lines.append(b"Content-Length: %d\r\n\r\n" % (request.content_length or 0))
        return target.request_head(self._exchange.route) + b"\r\n".join(lines)

    def on_body(self) -> None:
        upload = self._upload
        if upload is None or upload.whole:
            return
        if refusal := upload.go_on():
            self.fail(refusal)
        elif upload.whole:
            self._request_whole = True
            if self._connection and not self._client.writing_paused:
                self._deadline.wait_for(_NEXT_CHUNK if self._downstream else _FIRST_BYTE)

    def on_upload_flow(self) -> None:
        if self._upload:
            self._upload.flow()

    # The response

    def on_response(self, head: ResponseHead | None, body: bytes, whole: bool) -> None:
        if whole and self._request_whole:
            self._connection = None  # back in its pool, or closed: no longer ours to abort
        try:
            if head is not None:
                self._begin_response(head, body, whole)
            elif self._held is not None:
                self._examine(self._held, body, whole)
            elif self._downstream:
                self._downstream.end(body, whole=whole)
                if whole:
                    self._response_is_whole()
        except Exception as error:
            self._fault(error)

    def on_response_body(self, data: bytes) -> None:
        try:
            if (downstream := self._downstream) is not None:
                self._deadline.moved = True
                downstream.write(data)
            elif self._held is not None:
                self._examine(self._held, data, False)
        except Exception as error:
            self._fault(error)

    def _begin_response(self, head: ResponseHead, body: bytes, whole: bool) -> None:
        self._exchange.first_byte = monotonic()
        self._body = None
        if self._upload:
            self._upload.forget()
        if head.status in refusals.EXAMINED_STATUSES:
            self._held = refusals.HeldAnswer(head)
            self._examine(self._held, body, whole)
        else:
            self._answer(head, body, whole)

    def _examine(self, held: refusals.HeldAnswer, body: bytes, whole: bool) -> None:
        self._deadline.moved = True
        if not held.add(body, whole=whole):
            return
        self._held = None
        if held.refuses_the_key():
            status = held.head.status
            _log.error("upstream %s refuses the gateway's key (%d)", self._target.upstream.name, status)
            self.fail(UPSTREAM_FAILED)
        else:
            held.add_retry_after()
            self._answer(held.head, held.body, whole)

    def _answer(self, head: ResponseHead, body: bytes, whole: bool) -> None:
        """Send the head and the beginning of the body."""
        if self._request_whole:
            self._deadline.wait_for(_NEXT_CHUNK)
        keep = self._request_whole and self._client.request.may_keep
        self._downstream = downstream = Downstream(self._client, self._exchange, head, keep=keep)
        downstream.begin(head, body, whole=whole)
        if whole:
            self._response_is_whole()

    def _response_is_whole(self) -> None:
        self._whole = True
        self._settle()

    def on_response_failed(self, failure: Failure) -> None:
        self._connection = None
        soon = monotonic() - self._asked_at < STALE_SECONDS
        can_send_again = self._upload.can_send_again() if self._upload else self._body is not None
        if failure is Failure.STALE and soon and can_send_again:
            self._begin_connect()
            return
        _log.warning("upstream %s: %s", self._target.upstream.name, failure.value)
        self.fail(UPSTREAM_FAILED)

    # The client falls behind or leaves, or too much time has passed

    def pause_writing(self) -> None:
        if self._connection:
            self._connection.pause_response()
        self._unread = self._client.bytes_unread()
        self._deadline.wait_for(_CLIENT_READS)

    def resume_writing(self) -> None:
        if self._whole or self._failure:
            self._settle()
        elif self._connection:
            self._connection.resume_response()
            self._deadline.wait_for(_NEXT_CHUNK)

    def client_lost(self) -> None:
        self.let_go()
        self._exchange.ending = self._cut or Ending.CLIENT_ABORTED
        self._owner.left(self._client, self._exchange)

    def look(self, now: float) -> None:
        """Whether a deadline has passed by now (`time.monotonic()`), or somebody not being read has left."""
        transport = self._client.transport
        waiting = self._deadline.passed(now)
        if waiting is not None:
            self._expired(waiting)
        elif transport and not transport.is_reading() and self._client.has_left():
            self._cut_client(Ending.CLIENT_ABORTED)
        elif (
            self._deadline.waiting is Waiting.UPSTREAM_UPLOAD
            and self._connection
            and self._connection.has_left()
        ):
            _log.warning("upstream %s: %s", self._target.upstream.name, Failure.CLOSED.value)
            self.fail(UPSTREAM_FAILED)

    def _expired(self, waiting: Waiting) -> None:
        if waiting is _CLIENT_READS and (unread := self._client.bytes_unread()) < self._unread:
            self._unread = unread  # slow, but reading
            self._deadline.wait_for(waiting)
        elif waiting in (Waiting.CLIENT_BODY, _CLIENT_READS) or self._whole or self._failure:
            self._cut_client(Ending.DEADLINE)
        else:
            self.fail(UPSTREAM_TIMEOUT)

    def _cut_client(self, ending: Ending) -> None:
        """The client is gone, or gets no more: the end of its connection is the end of this."""
        self._cut = ending
        self._drop_connection()
        if self._client.transport:
            self._client.transport.abort()

    # Ends

    def fail(self, refusal: Refusal) -> None:
        """The response will not become whole: the client is told as far as it still can be."""
        if self._failure or self._whole or self._over:
            return
        self._failure = refusal
        self._drop_connection()
        if refusal is UPSTREAM_TIMEOUT:
            self._exchange.ending = Ending.DEADLINE
        if self._downstream:
            if refusal is not UPSTREAM_TIMEOUT:
                self._exchange.ending = Ending.TRUNCATED
            self._downstream.tell_broken(refusal)
            self._settle()
        else:
            self.let_go()
            self._owner.refused(self._client, self._exchange, GatewayError(refusal))

    def _fault(self, error: BaseException) -> None:
        _log.error("internal error: %s", described(error))
        self.fail(INTERNAL)

    def _settle(self, *, flushed: bool = False) -> None:
        """End, as soon as the client has taken what is written but for a little."""
        client = self._client
        transport = client.transport
        if self._over or client.writing_paused:  # the deadline stands until it has caught up
            return
        if not flushed and transport and transport.get_write_buffer_size() > _MUCH_BYTES:
            # uvloop tries to write at the end of the loop's turn, and says then whether the client is behind.
            asyncio.get_running_loop().call_soon(partial(self._settle, flushed=True))
            return
        self.let_go()
        keep = self._whole and self._downstream is not None and self._downstream.keeps_connection
        self._owner.answered(client, self._exchange, keep=keep)

    def let_go(self) -> None:
        """Keep nothing of what was used, on whatever way out; an unfinished upstream request is aborted."""
        self._over = True
        self._relay.live.discard(self)
        self._client.passage = None
        self._drop_connection()
        if self._task:
            self._task.cancel()
        if self._upload:
            self._client.resume_reading()
        if self._downstream:
            self._downstream.finish(whole=self._whole)

    def _drop_connection(self) -> None:
        if self._connection:
            self._connection.abort()
            self._connection = None

    def _connect_is_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._fault(error)
