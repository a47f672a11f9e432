"""The connections to one origin (scheme, host, port): opened within a deadline, kept alive, used again."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque

from aiohappyeyeballs import start_connection

from gateway.upstreams.connection import State, UpstreamConnection

IDLE_SECONDS = 60.0
"""How long a connection waits for its next request: less than the minutes after which servers drop one."""
MAX_IDLE = 256
"""How many connections wait at most; more are closed when their exchange is over."""


class Connector:
    """Opens and keeps connections to one origin. The most recently used one is taken first."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, connect_timeout: float) -> None:
        self.host = host
        self.port = port
        self._tls = tls
        self._connect_timeout = connect_timeout
        self._idle: deque[UpstreamConnection] = deque()
        self.open: set[UpstreamConnection] = set()
        """Every connection that is not closed, idle or in use."""

    async def acquire(self, *, fresh: bool = False) -> UpstreamConnection:
        """An idle connection, or a new one.

        Raises OSError (`ssl.SSLError` and a `TimeoutError` after the connect deadline among them) when the
        origin can't be reached.
        """
        connection = None if fresh else self._take_idle()
        return connection or await self._connect()

    def _take_idle(self) -> UpstreamConnection | None:
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()
            transport = connection.transport
            if connection.state is not State.IDLE or transport is None or transport.is_closing():
                continue
            if loop.time() - connection.idle_since > IDLE_SECONDS:
                connection.abort()
                continue
            return connection
        return None

    async def _connect(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_timeout):
            # uvloop has no happy eyeballs of its own: one dead address would use up the deadline.
            addresses = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            sock = await start_connection(addresses, happy_eyeballs_delay=0.25, interleave=1, loop=loop)
            try:
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(loop, self._settled),
                    sock=sock,
                    ssl=self._tls,
                    server_hostname=self.host if self._tls else None,
                )
            except BaseException:
                sock.close()
                raise
        if connection.state is not State.IDLE:
            raise ConnectionResetError("the peer closed it, or spoke first, while it was being opened")
        self.open.add(connection)
        return connection

    def _settled(self, connection: UpstreamConnection) -> None:
        """A connection has become idle, or is closed."""
        if connection.state is not State.IDLE:
            self.open.discard(connection)
            return
        self._idle.append(connection)
        while len(self._idle) > MAX_IDLE:
            self._idle.popleft().abort()

    def close(self) -> None:
        """Close every connection, whatever it is doing."""
        for connection in tuple(self.open):
            connection.abort()
        self._idle.clear()
