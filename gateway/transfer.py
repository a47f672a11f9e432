"""One request's passage: up to an upstream and the response down to the client, byte for byte.

No task waits for it: the request is sent from within the client's `data_received`, and response bytes go from
the upstream's `data_received` straight to the client's transport; only a new connection is opened in a task.
An upstream that falls behind pauses its client, and a client that does, its upstream; a client
that leaves aborts it. Until the client has been sent a byte, another attempt may follow one that failed.
What a stream looks like at its end is decided here: a broken one never ends cleanly, and never by reset.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from gateway import headers
from gateway.attempt import Attempt
from gateway.client_connection import ClientConnection
from gateway.deadlines import Deadline, Waiting
from gateway.downstream import Downstream
from gateway.errors import (
    BODY_TOO_LARGE,
    HTTP_MALFORMED,
    INTERNAL,
    UPSTREAM_FAILED,
    UPSTREAM_TIMEOUT,
    GatewayError,
    Refusal,
    described,
)
from gateway.exchange import Ending, Exchange
from gateway.retrying import Retrying
from gateway.transfer_context import Owner, Relaying
from gateway.upload import Upload, framed
from gateway.upstreams.connection import UpstreamConnection
from gateway.upstreams.faults import CONNECTION_FAULT, TIMEOUT_FAULT
from gateway.upstreams.receiver import Failure
from gateway.upstreams.response_head import ResponseHead
from gateway.upstreams.target import Target

_log = logging.getLogger(__name__)
_LARGE_BYTES = 16 * 1024
"""A request no larger is taken by the kernel as it comes."""
_MUCH_BYTES = 64 * 1024
"""Unwritten bytes beyond which a client may turn out to be behind: the transports' own high-water mark."""
# Globals, for an enumeration's member is found a good deal later.
_FIRST_BYTE, _NEXT_CHUNK, _CLIENT_READS = Waiting.FIRST_BYTE, Waiting.NEXT_CHUNK, Waiting.CLIENT_READS


class Transfer:
    """One request's passage: asker of its attempts, and passage of a client connection."""

    # What is not set yet stands in the class: every request has one of these, and few set everything.
    _attempt: Attempt | None = None
    """The one under way, or the one whose answer the client gets."""
    _retrying: Retrying | None = None
    """Makes others after it."""
    _downstream: Downstream | None = None
    _upload: Upload | None = None
    _body: bytes | None = b""
    """All of the body as it was sent; None when it is not here, or no longer kept."""
    _kept = 0
    """How many bytes of it are counted as kept."""
    request_whole = False
    _whole = False
    _failure: Refusal | None = None
    _cut: Ending | None = None
    """Why the client's connection was cut from here."""
    _over = False
    _unread = 0
    """Bytes that a client which is behind had yet to take when last looked at."""
    _passed = 0
    """Bytes of the response's body that had come when last looked at."""

    def __init__(self, relay: Relaying, owner: Owner, client: ClientConnection, exchange: Exchange) -> None:
        self._relay = relay
        self._rules = rules = relay.rules
        self._owner = owner
        self._client = client
        self._exchange = exchange
        self._deadline = Deadline(rules.timeouts, exchange.began)

    @property
    def credential_id(self) -> str:
        """Who asked."""
        return self._exchange.principal.credential_id if self._exchange.principal else ""

    # The request

    def start(self, target: Target) -> None:
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
            self.request_whole = True
        else:
            self._upload = Upload(
                client, exchange, self._deadline, self._relay.keeping, body, max_bytes=limit
            )
        client.passage = self
        self._relay.live.add(self)
        self._relay.budget.request()
        self.attempt(target)

    def attempt(self, target: Target) -> None:
        """Try it there."""
        exchange = self._exchange
        exchange.attempts += 1
        exchange.upstream = ""  # until it is asked
        exchange.answered_as = target.model_id
        self._attempt = attempt = Attempt(self, target, self._client.outgoing)
        attempt.begin()

    def waits_for_connection(self) -> None:
        if self._upload:
            self._upload.wait()

    def request_for(self, target: Target) -> bytes | None:
        body = self._body if self._upload is None else self._upload.so_far()
        return None if body is None else self._request_head(target) + body

    def can_send_again(self) -> bool:
        return self._upload.can_send_again() if self._upload else self._body is not None

    def asked(self, connection: UpstreamConnection) -> None:
        assert self._attempt
        self._exchange.upstream = self._attempt.target.upstream.name
        upload, body = self._upload, self._body
        if upload:
            upload.send_on(connection)
        elif body and not self._kept:
            if self._relay.keeping.take(len(body)):
                self._kept = len(body)
            else:
                self._body = None
        if self.request_whole and self._deadline.waiting is not _FIRST_BYTE:  # one deadline for all attempts
            self._deadline.wait_for(_FIRST_BYTE)

    def _request_head(self, target: Target) -> bytes:
        request = self._client.request
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
            self.request_whole = True
            if self._whole and self._attempt:
                self._attempt.connection = None  # back in its pool, or closed: no longer ours to abort
            if self._connection and not self._client.writing_paused:
                self._deadline.wait_for(_NEXT_CHUNK if self._downstream else _FIRST_BYTE)

    def on_upload_flow(self) -> None:
        if self._upload:
            self._upload.flow()

    @property
    def _connection(self) -> UpstreamConnection | None:
        return self._attempt.connection if self._attempt else None

    # What becomes of an attempt

    @property
    def client_has_deadline(self) -> bool:
        timeout = headers.server_timeout(self._client.request.fields)
        return timeout is not None and timeout < self._rules.timeouts.first_byte

    def on_answer(self, head: ResponseHead, body: bytes, whole: bool) -> None:
        """Send the head and the beginning of the body."""
        assert self._attempt
        self._exchange.first_byte = self._attempt.first_byte
        self._forget_body()
        if self.request_whole and not whole:
            self._deadline.wait_for(_NEXT_CHUNK)
        keep = self.request_whole and self._client.request.may_keep
        self._downstream = downstream = Downstream(self._client, self._exchange, head, keep=keep)
        downstream.begin(head, body, whole=whole)
        if whole:
            self._response_is_whole()
            return
        self._passed = downstream.body_bytes
        if self._attempt.connection:
            self._attempt.connection.take_body = downstream.write

    def on_failed_answer(self, head: ResponseHead, body: bytes, whole: bool) -> None:
        if not self._try_another():
            self.on_answer(head, body, whole)

    def on_no_answer(self, refusal: Refusal, *, elsewhere: bool) -> None:
        if not (elsewhere and self._try_another()):
            self.fail(refusal)

    def on_error(self, error: BaseException) -> None:
        _log.error("internal error: %s", described(error))
        self.fail(INTERNAL)

    def _try_another(self) -> bool:
        """Make another attempt in a moment, where one may be made: the last one came to nothing."""
        attempt, exchange = self._attempt, self._exchange
        if self._over or attempt is None:
            return False
        if self._retrying is None:
            self._retrying = Retrying(self, self._relay, self._owner, self._client.request, exchange)
        if not self._retrying.after(attempt.target):
            return False
        self._attempt = None
        attempt.end()
        if failed := attempt.failed():
            exchange.failed_attempts = (*exchange.failed_attempts, failed)
        exchange.upstream = ""  # that attempt is over, and has its record
        self.waits_for_connection()
        return True

    # The rest of the response

    def on_response(self, head: ResponseHead | None, body: bytes, whole: bool) -> None:
        if whole and self.request_whole and self._attempt:
            self._attempt.connection = None  # back in its pool, or closed: no longer ours to abort
        try:
            if self._downstream:
                self._downstream.end(body, whole=whole)
                if whole:
                    if self._attempt and self._exchange.status < 400:
                        self._attempt.target.completed()
                    self._response_is_whole()
        except Exception as error:
            self.on_error(error)

    def on_response_failed(self, failure: Failure) -> None:
        assert self._attempt
        self._attempt.connection = None
        self._broke_off(failure)

    def _broke_off(self, failure: Failure) -> None:
        assert self._attempt
        self._attempt.target.failed(CONNECTION_FAULT)
        _log.warning("upstream %s: %s", self._exchange.upstream, failure.value)
        self.fail(UPSTREAM_FAILED)

    def _response_is_whole(self) -> None:
        self._whole = True
        self._settle()

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
        before, self._passed = self._passed, self._downstream.body_bytes if self._downstream else 0
        moved = self._passed > before
        waiting = self._deadline.passed(now, moved=moved)
        if waiting is not None:
            self._expired(waiting)
        elif transport and not transport.is_reading() and self._client.has_left():
            self._cut_client(Ending.CLIENT_ABORTED)
        elif not moved and self._connection and self._exchange.request_bytes > _LARGE_BYTES:
            self._connection.look()

    def _expired(self, waiting: Waiting) -> None:
        if waiting is _CLIENT_READS and (unread := self._client.bytes_unread()) < self._unread:
            self._unread = unread  # slow, but reading
            self._deadline.wait_for(waiting)
        elif waiting in (Waiting.CLIENT_BODY, _CLIENT_READS) or self._whole or self._failure:
            self._cut_client(Ending.DEADLINE)
        else:
            if waiting is not Waiting.TOTAL and self._attempt and not self.client_has_deadline:
                self._attempt.target.failed(TIMEOUT_FAULT)
            self.fail(UPSTREAM_TIMEOUT)

    def _cut_client(self, ending: Ending) -> None:
        """The client is gone, or gets no more: the end of its connection is the end of this."""
        self._cut = ending
        self._end_attempt()
        if self._client.transport:
            self._client.transport.abort()

    # Ends

    def fail(self, refusal: Refusal) -> None:
        """The response will not become whole: the client is told as far as it still can be."""
        self.give_up(GatewayError(refusal))

    def give_up(self, error: GatewayError) -> None:
        refusal = error.refusal
        if self._failure or self._whole or self._over:
            return
        self._failure = refusal
        self._end_attempt()
        if refusal is UPSTREAM_TIMEOUT:
            self._exchange.ending = Ending.DEADLINE
        if self._downstream:
            if refusal is not UPSTREAM_TIMEOUT:
                self._exchange.ending = Ending.TRUNCATED
            self._downstream.tell_broken(refusal)
            self._settle()
        else:
            self.let_go()
            self._owner.refused(self._client, self._exchange, error)

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
        self._end_attempt()
        self._forget_body()
        if self._upload:
            self._client.resume_reading()
        if self._downstream:
            self._downstream.finish(whole=self._whole)

    def _end_attempt(self) -> None:
        if self._retrying:
            self._retrying.end()
            self._retrying = None
        if self._attempt:
            self._attempt.end()
            self._attempt = None

    def _forget_body(self) -> None:
        self._body = None
        if self._kept:
            self._relay.keeping.give_back(self._kept)
            self._kept = 0
        if self._upload:
            self._upload.forget()
