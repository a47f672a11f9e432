"""One attempt at an upstream: connected, asked, its answer held back until it is known whose error it tells.

What an attempt comes to is told twice: to its asker, who may make another, and to its target, which may need
some rest. The rest of an answer that the client gets goes past it, from the connection to the asker.
"""

from __future__ import annotations

import asyncio
import logging
import math
from time import monotonic
from typing import Protocol

from gateway.errors import OVERLOADED, UPSTREAM_FAILED, Refusal, TooManyConnections
from gateway.exchange import FailedAttempt
from gateway.outgoing import Outgoing
from gateway.passing_on import pass_on
from gateway.upstreams.connection import UpstreamConnection
from gateway.upstreams.faults import CONNECTION_FAULT, Cause, Fault, read_answer
from gateway.upstreams.held_answer import EXAMINED_STATUSES, HeldAnswer
from gateway.upstreams.receiver import Failure, Receiver
from gateway.upstreams.response_head import ResponseHead
from gateway.upstreams.rest import Rest
from gateway.upstreams.target import Target

STALE_SECONDS = 1.0
"""A reused connection that closes this soon without a response byte had been closed before it was used."""
_log = logging.getLogger(__name__)


class Asker(Receiver, Protocol):
    """Whose request it is. As a receiver it is told of what follows the beginning of an answer."""

    request_whole: bool
    """Nothing more of the request follows."""

    @property
    def client_has_deadline(self) -> bool:
        """The client waits less long than the gateway: an upstream that gives up early did as it was told."""

    def waits_for_connection(self) -> None:
        """Nothing can be sent for now."""

    def request_for(self, target: Target) -> bytes | None:
        """The request's head, and what of its body is here; None where that is no longer kept."""

    def can_send_again(self) -> bool:
        """Whether `request_for` would give it."""

    def asked(self, connection: UpstreamConnection) -> None:
        """That has been sent on a connection, which takes the rest."""

    def on_answer(self, head: ResponseHead, body: bytes, whole: bool) -> None:
        """An answer that the client may be sent, with what of its body is here."""

    def on_failed_answer(self, head: ResponseHead, body: bytes, whole: bool) -> None:
        """The same of one that another target might not have given."""

    def on_no_answer(self, refusal: Refusal, *, elsewhere: bool) -> None:
        """There is none that the client may be sent: what it is told, unless another target may be tried."""

    def on_error(self, error: BaseException) -> None:
        """A fault of the gateway's own."""


class Attempt:
    """A receiver of an upstream connection until the answer's head is passed on. `begin`, then `end`."""

    __slots__ = (
        "_asked_at",
        "_asker",
        "_held",
        "_line",
        "_outgoing",
        "_task",
        "_trial",
        "began",
        "connection",
        "first_byte",
        "status",
        "target",
    )

    def __init__(self, asker: Asker, target: Target, outgoing: Outgoing) -> None:
        self.target = target
        self.connection: UpstreamConnection | None = None
        """While it is this attempt's own, or its asker's."""
        self.began = 0.0
        self.first_byte = 0.0
        """`time.monotonic()` seconds; 0.0: there was none."""
        self.status = 0
        self._asked_at = 0.0
        self._line = b""
        """Of the key that it was asked with, which may be renewed meanwhile."""
        self._asker = asker
        self._outgoing = outgoing
        self._trial: Rest | None = None
        """What ends if this one is answered."""
        self._task: asyncio.Task[None] | None = None
        """Opens a connection."""
        self._held: HeldAnswer | None = None

    def begin(self) -> None:
        """Send the request, or begin to."""
        self.began = monotonic()
        self._trial = self.target.begin()
        connection = self.target.upstream.connector.take()
        if connection is None:
            self._begin_connect()
        else:
            self._ask(connection)

    def end(self) -> None:
        """It is over, in whatever way. An unfinished request is aborted."""
        self.target.end(self._trial)
        if self._task:
            self._task.cancel()
        if self.connection:
            self.connection.abort()
            self.connection = None

    def _begin_connect(self) -> None:
        self._asker.waits_for_connection()
        self._task = pass_on(self.target.upstream.connector.connect, self._connected, self._not_connected)

    def _connected(self, connection: UpstreamConnection) -> None:
        self._task = None
        try:
            self._ask(connection)
        except Exception as error:
            self._asker.on_error(error)

    def _not_connected(self, error: Exception) -> None:
        self._task = None
        try:
            if isinstance(error, TooManyConnections):
                self._asker.on_no_answer(OVERLOADED, elsewhere=False)
            elif isinstance(error, OSError):
                name = self.target.upstream.name
                _log.warning("upstream %s can't be reached: %s", name, type(error).__name__)
                self._failed(CONNECTION_FAULT)
            else:
                raise error
        except Exception as fault:
            self._asker.on_error(fault)

    def _ask(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        asker = self._asker
        self._line = self.target.key.line
        request = asker.request_for(self.target)
        if request is None:  # meanwhile the body has grown beyond what is kept
            asker.on_no_answer(UPSTREAM_FAILED, elsewhere=False)
            return
        connection.start(self, request, self._outgoing, whole=asker.request_whole)
        self._asked_at = monotonic()
        asker.asked(connection)

    # What comes of it

    def on_response(self, head: ResponseHead | None, body: bytes, whole: bool) -> None:
        if whole and self._asker.request_whole:
            self.connection = None  # back in its pool, or closed: no longer ours to abort
        try:
            if head is not None:
                self._begin_answer(head, body, whole)
            elif self._held is not None:
                self._examine(self._held, body, whole)
        except Exception as error:
            self._asker.on_error(error)

    def on_response_failed(self, failure: Failure) -> None:
        began = self.connection is not None and self.connection.response_began
        self.connection = None
        soon = monotonic() - self._asked_at < STALE_SECONDS
        if failure is Failure.STALE and soon and self._asker.can_send_again():
            self._begin_connect()
            return
        _log.warning("upstream %s: %s", self.target.upstream.name, failure.value)
        self._failed(CONNECTION_FAULT, elsewhere=not began)  # what has begun to answer may be paid for

    def _failed(self, fault: Fault, *, elsewhere: bool = True) -> None:
        self.target.failed(fault)
        self._asker.on_no_answer(UPSTREAM_FAILED, elsewhere=elsewhere)

    def on_upload_flow(self) -> None:
        self._asker.on_upload_flow()

    def _begin_answer(self, head: ResponseHead, body: bytes, whole: bool) -> None:
        self.first_byte = monotonic()
        self.status = status = head.status
        if status in EXAMINED_STATUSES:
            self._held = HeldAnswer(head)
            self._examine(self._held, body, whole)
            return
        if not whole and self.connection:
            self.connection.receiver = self._asker
        if status < 400:
            self.target.answered(self.first_byte - self._asked_at, self._trial, whole=whole)
            self._asker.on_answer(head, body, whole)
        else:
            self._tell(head, body, whole, b"")

    def _examine(self, held: HeldAnswer, body: bytes, whole: bool) -> None:
        if held.add(body, whole=whole):
            self._held = None
            if not whole and self.connection:
                self.connection.receiver = self._asker
            self._tell(held.head, held.body, whole, held.readable())

    def _tell(self, head: ResponseHead, body: bytes, whole: bool, readable: bytes) -> None:
        """Whose error it is: the client is sent it, unless it is about the gateway's key."""
        fault = read_answer(
            head.status, head.retry_after, readable, client_deadline=self._asker.client_has_deadline
        )
        if fault is not None and fault.cause is Cause.KEY:
            if self._line == self.target.key.line:
                self.target.failed(fault)
            self._asker.on_no_answer(UPSTREAM_FAILED, elsewhere=True)
            return
        if head.status == 429 and not head.retry_after and fault and fault.delay is not None:
            head.lines.append(b"Retry-After: %d" % math.ceil(fault.delay))
        if fault is not None:
            self.target.failed(fault)
            self._asker.on_failed_answer(head, body, whole)
        else:
            self._asker.on_answer(head, body, whole)

    def failed(self) -> FailedAttempt | None:
        """What is kept of it when another follows; nothing of one that never had a connection."""
        if not self._asked_at:
            return None
        return FailedAttempt(self.target.upstream.name, self.began, self.first_byte, monotonic(), self.status)
