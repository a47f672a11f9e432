"""The simulated upstream on a real port, and a plain client that shows what it answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import aiohttp
from aiohttp import web

from gateway.simulator import create_runner
from tests.support.listener import site

MODEL = "/v1beta/models/gemini-2.5-flash"
HELLO = {"contents": [{"role": "user", "parts": [{"text": "What is a <gateway>?"}]}]}


@asynccontextmanager
async def simulator(runner: web.AppRunner | None = None) -> AsyncIterator[str]:
    """Its base URL, `http://127.0.0.1:PORT`, while it runs in this event loop; by default without a pace."""
    async with site(runner or create_runner(pace=0)) as url:
        yield url


class Answer:
    """What came back, undecoded."""

    def __init__(self, status: int, headers: Any, body: bytes):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        told: dict[str, Any] = self.json["error"]
        return told


async def ask(url: str, body: Any, *, method: str = "POST", encoding: str = "identity") -> Answer:
    """One request; `body` is sent as JSON unless it is bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Accept-Encoding": encoding}
    if data.startswith(b"\x1f\x8b"):
        headers["Content-Encoding"] = "gzip"
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(method, url, data=BytesIO(data), headers=headers) as response,
    ):
        return Answer(response.status, response.headers, await response.read())
