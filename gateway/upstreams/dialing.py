"""A socket connected to one of several addresses: the first that answers, by happy eyeballs (RFC 8305)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from typing import Any, cast

from aiohappyeyeballs import AddrInfoType, start_connection

DELAY = 0.25
"""Seconds after which the next address is tried beside one that has not answered: RFC 8305's."""


async def dial(addresses: Sequence[AddrInfoType]) -> socket.socket:
    """A connected socket that does not block. Raises OSError when no address takes the connection."""
    loop = cast(asyncio.AbstractEventLoop, _Direct())
    return await start_connection(addresses, happy_eyeballs_delay=DELAY, interleave=1, loop=loop)


class _Direct:
    """All that `start_connection` asks of an event loop: to connect a socket to an address.

    uvloop's own `sock_connect` has even an address looked up by its four threads: a new connection would wait
    for every name there that is slow to be found.
    """

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        error = sock.connect_ex(address)
        if error == errno.EINPROGRESS:
            await _until_writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, f"{os.strerror(error)}: {address[0]} port {address[1]}")


async def _until_writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(sock, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(sock)
