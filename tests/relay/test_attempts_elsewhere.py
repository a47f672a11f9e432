"""Where the next attempt goes, when targets rest and when a model has another to fall back on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.relay.attempts import attempts, error, in_order, records
from tests.relay.conftest import Start
from tests.relay.google_errors import ABOUT_THE_KEY, ABOUT_THE_TARGET, PER_MINUTE
from tests.relay.parts import UNARY, WHOLE, ask, idle, refusal
from tests.support.places import Place
from tests.support.raw_client import RawResponse
from tests.support.raw_upstream import RawUpstream
from tests.support.script import send, wait_for
from tests.support.stack import Stack

QUOTA = error(*ABOUT_THE_TARGET["429 of the minute"])
OVERLOAD = error(*ABOUT_THE_TARGET["503 overload"])
KEY_REFUSED = error(*ABOUT_THE_KEY["400 API_KEY_INVALID"])
PRO, FLASH = "gemini-2-5-pro", "gemini-2-5-flash"


async def ask_for(stack: Stack, model: str) -> RawResponse:
    async with stack.client() as client:
        await client.send(stack.request(model=model, action="generateContent"))
        return await client.read_response()


async def test_a_target_that_rests_is_passed_over(
    start: Start, upstream: RawUpstream, second: RawUpstream, third: RawUpstream
) -> None:
    stack = await start(in_order(upstream, second, third), cooldown=True)
    upstream.answer_next(QUOTA)
    second.answer_next(KEY_REFUSED)
    third.answer_always([send(WHOLE)])
    assert [attempts(await ask(stack)) for _ in range(5)] == [3, 1, 1, 1, 1]
    assert (upstream.total_requests, second.total_requests, third.total_requests) == (1, 1, 5)


async def test_where_all_rest_for_quota_nobody_is_asked(
    start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    stack = await start(in_order(upstream, second), cooldown=True)
    for each in upstream, second:
        each.answer_next(QUOTA)
    answer = await ask(stack)
    assert (answer.status, answer.body, attempts(answer)) == (429, PER_MINUTE, 2)
    answer = await ask(stack)
    assert refusal(answer) == (429, "UPSTREAM_COOLDOWN")
    assert answer.header("x-gateway-attempts") == []
    assert 12 <= int(answer.header("retry-after")[0]) <= 13
    assert json.loads(answer.body)["error"]["message"] == json.loads(PER_MINUTE)["error"]["message"]
    assert upstream.total_requests == second.total_requests == 1
    assert len(await records(tmp_path, 2)) == 2


async def test_one_that_came_to_rest_in_the_pause_is_not_asked(
    start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    """The client is told of that rest: not that the upstream failed, which it did not."""
    pauses = iter([0.5, 0.0])
    stack = await start(in_order(upstream, second), cooldown=True, pause=lambda attempts: next(pauses))
    for each in upstream, second:
        each.answer_next(QUOTA)
    first = asyncio.create_task(ask(stack))
    await upstream.request()
    await idle(stack)
    assert attempts(await ask(stack)) == 1
    answer = await first
    assert refusal(answer) == (429, "UPSTREAM_COOLDOWN")
    assert (attempts(answer), len(answer.header("retry-after"))) == (1, 1)
    assert (upstream.total_requests, second.total_requests) == (1, 1)
    assert sorted(record.upstream for record in await records(tmp_path, 2)) == ["first", "second"]


async def test_the_next_best_takes_the_place_of_one_that_came_to_rest_in_the_pause(
    start: Start, upstream: RawUpstream, second: RawUpstream, third: RawUpstream
) -> None:
    pauses = iter([0.5, 0.0])
    stack = await start(in_order(upstream, second, third), cooldown=True, pause=lambda attempts: next(pauses))
    for each in upstream, second:
        each.answer_next(QUOTA)
    third.answer_always([send(WHOLE)])
    first = asyncio.create_task(ask(stack))
    await upstream.request()
    await idle(stack)
    assert attempts(await ask(stack)) == 2
    assert attempts(await first) == 2
    assert (upstream.total_requests, second.total_requests, third.total_requests) == (1, 1, 2)


async def test_those_that_are_left_share_what_one_does_not_answer(
    start: Start, upstream: RawUpstream, second: RawUpstream, third: RawUpstream
) -> None:
    first, *others = in_order(upstream, second, third)
    stack = await start([first, *(Place(one.url, name=one.name, priority=2) for one in others)])
    upstream.answer_always(OVERLOAD)
    for each in second, third:
        each.answer_always([send(WHOLE)])
    for _ in range(10):
        assert attempts(await ask(stack)) == 2
    assert (second.total_requests, third.total_requests) == (5, 5)


def places_by_model(pro: RawUpstream, flash: RawUpstream) -> list[Place]:
    return [
        Place(pro.url, name="pros", models=(PRO,)),
        Place(flash.url, name="flashes", models=(FLASH,)),
    ]


async def test_another_model_answers_where_its_own_does_not(
    start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    stack = await start(
        places_by_model(upstream, second), cooldown=True, fallback={PRO: ("gemini-3-5-flash", FLASH)}
    )
    upstream.answer_next(QUOTA)
    second.answer_always([send(WHOLE)])
    told = [await ask_for(stack, "gemini-2.5-pro") for _ in range(2)]
    assert [(one.status, attempts(one)) for one in told] == [(200, 2), (200, 1)]
    assert [one.header("x-gateway-model") for one in told] == [[FLASH], [FLASH]]
    assert [one.target for one in upstream.requests] == ["/v1beta/models/gemini-2.5-pro:generateContent"]
    assert {one.target for one in second.requests} == {"/v1beta/models/gemini-2.5-flash:generateContent"}
    kept = await records(tmp_path, 3)
    assert [(one.upstream, one.attempt, one.model) for one in kept] == [
        ("pros", 1, PRO),
        ("flashes", 2, PRO),
        ("flashes", 1, PRO),
    ]


async def test_a_model_falls_back_on_no_other_by_itself(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    stack = await start(places_by_model(upstream, second), cooldown=True)
    upstream.answer_next(QUOTA)
    answer = await ask_for(stack, PRO)
    assert (answer.status, attempts(answer), answer.header("x-gateway-model")) == (429, 1, [])
    assert refusal(await ask_for(stack, PRO)) == (429, "UPSTREAM_COOLDOWN")
    assert second.total_connections == 0


async def test_the_model_that_was_asked_for_is_not_named(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    stack = await start(in_order(upstream, second), fallback={PRO: (FLASH,)})
    upstream.answer_next(OVERLOAD)
    second.answer_next([send(WHOLE)])
    answer = await ask_for(stack, PRO)
    assert (answer.body, attempts(answer), answer.header("x-gateway-model")) == (UNARY, 2, [])
    assert "pro" in second.requests[0].target


async def test_a_burst_ends_with_one_rest(start: Start, upstream: RawUpstream, second: RawUpstream) -> None:
    """What was under way when the first was told to wait is asked for once more, elsewhere."""
    stack = await start(in_order(upstream, second), cooldown=True)
    upstream.answer_always([wait_for("all are here"), *QUOTA])
    second.answer_always([send(WHOLE)])
    asking = [asyncio.create_task(ask(stack)) for _ in range(20)]
    await upstream.request(19)
    upstream.set("all are here")
    answers = await asyncio.gather(*asking)
    assert [(one.status, attempts(one)) for one in answers] == [(200, 2)] * 20
    assert attempts(await ask(stack)) == 1
    assert (upstream.total_requests, second.total_requests) == (20, 21)
