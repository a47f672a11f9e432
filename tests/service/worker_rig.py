"""What the tests of several workers share: whose connection is whose, and what their parent says of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import AsyncExitStack

from prometheus_client.parser import text_string_to_metric_families

from tests.service.rig import EVENTS, SLOW_STREAM, client, get, port_of, request
from tests.support.connection_owner import owners
from tests.support.gateway import Gateway
from tests.support.raw_client import RawClient, RawResponse
from tests.support.script import Script, response
from tests.support.upstream_request import UpstreamRequest

_STARTED = re.compile(r"worker (\d+) is process (\d+)$")
_ANSWER = response(headers=[("Content-Type", "application/json")], body=b"{}")
_QUESTION = b'{"contents": [{"role": "user", "parts": [{"text": "Hello?"}]}]}'
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
Stream = tuple[RawClient, RawResponse]


def answer(request: UpstreamRequest) -> Script:
    """Streams wait for `go`; all else is answered at once."""
    return SLOW_STREAM if "stream" in request.target else _ANSWER


def processes(gateway: Gateway) -> dict[int, int]:
    """The newest process of each worker, by the worker's number."""
    found = (_STARTED.search(line) for line in gateway.log_lines())
    return {int(match[1]): int(match[2]) for match in found if match}


def owned(gateway: Gateway, connections: Iterable[RawClient]) -> list[int | None]:
    """The process that has accepted each of them; None while it waits."""
    found = owners(port_of(gateway.url), processes(gateway).values())
    return [found[connection.port] for connection in connections]


def samples(gateway: Gateway) -> Samples:
    """Every metric now, by name and labels."""
    text = get(gateway.admin_url, "/metrics").body.decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(gateway: Gateway, name: str) -> float:
    """A metric's sum over all its labels."""
    return sum(value for (found, _), value in samples(gateway).items() if found == name)


def by_worker(gateway: Gateway, name: str) -> dict[int, float]:
    """A metric that tells the worker, by that."""
    return {int(labels[0][1]): value for (found, labels), value in samples(gateway).items() if found == name}


async def begin(gateway: Gateway, opened: AsyncExitStack, count: int) -> list[Stream]:
    """So many streams, each on a connection of its own, whose first event has arrived."""
    streams = []
    for _ in range(count):
        connection = await opened.enter_async_context(client(gateway))
        await connection.send(request(gateway.token))
        head = await connection.read_head()
        assert head.status == 200
        streams.append((connection, await connection.read_body(head, EVENTS[0])))
    return streams


async def complete(streams: Iterable[Stream]) -> None:
    """Each of them comes to its good end."""
    for connection, stream in streams:
        await connection.read_body(stream)
        assert (stream.ended, stream.body) == ("complete", b"".join(EVENTS))


async def asked(gateway: Gateway, connection: RawClient) -> int:
    """The status of one unary request on that connection."""
    await connection.send(request(gateway.token, _QUESTION, action="generateContent"))
    return (await connection.read_response()).status


async def ask_many(gateway: Gateway, count: int) -> None:
    """So many unary requests, each on a connection of its own, all answered well."""
    for _ in range(count):
        async with client(gateway) as connection:
            assert await asked(gateway, connection) == 200
