"""The sockets that the gateway listens on: bound here, served by whoever is given them."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress

from gateway.config import Listen

BACKLOG = 1024
_ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class ListenError(Exception):
    """An address can't be listened on: one line that says which and why."""


async def bind(listen: Listen, *, shared: bool = False) -> list[socket.socket]:
    """Sockets bound to the address, more than one where its host has several addresses: all on one port.

    They listen already, so connections wait until someone accepts. With `shared` they don't yet, and there
    may be `another` socket on each one's address. Raises ListenError.
    """
    bound: list[socket.socket] = []
    try:
        if listen.path:
            bound.append(_bind_unix(listen))
        else:
            await _bind_tcp(listen, bound, shared=shared)
        if not shared:
            # Two may have bound the same address; which of them gets it shows only here.
            for sock in bound:
                sock.listen(BACKLOG)
    except OSError as error:
        for sock in bound:
            sock.close()
        # An address that can't be resolved has no such number.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise ListenError(f"cannot listen on {listen}: {why.lower()}") from None
    return bound


def another(bound: socket.socket) -> socket.socket:
    """A socket on the address of one that is `shared`, with connections of its own.

    The kernel spreads new connections evenly over the TCP sockets of an address that listen (SO_REUSEPORT).
    A Unix socket has one queue for all: whoever accepts first gets the connection.
    """
    if bound.family == socket.AF_UNIX:
        return bound.dup()
    return _tcp_socket(bound.family, bound.getsockname(), shared=True)


def url(scheme: str, listen: Listen, bound: Sequence[socket.socket]) -> str:
    """Where clients find these sockets of that address."""
    if listen.path:
        return f"{scheme}+unix:{listen.path}"
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return f"{scheme}://{host}:{bound[0].getsockname()[1]}"


async def _bind_tcp(listen: Listen, bound: list[socket.socket], *, shared: bool) -> None:
    found = await asyncio.get_running_loop().getaddrinfo(
        listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    port, absent = listen.port, None
    for family, _, _, _, address in dict.fromkeys(found):
        here = (address[0], port, *address[2:])
        try:
            if shared and port:
                # Nobody else's: another gateway of this user would share its clients with us unasked.
                _tcp_socket(family, here, shared=False).close()
            bound.append(_tcp_socket(family, here, shared=shared))
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            absent = error  # as localhost's IPv6 address is on a machine without IPv6
            continue
        port = bound[-1].getsockname()[1]
    if absent and not bound:
        raise absent


def _tcp_socket(family: int, address: tuple[object, ...], *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_unix(listen: Listen) -> socket.socket:
    _check_unused(listen)
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(listen.path).st_mode):
            os.unlink(listen.path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(listen.path)
    except BaseException:
        sock.close()
        raise
    return sock


def _check_unused(listen: Listen) -> None:
    """Raise OSError where somebody listens on a Unix socket: binding it anew would take it from them."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(listen.path)
        except BlockingIOError:  # they have more connections waiting than they take
            pass
        except OSError:
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
