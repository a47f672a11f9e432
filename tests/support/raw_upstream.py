"""A scriptable HTTP/1.1 upstream over real sockets: records what arrives, answers with any bytes and fault.

It runs in a thread with an event loop of its own, so a test that blocks its loop (or runs it under uvloop)
does not stall it, and what it records is there for the test to read without crossing a process border.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.support.loop_thread import DEADLINE, LoopThread
from tests.support.script import Script, response
from tests.support.upstream_connection import UpstreamConnection
from tests.support.upstream_request import Answer, Chooser, UpstreamRequest
from tests.support.wire import Head

_DEFAULT = response(headers=[("Content-Type", "application/json")], body=b"{}")


class RawUpstream:
    """A server on 127.0.0.1 and a free port; used as a context manager.

    Each request takes the next script of the queue (`answer_next`), or the default (`answer_always`). Leaving
    the context raises `AssertionError` if a peer sent anything but HTTP/1.1, or a script failed;
    another error that leaves it gets a note of what the upstream has seen. A `forgetful` one records no
    request, and of connections only the present ones: for a run so long that its records would fill memory.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
        send_buffer: int | None = None,
        forgetful: bool = False,
    ) -> None:
        self.tls = tls
        self.requests: list[UpstreamRequest] = []
        """All requests whose head has arrived, in that order."""
        self.connections: list[UpstreamConnection] = []
        """All connections accepted, in that order."""
        self.failures: list[str] = []
        self._first_scripts: deque[Script] = deque()
        self._answers: deque[Answer] = deque()
        self._default = Answer(_DEFAULT)
        self._events: set[str] = set()
        self._watched: dict[int, UpstreamConnection] = {}
        self._forgetful = forgetful
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        for option, size in ((socket.SO_RCVBUF, receive_buffer), (socket.SO_SNDBUF, send_buffer)):
            if size is not None:  # accepted sockets inherit it
                self._listener.setsockopt(socket.SOL_SOCKET, option, size)
        self.host, self.port = "127.0.0.1", int(self._listener.getsockname()[1])
        # asyncio notices only by reading that a peer left; epoll tells it of a connection nobody reads, too.
        self._departures = select.epoll()
        self._thread = LoopThread("raw upstream")

    @property
    def url(self) -> str:
        """Its base URL, without a path and without a slash at the end."""
        return f"{'http' if self.tls is None else 'https'}://{self.host}:{self.port}"

    # What it shall do

    def answer_next(self, script: Script | Chooser, *, after_body: bool = True) -> None:
        """Queues the script for one request, begun when the request's body (or only its head) has arrived."""
        self._answers.append(Answer(script, after_body))

    def answer_always(self, script: Script | Chooser, *, after_body: bool = True) -> None:
        """Sets what happens to requests for which nothing is queued: a script, or a choice by the request."""
        self._default = Answer(script, after_body)

    def accept_next(self, script: Script) -> None:
        """Queues a script for one connection, played before TLS and before a byte of it is read."""
        self._first_scripts.append(script)

    def set(self, event: str) -> None:
        """Sets an event for which scripts `wait_for`."""
        self._thread.loop.call_soon_threadsafe(self._set, event)

    # What a test can know and await

    @property
    def total_requests(self) -> int:
        """Requests whose head has arrived."""
        return len(self.requests)

    @property
    def total_connections(self) -> int:
        """Connections accepted, those without a request included."""
        return len(self.connections)

    @property
    def open_connections(self) -> int:
        """Connections that neither side has left."""
        return sum(connection.is_open for connection in self.connections)

    async def request(self, index: int = 0, deadline: float = DEADLINE) -> UpstreamRequest:
        """The request of that number, from 0, as soon as its head has arrived."""
        await self.until(f"request {index}", lambda: len(self.requests) > index, deadline)
        return self.requests[index]

    async def connection(self, index: int = 0, deadline: float = DEADLINE) -> UpstreamConnection:
        """The connection of that number, from 0, as soon as it is accepted."""
        await self.until(f"connection {index}", lambda: len(self.connections) > index, deadline)
        return self.connections[index]

    async def connections_open(self, count: int, deadline: float = DEADLINE) -> None:
        """Returns as soon as just so many connections are open."""
        await self.until(f"{count} open connections", lambda: self.open_connections == count, deadline)

    async def reached(self, event: str, deadline: float = DEADLINE) -> None:
        """Returns as soon as a script has come to `mark(event)`."""
        await self.until(f"the event {event!r}", lambda: event in self._events, deadline)

    async def until(self, what: str, true: Callable[[], bool], deadline: float = DEADLINE) -> None:
        """Returns once `true()` holds: asked again, in the upstream's thread, whenever something happens.

        Raises `TimeoutError` that says what was awaited and what the upstream has seen instead.
        """
        try:
            await self._thread.until(what, lambda: true() or None, deadline)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {self}") from None

    # Life

    def __enter__(self) -> Self:
        self._thread.start()
        self._thread.loop.call_soon_threadsafe(self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.stop()
        self._listener.close()
        self._departures.close()
        if error is not None:
            error.add_note(str(self))
        else:
            assert not self.failures, str(self)

    def _begin(self) -> None:
        loop = self._thread.loop
        loop.add_reader(self._departures.fileno(), self._note_departures)
        self._accepting = loop.create_task(self._accept())

    async def _accept(self) -> None:
        loop = self._thread.loop
        while True:
            sock, _ = await loop.sock_accept(self._listener)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            first = self._first_scripts.popleft() if self._first_scripts else ()
            connection = UpstreamConnection(self, self._thread, sock, len(self.connections), first)
            self.connections.append(connection)
            self._watched[sock.fileno()] = connection
            self._departures.register(sock, select.EPOLLRDHUP | select.EPOLLET)
            self._thread.changed()

    def _note_departures(self) -> None:
        for fd, events in self._departures.poll(0):
            connection = self._watched[fd]
            # The error may have been taken by a send; both directions shut without our FIN is a reset, too.
            reset = events & select.EPOLLERR or (events & select.EPOLLHUP and not connection.fin_sent)
            self._thread.loop.call_soon(connection.left, "rst" if reset else "fin")

    # For its connections

    def record(self, connection: UpstreamConnection, head: Head) -> tuple[UpstreamRequest, Answer]:
        """Notes a request whose head has arrived, and takes what is to be done with it."""
        request = UpstreamRequest(connection, len(self.requests), head)
        if not self._forgetful:
            connection.requests.append(request)
            self.requests.append(request)
        return request, self._answers.popleft() if self._answers else self._default

    def forget(self, sock: socket.socket) -> None:
        """Stops watching a socket that is about to be closed."""
        self._departures.unregister(sock)
        connection = self._watched.pop(sock.fileno())
        if self._forgetful:
            self.connections.remove(connection)

    async def event(self, event: str) -> None:
        """Waits for an event. In the upstream's thread only."""
        await self._thread.holds(lambda: event in self._events or None)

    def _set(self, event: str) -> None:
        self._events.add(event)
        self._thread.changed()

    def __str__(self) -> str:
        seen = [f"{self.total_connections} connections ({self.open_connections} open)"]
        return "the upstream has seen " + "; ".join([*seen, *map(str, self.requests), *self.failures])
