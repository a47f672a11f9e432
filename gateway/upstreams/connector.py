"""The connections to one origin (scheme, host, port): opened within a deadline, kept alive, used again."""

from __future__ import annotations

import asyncio
import random
import ssl

from gateway.errors import TooManyConnections
from gateway.upstreams.connection import State, UpstreamConnection
from gateway.upstreams.dialing import dial
from gateway.upstreams.resolver import Resolver
from gateway.upstreams.tls_sessions import TlsSessions

IDLE_SECONDS = 60.0
"""How long a connection waits for its next request: less than the minutes after which servers drop one."""
LIFE_SECONDS = 240.0
"""How long after its opening a connection may still go back to the pool. With the idle time no request begins
on one older than five minutes, so that a changed address of the upstream is taken up."""
MAX_IDLE = 256
"""How many connections wait at most; more are closed when their exchange is over."""
MAX_OPEN = 20_000
"""How many connections to one origin there are at most: as many as clients' by default, and well below the
28,232 ports that Linux has by default for connections to one address."""


_IDLE = State.IDLE  # a global: each request asks for it, and an enumeration's member is slow to find


class Connector:
    """Opens and keeps connections to one origin. The most recently used one is taken first."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        connect_timeout: float,
        *,
        resolver: Resolver | None = None,
        idle_seconds: float = IDLE_SECONDS,
        life_seconds: float = LIFE_SECONDS,
        max_open: int = MAX_OPEN,
    ) -> None:
        self.host = host
        self.port = port
        self._tls = tls
        self._sessions = TlsSessions(tls) if tls else None
        self._resolver = resolver or Resolver(host, port)
        self._connect_timeout = connect_timeout
        self._idle_seconds = idle_seconds
        self._life_seconds = life_seconds
        self._max_open = max_open
        self._max_idle = MAX_IDLE
        self._opening = 0
        self._idle: dict[UpstreamConnection, None] = {}
        """In the order in which they became idle."""
        self._idle_timer: asyncio.TimerHandle | None = None
        self.open: dict[UpstreamConnection, float] = {}
        """Every connection that is not closed, idle or in use, and when it is too old to be kept."""

    def take(self) -> UpstreamConnection | None:
        """An idle connection, no longer in the pool; None where a new one is needed."""
        idle = self._idle
        while idle:
            connection, _ = idle.popitem()
            transport = connection.transport
            if transport is not None and connection.state is _IDLE and not transport.is_closing():
                return connection
        return None

    async def connect(self) -> UpstreamConnection:
        """A new connection.

        Raises TooManyConnections, or another OSError (`ssl.SSLError` and a `TimeoutError` after the connect
        deadline among them) when the origin can't be reached.
        """
        if len(self.open) + self._opening >= self._max_open:
            raise TooManyConnections(f"{self._max_open} connections to {self.host} are open")
        self._opening += 1
        try:
            async with asyncio.timeout(self._connect_timeout):
                connection = await self._open()
        finally:
            self._opening -= 1
        if connection.state is not _IDLE:
            raise ConnectionResetError("the peer closed it, or spoke first, while it was being opened")
        # Those opened together must not all end together.
        life = self._life_seconds * random.uniform(0.8, 1.0)  # noqa: S311 - no secret
        self.open[connection] = asyncio.get_running_loop().time() + life
        return connection

    async def _open(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        addresses = await self._resolver.addresses()
        sock = await dial(addresses)
        connection = UpstreamConnection(loop, self._settled)
        try:
            await loop.create_connection(
                lambda: connection,
                sock=sock,
                ssl=self._tls,
                server_hostname=self.host if self._tls else None,
            )
        except BaseException:
            # Where the handshake was just over, asyncio would await the peer's goodbye; and uvloop may have
            # closed the socket alone, and would still write to it.
            if connection.transport:
                connection.transport.abort()
            sock.close()
            if self._sessions:
                self._sessions.forget()
            raise
        return connection

    def _settled(self, connection: UpstreamConnection) -> None:
        """A connection has become idle, or is closed."""
        if connection.state is not _IDLE:
            self.open.pop(connection, None)
            self._idle.pop(connection, None)
        elif connection.idle_since >= self.open[connection] or len(self._idle) >= self._max_idle:
            connection.abort()
        else:
            self._idle[connection] = None
            if self._idle_timer is None:
                loop = asyncio.get_running_loop()
                self._idle_timer = loop.call_later(self._idle_seconds, self._drop_idle)

    def _drop_idle(self) -> None:
        """Close what has been idle for long enough. One timer for all, set for the first that will be."""
        loop = asyncio.get_running_loop()
        self._idle_timer = None
        for connection in tuple(self._idle):
            due = connection.idle_since + self._idle_seconds
            if due > loop.time():
                self._idle_timer = loop.call_at(due, self._drop_idle)
                return
            del self._idle[connection]
            connection.abort()

    @property
    def in_use(self) -> bool:
        """Whether a connection is open or being opened."""
        return bool(self.open or self._opening)

    def retire(self) -> None:
        """Keep no connection any more: idle ones are closed now, each other one when its exchange is over."""
        self._max_idle = 0
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def close(self) -> None:
        """Close every connection, whatever it is doing."""
        self._resolver.close()
        if self._idle_timer:
            self._idle_timer.cancel()
            self._idle_timer = None
        for connection in tuple(self.open):
            connection.abort()
        self._idle.clear()
