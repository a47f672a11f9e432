"""What a client is told where nobody can be asked just now."""

from __future__ import annotations

import json

import pytest

from gateway.dialects import gemini
from gateway.errors import GatewayError
from gateway.exchange import Framing
from gateway.upstreams.faults import CONNECTION_FAULT, Cause, Fault
from gateway.upstreams.pool import Pool
from tests.upstreams.pool_rig import FLASH, SetClock, attempt, quota, refusal, studio

REFUSED = Fault(Cause.KEY)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ((quota(30.0, message="long"), quota(20.5, message="short")), (429, "short", "21")),
        ((quota(30.0), quota(20.0)), (429, "upstream quota exceeded", "20")),
        ((quota(30.0, message="spent"), CONNECTION_FAULT), (429, "spent", "5")),
        ((quota(30.0, message="spent"), REFUSED), (429, "spent", "30")),
        ((CONNECTION_FAULT, REFUSED), (503, "upstream overloaded", "5")),
        ((CONNECTION_FAULT, CONNECTION_FAULT), (503, "upstream overloaded", "5")),
        ((REFUSED, REFUSED), (502, "upstream request failed", None)),
    ],
)
async def test_what_is_told_where_all_rest(
    clock: SetClock, faults: tuple[Fault, Fault], told: tuple[int, str, str | None]
) -> None:
    for order in (faults, faults[::-1]):
        pool = Pool([await studio("a"), await studio("b")], clock=clock)
        for fault in order:
            target = pool.choose(FLASH)
            for _ in range(5):
                attempt(target, fault)
        status, message, headers = refusal(pool)
        assert (status, message, headers.get("Retry-After")) == told


async def test_a_quota_behind_a_refused_key_is_nothing_to_wait_for(clock: SetClock) -> None:
    pool = Pool([await studio()], clock=clock)
    target = pool.choose(FLASH)
    attempt(target, quota(30.0))
    attempt(target, REFUSED)
    assert refusal(pool)[0] == 502


async def test_so_is_one_behind_a_key_that_lacks(clock: SetClock) -> None:
    pool = Pool([await studio()], clock=clock)
    target = pool.choose(FLASH)
    attempt(target, quota(30.0))
    target.key.lack()
    assert refusal(pool)[0] == 502


@pytest.mark.parametrize("framing", [Framing.UNARY, Framing.JSON_ARRAY])
async def test_googles_block_is_told_as_google_tells_it(clock: SetClock, framing: Framing) -> None:
    pool = Pool([await studio()], clock=clock)
    attempt(pool.choose(FLASH), quota(38.0, message="You exceeded it.", name="RequestsPerMinute"))
    clock.passes(7.5)
    with pytest.raises(GatewayError) as caught:
        pool.choose(FLASH)
    body = json.loads(gemini.error_body(caught.value, framing, "id-of-the-request"))
    [told] = body if framing is Framing.JSON_ARRAY else [body]
    error = told["error"]
    assert (error["code"], error["message"], error["status"]) == (
        429,
        "You exceeded it.",
        "RESOURCE_EXHAUSTED",
    )
    details = {detail.pop("@type").rpartition(".")[2]: detail for detail in error["details"]}
    assert details["QuotaFailure"] == {"violations": [{"quotaId": "RequestsPerMinute"}]}
    assert details["RetryInfo"] == {"retryDelay": "31s"}
    assert details["ErrorInfo"]["reason"] == "UPSTREAM_COOLDOWN"
