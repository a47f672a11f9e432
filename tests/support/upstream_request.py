"""What a raw upstream recorded of one request, and the facts about it that a test can await."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.support.loop_thread import DEADLINE
from tests.support.script import Script
from tests.support.wire import Framing, Head, values

if TYPE_CHECKING:
    from tests.support.upstream_connection import UpstreamConnection


@dataclass(frozen=True, slots=True)
class Departure:
    """How the peer left, and when (`time.monotonic()`): by FIN (it may still be reading) or by RST."""

    kind: Literal["fin", "rst"]
    at: float


Chooser = Callable[["UpstreamRequest"], Script]
"""Picks the script when it is about to begin, so with the whole body at hand where that is awaited first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is to be done with one request: a script, begun after its whole body or after its head."""

    script: Script | Chooser
    after_body: bool = True

    def script_for(self, request: UpstreamRequest) -> Script:
        """The script to play."""
        return self.script(request) if callable(self.script) else self.script


class UpstreamRequest:
    """One request as it came, growing while its body arrives; to be read from any thread."""

    def __init__(self, connection: UpstreamConnection, index: int, head: Head) -> None:
        self.connection = connection
        self.index = index
        """Its number among the upstream's requests, from 0."""
        self.method, self.target, self.version = head.request_line()
        self.headers = head.headers
        """Name and value of each field, as written and in order."""
        self.raw_head = head.raw
        self.incoming = head.request_body()
        """The reader of the body: also its `framing`, `chunk_sizes`, `raw` bytes and `trailers` so far."""
        self.sent = 0
        """Bytes of the answer that the kernel has taken (before encryption), counted by 16 KiB."""

    def header(self, name: str) -> list[str]:
        """Every value of that field."""
        return values(self.headers, name)

    @property
    def framing(self) -> Framing:
        """How the body is framed."""
        return self.incoming.framing

    @property
    def body(self) -> bytes:
        """The body so far, without its framing."""
        return bytes(self.incoming.data)

    @property
    def body_complete(self) -> bool:
        """Whether the body's end has arrived."""
        return self.incoming.complete

    async def body_received(self, size: int, deadline: float = DEADLINE) -> bytes:
        """The body so far, as soon as it has `size` bytes."""
        upstream, data = self.connection.upstream, self.incoming.data
        await upstream.until(
            f"{size} bytes of body in request {self.index}", lambda: len(data) >= size, deadline
        )
        return self.body

    async def whole_body(self, deadline: float = DEADLINE) -> bytes:
        """The body, as soon as it is whole."""
        upstream = self.connection.upstream
        await upstream.until(
            f"the whole body of request {self.index}", lambda: self.incoming.complete, deadline
        )
        return self.body

    async def answer_sent(self, size: int, deadline: float = DEADLINE) -> None:
        """Returns as soon as the kernel has taken `size` bytes of the answer."""
        upstream = self.connection.upstream
        await upstream.until(
            f"{size} bytes of request {self.index}'s answer to leave", lambda: self.sent >= size, deadline
        )

    async def answer_stalled(self, quiet: float = 0.3, deadline: float = DEADLINE) -> int:
        """How much of the answer was sent, once the kernel has taken none of it for `quiet` seconds."""
        try:
            async with asyncio.timeout(deadline):
                while True:
                    before = self.sent
                    try:
                        await self.answer_sent(before + 1, quiet)
                    except TimeoutError:
                        return before
        except TimeoutError:
            raise TimeoutError(f"{self}: sending did not stall in {deadline:g} s") from None

    async def closed(self, deadline: float = DEADLINE) -> Departure:
        """How and when the peer left the connection of this request: see `UpstreamConnection.closed`."""
        return await self.connection.closed(deadline)

    def __str__(self) -> str:
        whole = "whole" if self.body_complete else "unfinished"
        return (
            f"request {self.index} on connection {self.connection.index}: {self.method}, "
            f"{whole} body of {len(self.incoming.data)} bytes, {self.sent} bytes answered"
        )
