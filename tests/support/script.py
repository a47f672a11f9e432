"""What a raw upstream does with one request: steps, and builders of the bytes it answers with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tests.support.upstream_connection import UpstreamConnection

Step = Callable[["UpstreamConnection"], Awaitable[None]]
Script = Sequence[Step]
"""Steps, done one after the other. After the last one the connection stays open for a further request."""


def send(data: bytes) -> Step:
    """Sends the bytes and goes on when the kernel has taken the last of them."""
    return lambda connection: connection.send(data)


def wait_for(event: str) -> Step:
    """Waits until the test calls `upstream.set(event)`; an event once set stays set."""
    return lambda connection: connection.upstream.event(event)


def mark(event: str) -> Step:
    """Sets the event itself: tells the test (`await upstream.reached(event)`) how far the script has come."""

    async def step(connection: UpstreamConnection) -> None:
        connection.upstream.set(event)

    return step


def pause(seconds: float) -> Step:
    """Lets that time pass: an upstream's pace. To keep a test and its upstream in step, use `wait_for`."""
    return lambda connection: asyncio.sleep(seconds)


def read_body() -> Step:
    """Waits for the request's whole body: what a script does first unless queued with `after_body=False`."""
    return lambda connection: connection.read_body()


def stop_reading() -> Step:
    """Takes no more bytes off the socket: the kernel's buffers fill up and the peer has to stop sending."""

    async def step(connection: UpstreamConnection) -> None:
        connection.stop_reading()

    return step


def resume_reading() -> Step:
    """Reads again after `stop_reading`."""

    async def step(connection: UpstreamConnection) -> None:
        connection.resume_reading()

    return step


def fin() -> Step:
    """Closes the sending half (under TLS without close_notify: a truncation) and goes on with the script."""

    async def step(connection: UpstreamConnection) -> None:
        connection.half_close()

    return step


def goodbye() -> Step:
    """Sends TLS's close_notify without closing: all that a peer needs to know that nothing follows."""

    async def step(connection: UpstreamConnection) -> None:
        connection.say_goodbye()

    return step


def close() -> Step:
    """Closes politely: close_notify under TLS, FIN; what still comes is read and dropped, for 1 s at most."""
    return lambda connection: connection.close_politely()


def rst() -> Step:
    """Resets the connection. What was sent before reaches the peer if its receive buffer had room for it."""

    async def step(connection: UpstreamConnection) -> None:
        connection.reset()

    return step


def keep_open() -> Step:
    """Holds the connection and does nothing more until the peer leaves or the upstream is stopped."""
    return lambda connection: connection.peer_gone()


def response_bytes(
    status: int = 200,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | Sequence[bytes] = b"",
    framing: Literal["length", "chunked", "close"] = "length",
) -> bytes:
    """A whole response as it stands on the wire; a chunked body has one chunk for each of its pieces."""
    pieces = [body] if isinstance(body, bytes) else list(body)
    fields = [f"{name}: {value}" for name, value in headers]
    if framing == "chunked":
        fields.append("Transfer-Encoding: chunked")
        payload = b"".join(chunk(piece) for piece in pieces if piece) + LAST_CHUNK
    else:
        payload = b"".join(pieces)
        fields.append(f"Content-Length: {len(payload)}" if framing == "length" else "Connection: close")
    head = "\r\n".join([f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *fields, "", ""])
    return head.encode("latin-1") + payload


def response(
    status: int = 200,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | Sequence[bytes] = b"",
    framing: Literal["length", "chunked", "close"] = "length",
    *,
    splits: Iterable[int] = (),
    gap: float = 0.0,
) -> list[Step]:
    """The steps that send a whole response, and close after it where only FIN ends it.

    It is sent in pieces cut at the byte positions `splits` (of the response, head included), `gap` seconds
    apart: without a gap a busy reader may see neighbouring pieces as one.
    """
    steps: list[Step] = []
    for piece in cut(response_bytes(status, headers, body, framing), splits):
        if steps and gap:
            steps.append(pause(gap))
        steps.append(send(piece))
    return [*steps, close()] if framing == "close" else steps


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def cut(data: bytes, positions: Iterable[int]) -> list[bytes]:
    """`data` in pieces that begin at 0 and at each of the positions; those outside it count for nothing."""
    edges = [0, *sorted({position for position in positions if 0 < position < len(data)}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]
