"""Whose a TCP connection is: the process that has accepted it, by what /proc tells."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_ESTABLISHED = "01"
_LISTENING = "0A"


def owners(port: int, processes: Iterable[int]) -> dict[int, int | None]:
    """The process of each open connection to that port of 127.0.0.1, by the client's port.

    None where nobody has accepted it yet: it waits in a listening socket's queue, and has no inode.
    """
    holders = _holders(processes)
    return {remote: holders.get(inode) for local, remote, inode in _sockets(_ESTABLISHED) if local == port}


def outgoing(port: int, process: int) -> list[int]:
    """The process's own ports of the open connections that it has made to that port of 127.0.0.1."""
    holders = _holders([process])
    return [local for local, remote, inode in _sockets(_ESTABLISHED) if remote == port and inode in holders]


def waiting(port: int) -> int:
    """How many connections to that port of 127.0.0.1 nobody has accepted yet."""
    return sum(local == port and not inode for local, _, inode in _sockets(_ESTABLISHED))


def listening(port: int) -> int:
    """How many sockets listen on that port of 127.0.0.1."""
    return sum(local == port for local, _, _ in _sockets(_LISTENING))


def _sockets(wanted: str) -> list[tuple[int, int, int]]:
    """Local port, remote port and inode of each IPv4 TCP socket in that state."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:])
    return [
        (int(local[-4:], 16), int(remote[-4:], 16), int(rest[5]))
        for _, local, remote, state, *rest in rows
        if state == wanted
    ]


def _holders(processes: Iterable[int]) -> dict[int, int]:
    """The process that holds each socket, by inode."""
    held = {}
    for process in processes:
        with suppress(FileNotFoundError):  # it has just ended
            for file in os.scandir(f"/proc/{process}/fd"):
                with suppress(FileNotFoundError):
                    if match := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(file.path)):
                        held[int(match[1])] = process
    return held
