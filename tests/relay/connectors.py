"""Connectors without a gateway around them: exchanges on their connections, and a name server."""

from __future__ import annotations

import asyncio
import socket

from aiohappyeyeballs import AddrInfoType

from gateway.outgoing import Outgoing
from gateway.upstreams.connection import UpstreamConnection
from gateway.upstreams.receiver import Failure
from gateway.upstreams.resolver import Resolver
from gateway.upstreams.response_head import ResponseHead
from tests.support.script import close, send

REQUEST = b"POST / HTTP/1.1\r\nHost: upstream.example\r\nContent-Length: 0\r\n\r\n"
NO_TLS = [send(b"220 mail.example ESMTP\r\n"), close()]
"""What a server does that speaks another protocol: a TLS handshake fails at once."""


class Exchange:
    """One request on a connection, and the end of its answer."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self.over: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()
        connection.start(self, REQUEST, Outgoing(()), whole=True)

    def on_response(self, head: ResponseHead | None, body: bytes, whole: bool) -> None:
        if whole:
            self.over.set_result(None)

    def on_response_failed(self, failure: Failure) -> None:
        self.over.set_result(failure)

    def on_upload_flow(self) -> None:
        raise AssertionError("there is nothing to upload")


async def exchange(connection: UpstreamConnection) -> None:
    assert await Exchange(connection).over is None


class Names:
    """A name server that knows these loopback addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0

    async def look_up(self, host: str, port: int) -> list[AddrInfoType]:
        self.asked += 1
        loop = asyncio.get_running_loop()
        return [
            found
            for address in self.addresses
            for found in await loop.getaddrinfo(address, port, type=socket.SOCK_STREAM)
        ]

    def resolver(self, port: int) -> Resolver:
        return Resolver("upstream.example", port, self.look_up)
