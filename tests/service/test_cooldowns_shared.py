"""What one worker hears of a target the other one knows, and the next gateway on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.service.rig import client, request, running
from tests.service.worker_rig import asked, owned
from tests.support.gateway import Gateway
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream
from tests.support.script import response

QUOTA_ID = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
SPENT = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": QUOTA_ID}]}
        ],
    }
}


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        running.answer_always(
            response(429, [("Content-Type", "application/json")], json.dumps(SPENT).encode())
        )
        yield running


async def on_each_worker(gateway: Gateway, opened: AsyncExitStack) -> list[RawClient]:
    """A connection that one worker has accepted, and one of the other's."""
    found: dict[int | None, RawClient] = {}
    while len(found) < 2:
        connection = await opened.enter_async_context(client(gateway))
        [owner] = owned(gateway, [connection])
        found.setdefault(owner, connection)
        found.pop(None, None)
    return list(found.values())


async def test_a_quota_of_the_day_that_one_worker_hears_of(tmp_path: Path, upstream: RawUpstream) -> None:
    with running(tmp_path, upstream, SERVER__WORKERS="2") as gateway:
        async with AsyncExitStack() as opened:
            one, other = await on_each_worker(gateway, opened)
            answers = []
            for connection in (one, other, one):
                await connection.send(request(gateway.token, action="generateContent"))
                answers.append(await connection.read_response())
        assert [answer.status for answer in answers] == [429] * 3
        assert [answer.header("x-gateway-error") for answer in answers] == [[], *[["UPSTREAM_COOLDOWN"]] * 2]
        assert json.loads(answers[1].body)["error"]["message"] == "You exceeded your current quota."
        assert QUOTA_ID in answers[1].body.decode()
        assert upstream.total_requests == 1
    with running(tmp_path, upstream) as gateway:
        async with client(gateway) as connection:
            assert await asked(gateway, connection) == 429
        assert upstream.total_requests == 1
