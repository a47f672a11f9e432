"""An upstream that ends while its client is behind: what it had sent by then arrives, over TLS as well.

Nobody reads the upstream's connection meanwhile. uvloop's TLS layer has then read up to 256 KiB ahead, and
gives them up with the socket.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gateway.exchange import Ending
from tests.relay.conftest import Start
from tests.relay.parts import STREAM_HEAD, error_event
from tests.relay.test_client_behind import EVENT, LAST, Behind
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, Step, chunk, fin, goodbye, keep_open, mark, rst, send, wait_for
from tests.support.tls import TestCertificates

REST = EVENT * 12
"""Sent while the upstream is not read: less than anybody reads ahead."""


@dataclass(frozen=True)
class Answer:
    """How one is written, and what stands at its end."""

    head: bytes
    framed: Callable[[bytes], bytes]
    last: bytes


def bare(data: bytes) -> bytes:
    return data


CLOSING_HEAD = STREAM_HEAD[:-2] + b"Connection: close\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
ANSWERS = {
    "whole": Answer(STREAM_HEAD, chunk, LAST_CHUNK),
    "whole, and Connection: close": Answer(
        STREAM_HEAD[:-2] + b"Connection: close\r\n\r\n", chunk, LAST_CHUNK
    ),
    "broken": Answer(STREAM_HEAD, chunk, b""),
    "until close": Answer(UNTIL_CLOSE, bare, b""),
}
ENDS: dict[str, list[Step]] = {
    "politely": [goodbye(), fin(), mark("ended"), keep_open()],
    "fin": [fin(), mark("ended"), keep_open()],
    "rst": [mark("ended"), rst()],
}


def is_whole(answer: str, scheme: str, end: str) -> bool:
    """Where the connection's end alone says so, that must be the upstream's word."""
    if answer == "until close":
        return end == "politely" if scheme == "https" else end != "rst"
    return answer != "broken"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("end", ENDS)
async def test_all_that_it_has_sent_arrives(
    scheme: str, answer: str, end: str, start: Start, certificates: TestCertificates
) -> None:
    sent = ANSWERS[answer]
    with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
        stack = await start(upstream.url, ca_file=certificates.ca_file)
        then = [wait_for("paused"), send(sent.framed(REST) + sent.last), *ENDS[end]]
        behind = Behind(stack, upstream, sent.framed(LAST), then, head=sent.head, event=sent.framed(EVENT))
        async with stack.client(receive_buffer=4096) as client:
            await client.send(stack.request())
            got = await behind.begin(client)
            upstream.set("paused")
            await upstream.reached("ended")
            await client.read_body(got)
        size = behind.sent_before + len(LAST + REST)
        passed = got.body[:size]
        assert len(passed) == size
        assert passed.endswith(LAST + REST)
        ending = (await stack.exchange()).ending
        if is_whole(answer, scheme, end):
            assert (got.ended, got.body, ending) == ("complete", passed, Ending.COMPLETE)
        else:
            assert (got.ended, ending) == ("eof_without_terminator", Ending.TRUNCATED)
            assert error_event(got.body, passed) == 502
