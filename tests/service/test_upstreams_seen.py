"""What a running gateway tells of its upstreams, and that a key in a refused one's place is asked at once."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.service.rig import SLOW_STREAM, running
from tests.service.worker_rig import ask_many, begin, complete, samples
from tests.support.eventually import eventually
from tests.support.gateway import Gateway
from tests.support.process import run
from tests.support.raw_upstream import RawUpstream
from tests.support.script import Script, response
from tests.support.upstream_request import UpstreamRequest

SPENT, REFUSED, GOOD = "AQ.spent-key", "AQ.refused-key", "AQ.good-key"
QUOTA_ID = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
ANSWERS = {
    SPENT: (
        429,
        "RESOURCE_EXHAUSTED",
        [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": QUOTA_ID}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "90s"},
        ],
    ),
    REFUSED: (
        400,
        "INVALID_ARGUMENT",
        [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
    ),
}
"""What Google says to a key that is not good."""
MANY = 12


def answer(request: UpstreamRequest) -> Script:
    """By the key."""
    json_type = [("Content-Type", "application/json")]
    if bad := ANSWERS.get(request.header("x-goog-api-key")[0]):
        code, status, details = bad
        error = {"code": code, "status": status, "message": "no", "details": details}
        return response(code, json_type, json.dumps({"error": error}).encode())
    return SLOW_STREAM if "stream" in request.target else response(headers=json_type, body=b"{}")


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        running.answer_always(answer)
        yield running


class Keys:
    """Files of keys, each named by its number, and of an admin token."""

    def __init__(self, folder: Path, *keys: str) -> None:
        self.folder = folder
        for number, key in enumerate(keys, 1):
            self.write(str(number), key)
        self.write("token", "the-admin-token-of-the-tests")
        self.references = [f"file:{folder / str(number)}" for number in range(1, len(keys) + 1)]

    def write(self, name: str, secret: str) -> None:
        file = self.folder / name
        file.touch(mode=0o600)
        file.write_text(secret)

    def configuration(self, upstream: RawUpstream) -> str:
        return (
            f'[admin]\ntoken = "file:{self.folder / "token"}"\n'
            f'[[upstreams]]\nname = "studio"\nkind = "ai-studio"\nbase_url = "{upstream.url}"\n'
            f"keys = {json.dumps(self.references)}\n[routing]\nsticky_seconds = 0\n"
        )


def told(gateway: Gateway, *arguments: str) -> str:
    """What the command prints, which is told on which port the gateway's admin listener happens to be."""
    where = {"GATEWAY_SERVER__ADMIN_LISTEN": urlsplit(gateway.admin_url).netloc}
    return run(["upstreams", "--config", str(gateway.config_path), *arguments], where)


def targets(gateway: Gateway) -> dict[str, Any]:
    """By the key's name."""
    return {target["key"]: target for target in json.loads(told(gateway, "--json"))}


async def test_it_tells_who_rests_and_why(tmp_path: Path, upstream: RawUpstream) -> None:
    keys, workers = Keys(tmp_path, SPENT, GOOD), 2
    with running(tmp_path, keys.configuration(upstream), SERVER__WORKERS=str(workers)) as gateway:
        assert told(gateway) == ""
        await ask_many(gateway, MANY)
        async with AsyncExitStack() as opened:
            streams = await begin(gateway, opened, 4)
            at = time.time()
            await eventually("it is reported", lambda: targets(gateway).get("2", {}).get("in_flight") == 4)
            found = targets(gateway)
            assert (found["1"]["state"], found["1"]["cause"]) == ("cooling", QUOTA_ID)
            assert at + 60 < datetime.fromisoformat(found["1"]["until"]).timestamp() < at + 95
            assert found["1"]["in_flight"] == 0
            assert (found["2"]["state"], found["2"]["cause"], found["2"]["until"]) == ("ready", None, None)
            assert found["2"]["requests"] == MANY  # a stream counts when it is whole
            assert 0 < found["2"]["first_byte_p50_seconds"] <= found["2"]["first_byte_p95_seconds"] < 10
            table = told(gateway)
            assert re.search(rf"^studio +1 +gemini-2-5-flash +1 +cooling +{QUOTA_ID} ", table, re.MULTILINE)
            assert not any(secret in table + str(found) for secret in (SPENT, GOOD))
            upstream.set("go")
            await complete(streams)
        metrics = samples(gateway)
        place = (("key", "1"), ("model", "gemini-2-5-flash"), ("upstream", "studio"))
        assert metrics["gateway_upstream_target_state", place] == 2
        refusals = sum(request.header("x-goog-api-key") == [SPENT] for request in upstream.requests)
        assert 1 <= refusals <= workers
        assert metrics["gateway_upstream_retries_total", (("upstream", "studio"),)] == refusals
        cooldowns = (("cause", "quota"), ("upstream", "studio"))
        assert metrics["gateway_upstream_cooldowns_total", cooldowns] == refusals


async def test_a_new_key_in_the_place_of_a_refused_one_is_asked_at_once(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    keys = Keys(tmp_path, REFUSED, GOOD)
    with running(tmp_path, keys.configuration(upstream)) as gateway:
        await ask_many(gateway, MANY)
        assert targets(gateway)["1"]["state"] == "out"
        keys.write("1", GOOD + "-2")
        gateway.process.wait_for_line("the configuration was read again: upstreams changed: studio")
        await ask_many(gateway, MANY)
        used = [request.header("x-goog-api-key")[0] for request in upstream.requests]
        assert used.count(REFUSED) == 1
        assert used.count(GOOD + "-2") == MANY // 2
        assert targets(gateway)["1"]["state"] == "ready"
        # What is known of the key that stayed is still known.
        assert targets(gateway)["2"]["requests"] == MANY + MANY // 2
