"""Bodies that come slowly, not at all, or as no chunks: each is answered in time, and no connection stays."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.admin.rig import BRANCHES, TOKEN, AdminClient, running_admin

BODY_SECONDS = 0.3
DEADLINE = 8.0
"""Of a test; aiohttp alone would wait as long as the client."""
CHUNKED = "Transfer-Encoding: chunked"
BODY = json.dumps({"branch": {"name": "x"}}).encode()
CHUNK = b"%x\r\n%b\r\n" % (len(BODY), BODY)


async def ask(admin: AdminClient, framing: str, *pieces: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to what is sent piece by piece, once the connection is closed."""
    port = int(admin.url.rpartition(":")[2])
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(
                f"POST {BRANCHES} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
                f"Content-Type: application/json\r\n{framing}\r\n\r\n".encode()
            )
            for piece in pieces:
                await writer.drain()
                # Answered on another connection, so that what was sent before it has been read by now.
                await admin.get(BRANCHES)
                writer.write(piece)
            answer = await reader.read()
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


async def test_a_body_that_does_not_come(tmp_path: Path) -> None:
    async with running_admin(tmp_path, body_seconds=BODY_SECONDS) as admin:
        before = admin.content()
        answers = await asyncio.gather(
            ask(admin, CHUNKED),
            ask(admin, CHUNKED, b"5\r\n{"),
            ask(admin, CHUNKED, CHUNK),
            ask(admin, CHUNKED, CHUNK + b"0\r\n"),
            ask(admin, CHUNKED, b"2;" + b"x" * 1000),
            ask(admin, "Content-Length: 10"),
            ask(admin, "Content-Length: 10", b"{"),
        )
        for head, body in answers:
            assert head.startswith(b"HTTP/1.1 408 ")
            assert json.loads(body) == {
                "code": "REQUEST_TIMEOUT",
                "message": "the body did not come within 0.3 s",
            }
        assert admin.content() == before


async def test_chunks_that_are_none(tmp_path: Path) -> None:
    bad = [b"zz\r\n", b"-1\r\n", b"f" * 20 + b"\r\n", b"5\r\n{}abcdefgh\r\n", CHUNK + b"zz\r\n"]
    async with running_admin(tmp_path, body_seconds=BODY_SECONDS) as admin:
        before = admin.content()
        with_head = await asyncio.gather(*(ask(admin, f"{CHUNKED}\r\n\r\n{body.decode()}") for body in bad))
        assert [head.split()[1] for head, _ in with_head] == [b"400"] * len(bad)
        later = await asyncio.gather(
            *(ask(admin, CHUNKED, body) for body in bad), ask(admin, CHUNKED, CHUNK, b"zz\r\n")
        )
        assert {head.split()[1] for head, _ in later} <= {b"400", b"408"}
        for head, _ in (*with_head, *later):
            assert b"\r\nServer: gateway" in head
            assert TOKEN.encode() not in head
        assert admin.content() == before


async def test_a_body_in_pieces_is_taken(tmp_path: Path) -> None:
    async with running_admin(tmp_path) as admin:
        pieces = [b"1\r\n%c\r\n" % byte for byte in BODY]
        sent = (*pieces[:3], b"".join(pieces[3:]), b"0\r\n\r\n")
        head, body = await ask(admin, f"{CHUNKED}\r\nConnection: close", *sent)
        assert head.startswith(b"HTTP/1.1 201 "), body
        assert [branch["name"] for branch in (await admin.get(BRANCHES))["branches"]] == ["main", "x"]
