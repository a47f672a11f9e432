"""What a socket tells of a peer that has closed its side, while nothing of it is read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.sockets import has_ended, has_hung_up

Peer = tuple[asyncio.StreamReader, asyncio.Transport, socket.socket]


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    ours, theirs = socket.socketpair()
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().create_connection(
        lambda: asyncio.StreamReaderProtocol(reader), sock=ours
    )
    with theirs:
        yield reader, transport, theirs
    transport.abort()


async def test_an_end_with_bytes_before_it(peer: Peer) -> None:
    """It has hung up at once; it has ended when they are read."""
    reader, transport, theirs = peer
    assert not has_hung_up(transport)
    assert not has_ended(transport)
    transport.pause_reading()
    theirs.sendall(b"an answer")
    assert not has_ended(transport)
    theirs.shutdown(socket.SHUT_WR)
    assert has_hung_up(transport)
    assert not has_ended(transport)
    transport.resume_reading()
    assert await reader.readexactly(9) == b"an answer"
    assert has_ended(transport)
