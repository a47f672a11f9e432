"""A client that sends any bytes and decodes strictly what comes back: HTTP/1.1 over one TCP connection.

It reads the socket only while a `read_…` method waits, so a client that does not read is one that is not
asked to. Works in any event loop (asyncio's or uvloop).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from tests.support.loop_thread import DEADLINE
from tests.support.script import cut
from tests.support.wire import BodyReader, Framing, Head, take_head, values

_PIECE = 65536

Ending = Literal["open", "complete", "eof_without_terminator", "short", "reset"]
"""How a response ended: not yet; as its framing says; by FIN without the last chunk; by FIN before the
announced length; by RST."""


class PeerLeftError(ConnectionError):
    """The peer closed or reset the connection where more bytes were awaited."""


@dataclass(slots=True)
class RawResponse:
    """A response as far as it was read. Field names as written; text is latin-1."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    raw_head: bytes
    incoming: BodyReader
    """The reader of the body: also its `chunk_sizes`, `raw` bytes and `trailers` so far."""
    ended: Ending = field(default="open")

    def header(self, name: str) -> list[str]:
        """Every value of that field."""
        return values(self.headers, name)

    @property
    def framing(self) -> Framing:
        """How the body is framed."""
        return self.incoming.framing

    @property
    def body(self) -> bytes:
        """The body so far, without its framing."""
        return bytes(self.incoming.data)


class RawClient:
    """One connection, opened by `connect` or `async with`. What waits too long raises `TimeoutError`.

    `receive_buffer` (bytes, SO_RCVBUF; the kernel doubles it) makes a slow reader's effect show early.
    """

    def __init__(
        self, host: str, port: int, *, receive_buffer: int | None = None, deadline: float = DEADLINE
    ) -> None:
        self._address = (host, port)
        self._deadline = deadline
        self._buffer = bytearray()
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)

    async def connect(self) -> None:
        """Opens the connection. Raises `OSError`."""
        async with self._limit(f"a connection to {self._address}"):
            await asyncio.get_running_loop().sock_connect(self._sock, self._address)

    @property
    def port(self) -> int:
        """This side's."""
        return int(self._sock.getsockname()[1])

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Sending

    async def send(self, data: bytes, splits: Iterable[int] = ()) -> None:
        """Sends all of it, with one call to the kernel for each piece cut at the byte positions `splits`."""
        async with self._limit(f"the peer to take {len(data)} bytes"):
            for piece in cut(data, splits):
                await asyncio.get_running_loop().sock_sendall(self._sock, piece)
                for _ in range(2):  # a server in this same event loop reads each piece by itself
                    await asyncio.sleep(0)

    async def send_until_stalled(self, data: bytes, quiet: float = 0.3) -> int:
        """Sends until it is all sent or for `quiet` seconds the kernel takes no more; how much it took."""
        sent = 0
        while sent < len(data):
            try:
                sent += self._sock.send(data[sent : sent + _PIECE])
            except BlockingIOError:
                if not await self._writable(quiet):
                    break
        return sent

    async def _writable(self, seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        writable = asyncio.Event()
        loop.add_writer(self._sock.fileno(), writable.set)
        try:
            async with asyncio.timeout(seconds):
                await writable.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_writer(self._sock.fileno())
        return True

    # Reading

    async def read_some(self, deadline: float | None = None) -> bytes:
        """The bytes that are there, or the next to come; none at the peer's FIN. Raises `ConnectionError`."""
        async with self._limit("some bytes", deadline):
            if self._buffer or await self._receive():
                data = bytes(self._buffer)
                self._buffer.clear()
                return data
            return b""

    async def read_exactly(self, size: int, deadline: float | None = None) -> bytes:
        """The next `size` bytes. Raises `PeerLeftError`."""
        async with self._limit(f"{size} bytes", deadline):
            while len(self._buffer) < size:
                await self._more()
            data = bytes(self._buffer[:size])
            del self._buffer[:size]
            return data

    async def read_head(self, method: str = "POST", deadline: float | None = None) -> RawResponse:
        """The next response's head, an interim one (1xx) included. Raises `PeerLeftError`, `WireError`.

        `method` is the request's, since it decides whether a body follows.
        """
        async with self._limit("the head of a response", deadline):
            while (head := take_head(self._buffer)) is None:
                await self._more()
            return _response(head, method)

    async def read_body(
        self, response: RawResponse, until: int | bytes | None = None, deadline: float | None = None
    ) -> RawResponse:
        """Reads on until the body holds so many bytes, or those bytes, or (None) has ended; the same object.

        Returns at the body's end in every case: see `response.ended`. Raises `WireError`.
        """
        body = response.incoming
        async with self._limit(f"a body (of {body.framing} framing) until {until!r}", deadline):
            while response.ended == "open":
                body.feed(self._buffer)
                if body.complete:
                    response.ended = "complete"
                elif _holds(body.data, until):
                    break
                else:
                    await self._feed_or_end(response)
        return response

    async def read_response(self, method: str = "POST", deadline: float | None = None) -> RawResponse:
        """A whole response, an interim one (1xx) included. Raises `PeerLeftError`, `WireError`."""
        return await self.read_body(await self.read_head(method, deadline), None, deadline)

    async def peer_left(self, deadline: float | None = None) -> Literal["fin", "rst"]:
        """How the peer leaves. Raises `AssertionError` if it sends something instead."""
        async with self._limit("the peer to leave", deadline):
            try:
                await self._receive()
            except ConnectionError:
                return "rst"
            assert not self._buffer, f"the peer sent {bytes(self._buffer[:200])!r} instead of leaving"
            return "fin"

    async def _feed_or_end(self, response: RawResponse) -> None:
        try:
            if await self._receive():
                return
        except ConnectionError:
            response.ended = "reset"
            return
        response.incoming.end()
        if response.incoming.complete:
            response.ended = "complete"
        else:
            response.ended = "short" if response.framing == "length" else "eof_without_terminator"

    async def _more(self) -> None:
        try:
            if await self._receive():
                return
            kind = "closed"
        except ConnectionError:
            kind = "reset"
        raise PeerLeftError(f"{kind} by the peer after {bytes(self._buffer[:200])!r}")

    async def _receive(self) -> bool:
        data = await asyncio.get_running_loop().sock_recv(self._sock, _PIECE)
        self._buffer += data
        return bool(data)

    # Leaving

    def half_close(self) -> None:
        """Sends FIN; reading goes on."""
        self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Closes with RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        """Closes with FIN (with RST where bytes stand unread, as the kernel does)."""
        self._sock.close()

    @asynccontextmanager
    async def _limit(self, what: str, deadline: float | None = None) -> AsyncIterator[None]:
        seconds = self._deadline if deadline is None else deadline
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            unread = f"{len(self._buffer)} unread bytes {bytes(self._buffer[:200])!r}"
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}; {unread}") from None


def _response(head: Head, method: str) -> RawResponse:
    _, status, reason = head.status_line()
    return RawResponse(status, reason, head.headers, head.raw, head.response_body(method))


def _holds(data: bytearray, until: int | bytes | None) -> bool:
    if until is None:
        return False
    return len(data) >= until if isinstance(until, int) else until in data
