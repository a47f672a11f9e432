"""A bare forwarder on the gateway's event loop: it reads nothing of what it passes on, and is no gateway.

What it costs is what Python's event loop costs by itself. Each client's connection has one to the upstream.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop


class Upstream(asyncio.Protocol):
    """Passes what the upstream sends to the client."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.close()


class Client(asyncio.Protocol):
    """Passes what a client sends to the upstream."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._upstream: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._upstream:
            self._upstream.write(data)
        else:
            self._connecting = asyncio.get_running_loop().create_task(self._connect(data))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._upstream:
            self._upstream.abort()

    async def _connect(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._upstream, _ = await loop.create_connection(
            lambda: Upstream(self._transport),  # type: ignore[arg-type]
            "127.0.0.1",
            self._upstream_port,
        )
        self._upstream.write(data)


async def main(upstream_port: int) -> None:
    """Forward until the end of the process."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(upstream_port), "127.0.0.1", 0, backlog=4096)
    print(f"forwarding from {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
