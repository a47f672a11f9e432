"""What a worker and its parent tell each other, over a pair of sockets.

A worker sends reports; its first one says that it serves. The parent sends the configuration, then single
bytes, with upstreams behind one of them, or goes away, which means DRAIN. Both trust each other: they are
one program.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from gateway.config import Config, Upstream
from gateway.metrics import Snapshot
from gateway.upstreams.target_state import TargetState

DRAIN = b"d"
"""Take nothing new, end when all is done."""
CUT = b"c"
"""The same, without waiting for what is under way."""
UPSTREAMS = b"u"
"""Send new requests to these: what `packed` makes of them follows."""
_LENGTH_BYTES = 4


@dataclass(slots=True)
class Report:
    """A worker's state, sent every second and when it ends. Its numbers count from the worker's start."""

    leaving: bool
    """It will soon take no more connections."""
    metrics: Snapshot
    targets: list[TargetState]
    open_connections: int
    cpu_seconds: float
    resident_bytes: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Report)


def packed(content: Config | Sequence[Upstream]) -> bytes:
    """For a worker, with the secrets in it."""
    data = pickle.dumps(content)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def receive_config(channel: socket.socket) -> Config:
    """What the parent sends first. Blocks. Raises ConnectionError when the parent is gone."""
    size = int.from_bytes(_receive(channel, _LENGTH_BYTES), "big")
    config = pickle.loads(_receive(channel, size))  # noqa: S301 - by the parent, see above
    assert isinstance(config, Config)
    return config


def _receive(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:  # a signal may cut a reading short
        piece = channel.recv(size - len(data))
        if not piece:
            raise ConnectionError("the parent is gone")
        data += piece
    return data


async def receive_upstreams(reader: asyncio.StreamReader) -> tuple[Upstream, ...]:
    """What follows UPSTREAMS. Raises IncompleteReadError or ConnectionError when the parent is gone."""
    size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    data = await reader.readexactly(size)
    # In a thread: google-auth checks a service account's key, which takes tens of milliseconds.
    upstreams: tuple[Upstream, ...] = await asyncio.to_thread(pickle.loads, data)
    return upstreams


async def send(writer: asyncio.StreamWriter, report: Report) -> None:
    """Send it. Raises ConnectionError when the parent is gone."""
    data = _encoder.encode(report)
    writer.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    await writer.drain()


async def receive(reader: asyncio.StreamReader) -> Report | None:
    """The next report; None when the worker has sent its last."""
    try:
        size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        return _decoder.decode(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
