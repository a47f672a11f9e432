"""One request's passage: up to its upstream and the response down to the client, byte for byte.

Response bytes go from the upstream's `data_received` straight to the client's transport; the request's task
sleeps meanwhile. A client that falls behind pauses its upstream and nothing else; a client that leaves aborts
it. What a stream looks like at its end is decided here: a broken one never ends cleanly, and never by reset.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from time import monotonic

from aiohttp import web

from gateway import headers
from gateway.client_connection import Answer, ClientConnection
from gateway.deadlines import Deadlines, Timeouts, Waiting
from gateway.downstream import Downstream
from gateway.errors import UPSTREAM_FAILED, UPSTREAM_TIMEOUT, GatewayError, Refusal
from gateway.exchange import Ending, Exchange
from gateway.metering import UsageReader
from gateway.upload import Upload, UploadError
from gateway.upstreams import Target, refusals
from gateway.upstreams.connection import Failure, ResponseHead, UpstreamConnection

STALE_SECONDS = 1.0
"""A reused connection that closes this soon without a response byte had been closed before it was used."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator has set for every passage."""

    timeouts: Timeouts
    max_body_bytes: int
    forward_request_headers: frozenset[bytes]
    """Lower-case names of request headers that go upstream beyond the usual ones."""


class Transfer:
    """One request's passage: receiver of an upstream connection, and flow of a client connection."""

    def __init__(self, rules: Rules, request: web.BaseRequest, exchange: Exchange, target: Target) -> None:
        assert isinstance(request.protocol, ClientConnection)
        self._loop = asyncio.get_running_loop()
        self._client = request.protocol
        self._request = request
        self._exchange = exchange
        self._target = target
        self._rules = rules
        self._upload = Upload(request, rules.max_body_bytes)
        self._downstream = Downstream(request, self._client, exchange)
        self._deadlines = Deadlines(rules.timeouts)
        self._connection: UpstreamConnection | None = None
        self._asked_at = 0.0
        self._woken: asyncio.Future[None] = self._loop.create_future()
        """Wakes the request's task: the response is whole, has failed, or has to be asked for again."""
        self._upload_room: asyncio.Event | None = None
        """Set when the upstream takes request bytes again; made when it first does not."""
        self._stale = False
        self._failure: Refusal | None = None
        self._whole = False
        self._cut: Ending | None = None
        """Why the client's connection was cut from here."""
        self._reader: UsageReader | None = None
        self._gathered_head: ResponseHead | None = None
        self._gathered: list[bytes] = []
        self._unread = 0
        """Bytes that a client which is behind had yet to take when last looked at."""

    @property
    def credential_id(self) -> str:
        """Who asked."""
        return self._exchange.principal.credential_id if self._exchange.principal else ""

    # The life of one request

    async def run(self) -> Answer:
        self._client.flow = self
        pump: asyncio.Task[None] | None = None
        try:
            first = self._upload.at_hand()
            self._exchange.request_bytes = self._upload.received
            if not self._upload.whole:
                self._send_continue()
            await self._ask(first)
            if not self._upload.whole:
                pump = self._loop.create_task(self._pump())
            await self._woken
            if self._stale:
                self._woken = self._loop.create_future()
                await self._ask(None)
                await self._woken
            return await self._answer()
        except UploadError as error:
            self._exchange.request_bytes = self._upload.received
            raise GatewayError(error.refusal) from None
        except asyncio.CancelledError:
            self._exchange.ending = self._cut or Ending.CLIENT_ABORTED
            raise
        finally:
            if pump:
                pump.cancel()

    def close(self) -> None:
        """Let go of everything, on whatever way out; an unfinished upstream request is aborted."""
        self._client.flow = None
        self._drop_connection()
        self._read_usage()

    async def _ask(self, first: bytes | None) -> None:
        """Send the request with what of its body is at hand; with None once more, on a fresh connection."""
        upstream = self._target.upstream
        try:
            connection = await upstream.connector.acquire(fresh=first is None)
        except OSError as error:
            _log.warning("upstream %s can't be reached: %s", upstream.name, type(error).__name__)
            raise GatewayError(UPSTREAM_FAILED) from None
        self._connection = connection
        if self._failure:  # meanwhile it was cut: nothing needs to be asked any more
            raise GatewayError(self._failure)
        framed = self._upload.again() if first is None else first
        if framed is None:  # meanwhile the body has grown beyond what is kept
            raise GatewayError(UPSTREAM_FAILED)
        self._exchange.upstream = upstream.name
        self._asked_at = monotonic()
        connection.start(self, self._request_head() + framed)
        if self._upload.whole:
            self._upload_done()
        else:
            self._deadlines.wait_for(Waiting.CLIENT_BODY)

    def _request_head(self) -> bytes:
        lines = headers.request_lines(
            self._request.raw_headers,
            self._rules.forward_request_headers,
            renamed=self._target.model != self._exchange.route.model,
            longest_timeout=self._rules.timeouts.total,
        )
        head = self._target.request_head(self._exchange.route)
        return b"\r\n".join((head, *lines)) + self._upload.head_lines()

    async def _answer(self) -> Answer:
        if self._failure:
            if not self._downstream.head_sent:
                raise GatewayError(self._failure)
            self._downstream.tell_broken(self._failure)
        if self._client.writing_paused:  # its deadline stands until it has caught up
            self._woken = self._loop.create_future()
            await self._woken
        return Answer(self._client, keep=self._whole and self._downstream.keeps_connection)

    # The request body

    def _send_continue(self) -> None:
        expected = self._request.headers.get("Expect", "").strip().lower()
        if expected == "100-continue" and self._request.version >= (1, 1) and self._client.transport:
            self._client.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _pump(self) -> None:
        """Send the rest of the body as it arrives, no faster than the upstream takes it."""
        upload = self._upload
        try:
            while not upload.whole:
                framed = await upload.read()
                self._exchange.request_bytes = upload.received
                self._deadlines.progress()
                # While a stale connection is replaced nobody takes it: it is kept, and goes with the rest.
                if connection := self._connection:
                    connection.write(framed)
                    await self._room(connection)
            self._upload_done()
        except UploadError as error:
            self._exchange.request_bytes = upload.received
            self.fail(error.refusal)
        except OSError:
            return  # the client is gone: the request's own task is being cancelled

    async def _room(self, connection: UpstreamConnection) -> None:
        """Wait until the upstream takes more of the request body."""
        while connection.writing_paused and connection is self._connection:
            self._upload_room = asyncio.Event()
            self._deadlines.wait_for(Waiting.UPSTREAM_UPLOAD)
            await self._upload_room.wait()
            self._deadlines.wait_for(Waiting.CLIENT_BODY)

    def _upload_done(self) -> None:
        if self._connection:
            self._connection.request_sent()
        if not self._client.writing_paused:
            self._deadlines.wait_for(Waiting.NEXT_CHUNK if self._downstream.head_sent else Waiting.FIRST_BYTE)

    def on_upload_resumed(self) -> None:
        if self._upload_room:
            self._upload_room.set()

    # The response

    def on_response(self, head: ResponseHead | None, body: bytes, whole: bool) -> None:
        if whole and self._upload.whole:
            self._connection = None  # back in its pool, or closed: no longer ours to abort
        if head:
            self._exchange.first_byte = monotonic()
            self._upload.forget()
            if head.status in refusals.EXAMINED_STATUSES:
                self._gathered_head = head
        if self._gathered_head:
            self._gather(self._gathered_head, body, whole)
        else:
            self._pass_on(head, body, whole)

    def _gather(self, head: ResponseHead, body: bytes, whole: bool) -> None:
        """Hold an error answer back until it is known whose error it is."""
        self._gathered.append(body)
        if not whole and sum(map(len, self._gathered)) <= refusals.EXAMINED_BYTES:
            return
        self._gathered_head = None
        text = b"".join(self._gathered)
        readable = refusals.decoded(text, head.first.get(b"content-encoding", b""))
        if refusals.refuses_the_key(head.status, readable):
            _log.error("upstream %s refuses the gateway's key (%d)", self._target.upstream.name, head.status)
            self.fail(UPSTREAM_FAILED)
            return
        delay = refusals.retry_delay(readable) if head.status == 429 else None
        if delay is not None and b"retry-after" not in head.first:
            head.headers.append((b"Retry-After", b"%d" % delay))
        self._pass_on(head, text, whole)

    def _pass_on(self, head: ResponseHead | None, body: bytes, whole: bool) -> None:
        if head and self._upload.whole:
            self._deadlines.wait_for(Waiting.NEXT_CHUNK)
        else:
            self._deadlines.progress()
        downstream = self._downstream
        downstream.send(head, body, whole=whole, upload_whole=self._upload.whole)
        if head and head.status < 400:
            self._reader = UsageReader(downstream.framing, downstream.content_encoding.decode("latin-1"))
        if body and self._reader:
            self._reader.feed(body)
        if whole:
            self._whole = True
            self._exchange.ending = self._ending()
            self._wake()

    def _ending(self) -> Ending:
        if self._exchange.status >= 400:
            return Ending.UPSTREAM_ERROR
        reader = self._reader
        if not reader or self._exchange.status != 200:
            return Ending.COMPLETE
        reader.end()
        if reader.error_seen:
            return Ending.UPSTREAM_ERROR_IN_STREAM
        return Ending.COMPLETE if reader.finished else Ending.SUSPECT

    def _read_usage(self) -> None:
        if self._reader:
            self._reader.end()
            self._exchange.usage = self._reader.usage
            self._exchange.model_version = self._reader.model_version

    def on_response_failed(self, failure: Failure) -> None:
        self._connection = None
        self.on_upload_resumed()
        soon = monotonic() - self._asked_at < STALE_SECONDS
        if failure is Failure.STALE and soon and self._upload.again() is not None:
            self._stale = True
            self._wake()
            return
        _log.warning("upstream %s: %s", self._target.upstream.name, failure.value)
        self.fail(UPSTREAM_FAILED)

    # The client falls behind, or too much time has passed

    def pause_writing(self) -> None:
        if self._connection:
            self._connection.pause_response()
        self._unread = self._client.bytes_unread()
        self._deadlines.wait_for(Waiting.CLIENT_READS)

    def resume_writing(self) -> None:
        if self._whole or self._failure:
            self._wake()
        elif self._connection:
            self._connection.resume_response()
            self._deadlines.wait_for(Waiting.NEXT_CHUNK)

    def look(self, now: float) -> None:
        """Whether a deadline has passed by now (`time.monotonic()`), or a client not being read has left."""
        waiting = self._deadlines.expired(now)
        transport = self._client.transport
        if waiting:
            self._expired(waiting)
        elif transport and not transport.is_reading() and self._client.peer_is_gone():
            self._cut_client(Ending.CLIENT_ABORTED)

    def _expired(self, waiting: Waiting) -> None:
        if waiting is Waiting.CLIENT_READS and (unread := self._client.bytes_unread()) < self._unread:
            self._unread = unread  # slow, but reading
            self._deadlines.wait_for(waiting)
        elif waiting in (Waiting.CLIENT_BODY, Waiting.CLIENT_READS) or self._whole or self._failure:
            self._cut_client(Ending.DEADLINE)
        else:
            self.fail(UPSTREAM_TIMEOUT)

    def _cut_client(self, ending: Ending) -> None:
        """The client is gone, or gets no more: the end of its connection cancels the request's task."""
        self._cut = ending
        self._drop_connection()
        if self._client.transport:
            self._client.transport.abort()

    # Ends

    def fail(self, refusal: Refusal) -> None:
        """The response will not become whole: the client is told as far as it still can be."""
        if self._failure or self._whole:
            return
        self._failure = refusal
        if refusal is UPSTREAM_TIMEOUT:
            self._exchange.ending = Ending.DEADLINE
        elif self._downstream.head_sent:
            self._exchange.ending = Ending.TRUNCATED
        self._drop_connection()
        self._wake()

    def _drop_connection(self) -> None:
        if self._connection:
            self._connection.abort()
            self._connection = None

    def _wake(self) -> None:
        if not self._woken.done():
            self._woken.set_result(None)
