"""Several upstreams in one stack, in the order in which they are asked, and what is left of the attempts."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.ledger import spool_folder
from gateway.ledger.segments import listed
from gateway.usage_record import UsageRecord
from tests.relay.parts import JSON
from tests.support.eventually import eventually
from tests.support.places import Place
from tests.support.raw_client import RawResponse
from tests.support.raw_upstream import RawUpstream
from tests.support.script import Step, response

NAMES = ("first", "second", "third", "fourth")


def in_order(*upstreams: RawUpstream | str) -> list[Place]:
    """Places that are asked one after the other: `first`, `second` and so on, each with a key of its own."""
    return [
        Place(
            upstream if isinstance(upstream, str) else upstream.url,
            name=name,
            priority=number,
            keys=(f"AQ.key-of-the-{name}",),
        )
        for number, (name, upstream) in enumerate(zip(NAMES, upstreams, strict=False), 1)
    ]


def error(status: int, body: bytes, *, stream: bool = False) -> list[Step]:
    """A whole error answer; `stream`: as Google answers `streamGenerateContent` without `alt=sse`."""
    return response(status, [JSON], b"[" + body + b"]" if stream else body)


def attempts(answer: RawResponse) -> int:
    """How many there were, as the client is told."""
    [told] = answer.header("x-gateway-attempts")
    return int(told)


async def records(directory: Path, count: int) -> list[UsageRecord]:
    """Of a stack with its files there: all records of attempts, of which there must be so many."""

    spool = spool_folder(directory)

    def lines() -> list[bytes]:
        files = [path.read_bytes() for path, _ in listed(spool)] if spool.exists() else []
        return [line for content in files for line in content.splitlines(keepends=True) if line[-1:] == b"\n"]

    await eventually(f"{count} records on disk", lambda: len(lines()) >= count)
    found = lines()
    assert len(found) == count
    return msgspec.json.Decoder(UsageRecord).decode_lines(b"".join(found))
