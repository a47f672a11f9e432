"""Which failures of an upstream another one is asked after, and what the client and the ledger get to see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path

import pytest

from gateway.exchange import Ending
from tests.relay.attempts import attempts, error, in_order, records
from tests.relay.conftest import Start
from tests.relay.connectors import NO_TLS
from tests.relay.google_errors import ABOUT_THE_KEY, ABOUT_THE_REQUEST, ABOUT_THE_TARGET
from tests.relay.parts import CUTS, JSON, LAST_EVENT, SSE, UNARY, WHOLE, ask, case, idle, refusal
from tests.support.places import Place
from tests.support.ports import refusing_port, silent_port
from tests.support.raw_upstream import RawUpstream
from tests.support.script import response, send
from tests.support.stack import Stack
from tests.support.tls import TestCertificates

ACTIONS = ("generateContent", "streamGenerateContent", "streamGenerateContent?alt=sse")
GOOD = {
    "generateContent": ([JSON], UNARY),
    "streamGenerateContent": ([JSON], b"[" + UNARY + b"]"),
    "streamGenerateContent?alt=sse": ([SSE], LAST_EVENT),
}
"""An answer's fields and body."""
tls = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@asynccontextmanager
async def two(tls: bool, certificates: TestCertificates) -> AsyncIterator[tuple[RawUpstream, RawUpstream]]:
    context = certificates.server.context() if tls else None
    with RawUpstream(tls=context) as first, RawUpstream(tls=context) as second:
        yield first, second


@tls
async def test_another_is_asked_where_it_may_answer_better(
    tls: bool, start: Start, certificates: TestCertificates, tmp_path: Path
) -> None:
    failures = ABOUT_THE_TARGET | ABOUT_THE_KEY
    async with two(tls, certificates) as (first, second):
        stack = await start(in_order(first, second), ca_file=certificates.ca_file if tls else None)
        asked = list(product(failures.items(), ACTIONS))
        for number, ((what, (status, body)), action) in enumerate(asked):
            with case((what, action)):
                first.answer_next(error(status, body, stream="stream" in action))
                second.answer_next(response(200, *GOOD[action]))
                answer = await ask(stack, b'{"number": %d}' % number, action=action)
                assert (answer.status, answer.body, attempts(answer)) == (200, GOOD[action][1], 2)
                for name, upstream in ("first", first), ("second", second):
                    [*_, request] = upstream.requests
                    assert request.body == b'{"number": %d}' % number
                    assert request.header("x-goog-api-key") == [f"AQ.key-of-the-{name}"]
                exchange = await stack.exchange(number)
                assert (exchange.ending, exchange.upstream) == (Ending.COMPLETE, "second")
        assert first.total_requests == second.total_requests == len(asked)
        kept = await records(tmp_path, 2 * len(asked))
    for number, ((_, (status, _)), _) in enumerate(asked):
        failed, answered = kept[2 * number : 2 * number + 2]
        assert failed.request_id == answered.request_id
        assert (failed.attempt, failed.attempts, answered.attempt, answered.attempts) == (1, 1, 2, 2)
        assert (failed.upstream, failed.status, failed.ending) == ("first", status, "upstream_error")
        assert (answered.upstream, answered.status, answered.ending) == ("second", 200, "complete")
        assert failed.usage_source == "unknown"


@tls
async def test_no_other_is_asked_about_what_is_wrong_with_the_request(
    tls: bool, start: Start, certificates: TestCertificates
) -> None:
    async with two(tls, certificates) as (first, second):
        stack = await start(in_order(first, second), ca_file=certificates.ca_file if tls else None)
        for (what, (status, body)), action in product(ABOUT_THE_REQUEST.items(), ACTIONS):
            with case((what, action)):
                first.answer_next(error(status, body))
                answer = await ask(stack, action=action)
                assert (answer.status, answer.body, attempts(answer)) == (status, body, 1)
        assert second.total_connections == 0


@tls
@pytest.mark.parametrize("cut", CUTS)
async def test_another_is_asked_where_one_leaves_without_an_answer(
    cut: str, tls: bool, start: Start, certificates: TestCertificates, tmp_path: Path
) -> None:
    async with two(tls, certificates) as (first, second):
        stack = await start(in_order(first, second), ca_file=certificates.ca_file if tls else None)
        first.answer_next(CUTS[cut])
        second.answer_next([send(WHOLE)])
        answer = await ask(stack)
        assert (answer.body, attempts(answer)) == (UNARY, 2)
        assert first.total_requests == second.total_requests == 1
        failed, answered = await records(tmp_path, 2)
    assert (failed.upstream, failed.status, failed.ending) == ("first", 0, "refused")
    assert (answered.upstream, answered.attempt) == ("second", 2)


async def test_another_is_asked_where_one_takes_no_connection(
    start: Start, second: RawUpstream, tmp_path: Path
) -> None:
    second.answer_next([send(WHOLE)])
    with refusing_port() as refusing, silent_port() as silent:
        places = in_order(f"http://127.0.0.1:{refusing}", f"http://127.0.0.1:{silent}", second)
        stack = await start(places, connect=0.2)
        answer = await ask(stack)
    assert (answer.body, attempts(answer)) == (UNARY, 3)
    [record] = await records(tmp_path, 1)  # of the two others nobody was asked anything
    assert (record.upstream, record.attempt) == ("third", 1)


async def test_another_is_asked_where_one_does_not_shake_hands(
    start: Start, upstream: RawUpstream, certificates: TestCertificates
) -> None:
    with RawUpstream(tls=certificates.server.context()) as second:
        second.answer_next([send(WHOLE)])
        plain = upstream.url.replace("http:", "https:")
        stack = await start(in_order(plain, second), ca_file=certificates.ca_file)
        upstream.accept_next(NO_TLS)
        answer = await ask(stack)
        assert (answer.body, attempts(answer)) == (UNARY, 2)
        assert second.total_requests == 1


async def test_a_stale_connection_is_no_attempt_that_failed(
    start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    stack = await start(in_order(upstream, second))
    upstream.answer_next([send(WHOLE)])
    await ask(stack)
    await idle(stack)
    upstream.answer_next(CUTS["rst"])
    upstream.answer_next([send(WHOLE)])
    answer = await ask(stack)
    assert (answer.body, attempts(answer)) == (UNARY, 1)
    assert (upstream.total_requests, second.total_requests) == (3, 0)
    assert [record.attempt for record in await records(tmp_path, 2)] == [1, 1]


async def test_another_is_asked_where_the_fresh_connection_fails_too(
    start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    stack = await start(in_order(upstream, second))
    upstream.answer_next([send(WHOLE)])
    await ask(stack)
    await idle(stack)
    upstream.answer_next(CUTS["rst"])
    upstream.answer_next(CUTS["rst"])
    second.answer_next([send(WHOLE)])
    answer = await ask(stack)
    assert (answer.body, attempts(answer)) == (UNARY, 2)
    assert (upstream.total_requests, second.total_requests) == (3, 1)
    assert [record.attempt for record in await records(tmp_path, 3)] == [1, 1, 2]


async def test_the_other_keys_of_an_upstream_are_others(start: Start, upstream: RawUpstream) -> None:
    keys = ("AQ.one", "AQ.two", "AQ.three")
    stack = await start([Place(upstream.url, keys=keys)])
    for status, body in ABOUT_THE_TARGET["429 of the minute"], ABOUT_THE_KEY["400 API_KEY_INVALID"]:
        upstream.answer_next(error(status, body))
    upstream.answer_next([send(WHOLE)])
    answer = await ask(stack)
    assert (answer.body, attempts(answer)) == (UNARY, 3)
    assert {one.header("x-goog-api-key")[0] for one in upstream.requests} == set(keys)


async def test_three_attempts_are_made_at_most_and_the_last_answer_passes(
    start: Start, upstream: RawUpstream, second: RawUpstream, third: RawUpstream, tmp_path: Path
) -> None:
    with RawUpstream() as fourth:
        stack = await start(in_order(upstream, second, third, fourth))
        upstream.answer_next(error(*ABOUT_THE_TARGET["503 overload"]))
        second.answer_next(CUTS["rst"])
        status, body = ABOUT_THE_TARGET["429 of the minute"]
        third.answer_next(error(status, body))
        answer = await ask(stack)
        assert (answer.status, answer.body, attempts(answer)) == (status, body, 3)
        assert answer.header("retry-after") == ["13"]
        assert answer.header("x-gateway-error") == []
        assert fourth.total_connections == 0
    kept = await records(tmp_path, 3)
    assert [(one.upstream, one.attempt, one.status) for one in kept] == [
        ("first", 1, 503),
        ("second", 2, 0),
        ("third", 3, 429),
    ]


@pytest.mark.parametrize("name", ABOUT_THE_TARGET)
async def test_a_lone_upstreams_errors_pass_with_one_attempt(
    name: str, stack: Stack, upstream: RawUpstream, tmp_path: Path
) -> None:
    status, body = ABOUT_THE_TARGET[name]
    upstream.answer_next(error(status, body))
    answer = await ask(stack)
    assert (answer.status, answer.body, attempts(answer)) == (status, body, 1)
    assert answer.header("retry-after") == (["13"] if name == "429 of the minute" else [])
    assert upstream.total_requests == 1
    [record] = await records(tmp_path, 1)
    assert (record.status, record.attempt, record.attempts) == (status, 1, 1)


async def test_refused_keys_alone_are_told_as_such(
    start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    stack = await start(in_order(upstream, second))
    for each in upstream, second:
        each.answer_next(error(*ABOUT_THE_KEY["400 API_KEY_INVALID"]))
    answer = await ask(stack)
    assert refusal(answer) == (502, "UPSTREAM_FAILED")
    assert attempts(answer) == 2
    assert [one.attempt for one in await records(tmp_path, 2)] == [1, 2]


async def test_with_no_budget_there_is_one_attempt(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    stack = await start(in_order(upstream, second), retry_budget=0.0)
    upstream.answer_next(error(*ABOUT_THE_TARGET["503 overload"]))
    answer = await ask(stack)
    assert (answer.status, attempts(answer), second.total_connections) == (503, 1, 0)
