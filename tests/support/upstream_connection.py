"""One connection of a raw upstream: reads requests, records them, and plays the script chosen for each.

Non-blocking sockets and, for TLS, memory BIOs instead of asyncio's transports, which read ahead, answer a
close_notify by themselves and hide how a peer left: here just these things are for the test to choose.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Literal

from tests.support.loop_thread import DEADLINE, LoopThread
from tests.support.script import Script
from tests.support.upstream_request import Answer, Departure, UpstreamRequest
from tests.support.wire import WireError, take_head

if TYPE_CHECKING:
    from tests.support.raw_upstream import RawUpstream

_RECEIVE_BYTES = 65536
_SEND_BYTES = 16384  # as in a TLS record; also the grain of what is counted as sent
_LINGER_SECONDS = 1.0


class UpstreamConnection:
    """One accepted connection: facts (`closed`, attributes) for tests, methods for the steps of scripts."""

    def __init__(
        self, upstream: RawUpstream, thread: LoopThread, sock: socket.socket, index: int, first: Script
    ) -> None:
        self.upstream = upstream
        self.index = index
        """Its number among the upstream's connections, from 0."""
        self.requests: list[UpstreamRequest] = []
        self.departure: Departure | None = None
        self.close_notify = False
        """Whether the peer has sent TLS's close_notify, which is not yet a FIN."""
        self.tls_error = ""
        """Why TLS failed: in the handshake, or an alert from the peer."""
        self.fin_sent = False
        self._thread = thread
        self._loop = thread.loop
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        if upstream.tls is not None:
            self._tls = upstream.tls.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._buffer = bytearray()
        self._unanswered: deque[tuple[UpstreamRequest, Answer]] = deque()
        self._arriving: UpstreamRequest | None = None
        self._answered: UpstreamRequest | None = None
        self._may_read = True
        self._established = False
        self._eof = False
        self._over = False
        self._task = self._loop.create_task(self._run(first))

    # For tests

    @property
    def is_open(self) -> bool:
        """Whether neither side has left it."""
        return self.departure is None and not self._over

    @property
    def session_reused(self) -> bool:
        """Whether the peer took up a TLS session that it had from an earlier connection."""
        return self._tls is not None and bool(self._tls.session_reused)

    async def closed(self, deadline: float = DEADLINE) -> Departure:
        """How and when the peer left; known even where a script reads nothing.

        The kernel tells only of what has arrived: the FIN of a peer that still has bytes to send comes after
        these, so after `resume_reading` where the buffers were full.
        """
        what = f"the peer to leave connection {self.index}"
        await self.upstream.until(what, lambda: self.departure is not None, deadline)
        assert self.departure is not None
        return self.departure

    # For the steps of a script

    async def send(self, data: bytes) -> None:
        """Sends bytes of the answer. Raises `ConnectionError`."""
        for start in range(0, len(data), _SEND_BYTES):
            piece = data[start : start + _SEND_BYTES]
            if self._tls is not None and self._established:
                self._tls.write(piece)
                await self._loop.sock_sendall(self._sock, self._outgoing.read())
            else:
                await self._loop.sock_sendall(self._sock, piece)
            if self._answered is not None:
                self._answered.sent += len(piece)
            self._thread.changed()

    async def read_body(self) -> None:
        """Waits for the whole body of the request being answered. Raises `ConnectionError`."""
        request = self._answered
        if request is None:
            return
        if not await self._thread.holds(lambda: request.body_complete or (False if self._eof else None)):
            raise ConnectionAbortedError("the request ends inside its body")

    async def peer_gone(self) -> None:
        """Waits until the peer leaves."""
        await self._thread.holds(lambda: self.departure)

    def stop_reading(self) -> None:
        """Takes no more bytes off the socket."""
        self._may_read = False
        self._loop.remove_reader(self._sock)

    def resume_reading(self) -> None:
        """Takes bytes off the socket again."""
        self._may_read = True
        if self._established and not self._eof:
            self._loop.add_reader(self._sock, self._readable)

    def half_close(self) -> None:
        """Sends FIN."""
        self.fin_sent = True
        with contextlib.suppress(OSError):  # the peer may have reset it
            self._sock.shutdown(socket.SHUT_WR)

    def say_goodbye(self) -> None:
        """Sends TLS's close_notify, if there is TLS, and no FIN."""
        if self._tls is not None and self._established:
            with contextlib.suppress(OSError):
                self._tls.unwrap()
            with contextlib.suppress(OSError):
                self._sock.send(self._outgoing.read())

    async def close_politely(self) -> None:
        """Sends close_notify and FIN, then lingers: closing at once would reset what is still unread."""
        self._over = True
        self.say_goodbye()
        self.half_close()
        if not self._eof:
            self._loop.add_reader(self._sock, self._readable)
        self._thread.changed()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await self.peer_gone()

    def reset(self) -> None:
        """Makes the close that follows at once a reset."""
        self._over = True
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    # Life

    async def _run(self, first: Script) -> None:
        try:
            await self._play(first)
            if not self._over:
                await self._establish()
            while not self._over and await self._thread.holds(self._has_work):
                self._answered, answer = self._unanswered.popleft()
                if answer.after_body:
                    await self.read_body()
                await self._play(answer.script_for(self._answered))
        except ConnectionError as error:
            if isinstance(error, BrokenPipeError) and self.fin_sent and self.departure is None:
                self._fail("its script sends after fin()")
            self.left("rst")
        except ssl.SSLError as error:
            self.tls_error = str(error)
        except WireError as error:
            self._fail(str(error))
        except Exception as error:
            self._fail(f"its script raised {error!r}")
        finally:
            self._over = True
            self._loop.remove_reader(self._sock)
            self.upstream.forget(self._sock)
            self._sock.close()
            self._thread.changed()

    async def _play(self, script: Script) -> None:
        for step in script:
            if self._over:
                return
            await step(self)

    def _has_work(self) -> bool | None:
        """True: a request to answer; False: there will be none; None: not yet known."""
        if self._unanswered:
            return True
        gone = self._eof or self.close_notify or (self.departure is not None and not self._may_read)
        return False if gone else None

    async def _establish(self) -> None:
        """Makes the TLS handshake, if any, and begins to read unless a script said not to."""
        if self._tls is not None and not await self._handshake(self._tls):
            self._over = True
            return
        self._established = True
        if self._may_read:
            self.resume_reading()
            self._decrypt()  # of what came together with the end of the handshake
            self._thread.changed()

    async def _handshake(self, tls: ssl.SSLObject) -> bool:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._loop.sock_sendall(self._sock, self._outgoing.read())
                self._incoming.write(data := await self._loop.sock_recv(self._sock, _RECEIVE_BYTES))
                if not data:
                    self.tls_error = "the peer left during the handshake"
                    return False
            except ssl.SSLError as error:
                self.tls_error = str(error)
                return False
            else:
                await self._loop.sock_sendall(self._sock, self._outgoing.read())
                return True

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            self.left("rst")
            return
        if not data:
            self._eof = True
            self._loop.remove_reader(self._sock)
            self.left("fin")
            return
        if self._over:  # it lingers
            return
        try:
            if self._tls is None:
                self._feed(data)
            else:
                self._incoming.write(data)
                self._decrypt()
        except ssl.SSLError as error:
            self.tls_error = str(error)
            self._task.cancel()
        except WireError as error:
            self._fail(str(error))
            self._task.cancel()
        self._thread.changed()

    def _decrypt(self) -> None:
        if self._tls is None:
            return
        with contextlib.suppress(ssl.SSLWantReadError):
            try:
                while data := self._tls.read(_RECEIVE_BYTES):
                    self._feed(data)
            except ssl.SSLZeroReturnError:
                pass
            self.close_notify = True

    def _feed(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer:
            if self._arriving is None:
                head = take_head(self._buffer)
                if head is None:
                    return
                self._arriving, answer = self.upstream.record(self, head)
                self._unanswered.append((self._arriving, answer))
            self._arriving.incoming.feed(self._buffer)
            if not self._arriving.body_complete:
                return
            self._arriving = None

    def left(self, kind: Literal["fin", "rst"]) -> None:
        """Notes that the peer has left; a reset ends the script, which could not send anything any more."""
        if self.departure is None:
            self.departure = Departure(kind, time.monotonic())
        if kind == "rst" and asyncio.current_task(self._loop) is not self._task:
            self._task.cancel()
        self._thread.changed()

    def _fail(self, what: str) -> None:
        self.upstream.failures.append(f"connection {self.index}: {what}")
