"""A drain ends no sooner than its clients have what was answered: not even those who are slow to read it.

A request is over as soon as its last bytes are written, and some of them may then still be in the process:
what the kernel does not take because the client does not read.
"""

from __future__ import annotations

import re
import signal
import socket
from itertools import count
from pathlib import Path
from subprocess import TimeoutExpired

import pytest

from tests.service.rig import DEADLINE, accepts, get, port_of, request, running
from tests.support.eventually import eventually
from tests.support.gateway import Gateway
from tests.support.raw_upstream import RawUpstream
from tests.support.script import response

BODY = b"x" * 24576
LINGERS = 2.5
"""Seconds: longer than a drain takes that has nothing to wait for."""


def unread(connection: socket.socket) -> int:
    """Bytes on their way to this client that the kernel holds, on both sides together."""
    ours, theirs = connection.getsockname()[1], connection.getpeername()[1]
    queues = r"[0-9A-F]{{8}}:{:04X} [0-9A-F]{{8}}:{:04X} [0-9A-F]{{2}} ([0-9A-F]{{8}}):([0-9A-F]{{8}})"
    table = Path("/proc/net/tcp").read_text()
    sending = re.search(queues.format(theirs, ours), table)
    receiving = re.search(queues.format(ours, theirs), table)
    assert sending
    assert receiving
    return int(sending[1], 16) + int(receiving[2], 16)


def connected(gateway: Gateway) -> socket.socket:
    """A client with room for little, and whose small segments keep the kernel from holding much for it."""
    connection = socket.socket()
    connection.settimeout(DEADLINE)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.connect(("127.0.0.1", port_of(gateway.url)))
    return connection


async def answered_unread(gateway: Gateway, upstream: RawUpstream, connection: socket.socket) -> int:
    """Ask until the process itself holds a part of its answers; how many stand unread then."""
    upstream.answer_always(response(headers=[("Content-Type", "application/json")], body=BODY))
    question = request(gateway.token, action="generateContent")
    connection.sendall(question)
    first = b""
    while not first.endswith(BODY):
        first += connection.recv(65536)
    for number in count(1):
        connection.sendall(question)
        await eventually(
            "the answer is written",
            lambda: (
                upstream.total_requests == number + 1  # noqa: B023 - called in this turn of the loop
                and b"\ngateway_open_requests 0.0\n" in get(gateway.admin_url, "/metrics").body
            ),
        )
        # Every answer has the same length, and at least one is not in the kernel's hands. Asked more than
        # once, since bytes move while the kernel tells.
        if all(unread(connection) < (number - 1) * len(first) for _ in range(3)):
            return number
    raise AssertionError


async def test_what_a_client_has_yet_to_read_is_waited_for(tmp_path: Path) -> None:
    with (
        RawUpstream() as upstream,
        running(tmp_path, upstream) as gateway,
        connected(gateway) as connection,
    ):
        answers = await answered_unread(gateway, upstream, connection)
        gateway.process.popen.send_signal(signal.SIGTERM)
        await eventually("new connections are refused", lambda: not accepts(gateway.url))
        with pytest.raises(TimeoutExpired):
            gateway.process.popen.wait(LINGERS)
        received = bytearray()
        while data := connection.recv(65536):
            received += data
        assert received.count(BODY) == answers
        assert gateway.process.wait() == 0
