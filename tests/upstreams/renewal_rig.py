"""What the tests of renewal share: a key, what renews it, and the endpoint that is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.google_tokens import GoogleCredentials
from gateway.upstreams import Key
from gateway.upstreams.renewal import Renewal
from tests.support.eventually import eventually
from tests.support.google import TokenEndpoint, service_account

SLACK = 5.0
"""What a loaded machine may take of the time until something is due."""


class Rig:
    """A key, its renewal, and the endpoint that is asked."""

    def __init__(self, endpoint: TokenEndpoint, directory: Path, log: pytest.LogCaptureFixture) -> None:
        self.endpoint = endpoint
        self.directory = directory
        self.key = Key("1")
        self.renewal = Renewal("v", self.key, self.source(), lambda token: f"X: {token}\r\n".encode())
        self._log = log

    def source(self, name: str = "sa.json", **changes: object) -> GoogleCredentials:
        """A service account that asks the endpoint."""
        file = self.directory / name
        return GoogleCredentials.parse(service_account(file, self.endpoint.token_uri, **changes), {})

    def line(self, number: int) -> bytes:
        """What the key carries with the token of that number."""
        return f"X: {self.endpoint.issued[number]}\r\n".encode()

    async def asked(self, times: int) -> None:
        """Wait until it was, and all of it is over."""
        await eventually(f"{times} requests", lambda: len(self.endpoint.requests) == times)

    async def renewed(self, number: int) -> None:
        """Wait until the key carries the token of that number."""
        await eventually(
            f"token {number}",
            lambda: len(self.endpoint.issued) > number and self.key.line == self.line(number),
        )

    async def failing(self) -> None:
        await eventually("a failure", lambda: self.key.failing_since is not None)

    def told(self) -> list[tuple[str, str]]:
        """What the log says, with the levels, since this was last asked."""
        lines = [(record.levelname, record.getMessage()) for record in self._log.records]
        self._log.clear()
        return lines


def failing(key: Key) -> bool:
    return key.failing_since is not None


async def tick() -> None:
    """Give the loop, and any thread that something due now would begin, time to show."""
    await asyncio.sleep(0.05)


Play = Callable[[Callable[[Rig], Awaitable[None]]], None]
