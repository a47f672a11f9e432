"""Connections on which no whole head comes: they are closed, at whichever place the client stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.admin.rig import running_admin

DEADLINE = 8.0
"""Of a test; by default aiohttp waits for an hour."""
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def heard(url: str, sent: bytes) -> bytes:
    """All that a client which sends no more is sent until its connection is closed."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        try:
            writer.write(sent)
            return await reader.read()
        finally:
            writer.close()


async def test_a_head_that_does_not_come(tmp_path: Path) -> None:
    async with running_admin(tmp_path, idle_seconds=0.3) as admin:
        assert (
            await asyncio.gather(*(heard(admin.url, sent) for sent in (b"", b"G", WHOLE[:20], WHOLE[:-2])))
            == [b""] * 4
        )


async def test_a_second_head_that_does_not_come(tmp_path: Path) -> None:
    async with running_admin(tmp_path, idle_seconds=0.3) as admin:
        for begun in (b"", WHOLE[:20]):
            answer = await heard(admin.url, WHOLE + begun)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b"ok\n")
