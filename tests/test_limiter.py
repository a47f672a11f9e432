"""What a request's limits keep of it when it is over, and whose limits they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.config import load
from gateway.counters.memory import MemoryCounters
from gateway.errors import GatewayError
from gateway.exchange import Ending, Exchange, FailedAttempt, Principal
from gateway.limiter import Limiter
from gateway.limits import Level, Limits
from gateway.machine import default_limits
from gateway.quota.estimate import Estimator
from gateway.quota.rules import rules_for
from gateway.stores.sqlite import SqliteStore
from gateway.token_usage import Usage
from gateway.tokens import token_id
from tests.support.finished import finished
from tests.support.identity import issue, opened

LIMITS = Limits(requests_per_minute=9, tokens_per_minute=100_000)
ANNOUNCED = 2000
RESERVED = Estimator().estimate("gemini-2-5-flash", ANNOUNCED).tokens
LESS, MORE = (Usage(prompt=tokens - 3, candidates=1, thoughts=1, tool_use_prompt=1) for tokens in (90, 9000))
"""What was reported: less than was reserved, and more."""
FAILED = (FailedAttempt("studio", 1.0, 0.0, 2.0, 503),)


@dataclass
class Rig:
    """A limiter over real parts."""

    limiter: Limiter
    store: SqliteStore
    counters: MemoryCounters

    def admitted(self, exchange: Exchange) -> Exchange:
        assert self.limiter.admit(exchange, ANNOUNCED) is None
        return exchange

    def counted(self) -> list[int]:
        """Tokens and requests, of the minute of the project that `finished` requests are of."""
        exchange = finished()
        assert exchange.principal
        rules = rules_for(
            {Level.PROJECT: LIMITS},
            project_id=exchange.principal.project_id,
            branch_id=exchange.branch_id,
            credential_id=exchange.principal.credential_id,
            model=exchange.model,
        )
        return self.counters.levels(rules)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    counters = MemoryCounters(tmp_path / "counters")
    async with opened(tmp_path / "gateway.db") as store:
        limiter = Limiter(counters, store, defaults=LIMITS, counters_away=None)
        await limiter.look()
        yield Rig(limiter, store, counters)
    await counters.close()


WHOLE = {Ending.COMPLETE, Ending.SUSPECT, Ending.UPSTREAM_ERROR, Ending.UPSTREAM_ERROR_IN_STREAM}
"""Whose last report is the upstream's last word."""


@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize(
    ("usage", "whole", "cut"),
    [(LESS, 90, RESERVED), (MORE, 9000, 9000), (None, RESERVED, RESERVED)],
)
def test_however_it_ends_what_was_reported_counts_or_the_larger_where_more_may_have_come(
    rig: Rig, ending: Ending, usage: Usage | None, *, whole: int, cut: int
) -> None:
    exchange = rig.admitted(finished(ending=ending, usage=usage))
    assert rig.counted() == [RESERVED, 1]
    rig.limiter.settle(exchange)
    rig.limiter.settle(exchange)  # once is enough
    assert rig.counted() == [whole if ending in WHOLE else cut, 1]


@pytest.mark.parametrize(("failed", "kept"), [((), 0), (FAILED, RESERVED)])
def test_who_never_got_to_an_upstream_used_no_token(
    rig: Rig, failed: tuple[FailedAttempt, ...], kept: int
) -> None:
    nobody = finished(upstream="", failed_attempts=failed, ending=Ending.REFUSED, usage=None)
    rig.limiter.settle(rig.admitted(nobody))
    assert rig.counted() == [kept, 1]


def test_estimates_follow_what_was_reported_in_whole_answers_only(rig: Rig) -> None:
    for ending in (Ending.CLIENT_ABORTED, Ending.TRUNCATED, Ending.DEADLINE):
        rig.limiter.settle(rig.admitted(finished(ending=ending, usage=LESS)))
    assert rig.counted() == [3 * RESERVED, 3]
    rig.limiter.settle(rig.admitted(finished(usage=LESS, request_bytes=ANNOUNCED)))
    assert rig.counted() == [3 * RESERVED + 90, 4]
    rig.admitted(finished())
    reserved = rig.counted()[0] - (3 * RESERVED + 90)
    assert 90 < reserved < RESERVED


async def test_limits_are_those_of_the_credential_its_project_and_the_branch_that_was_asked(rig: Rig) -> None:
    (project,), (main,) = await rig.store.projects(), await rig.store.branches("default")
    child = await rig.store.create_branch("default", "child", "main")
    issued = await issue(rig.store)
    principal = Principal(token_id(issued), project.id, main.id)
    await rig.store.set_limits("default", Limits(requests_per_minute=2), branch="child")
    await rig.store.set_limits("default", Limits(requests_per_minute=3), credential=principal.credential_id)
    await rig.limiter.look()

    def ask(branch_id: str, principal: Principal = principal) -> tuple[str, str] | None:
        """What refuses it."""
        try:
            rig.admitted(finished(principal=principal, branch_id=branch_id))
        except GatewayError as error:
            return error.metadata["level"], error.metadata["quotaValue"]
        return None

    assert [ask(child.id) for _ in range(3)] == [None, None, ("branch", "2")]
    assert [ask(main.id) for _ in range(2)] == [None, ("credential", "3")]
    another = Principal("another-credential", project.id, main.id)
    assert [ask(main.id, another) for _ in range(7)] == [None] * 6 + [("project", "9")]


def test_a_project_has_200_000_tokens_a_minute_unless_it_is_told_otherwise() -> None:
    unlimited = dict.fromkeys(Limits.__struct_fields__, 0)
    assert default_limits(load(None, {"HOME": "/home/operator"})) == Limits(
        **unlimited | {"tokens_per_minute": 200_000}
    )


async def test_nobody_is_admitted_before_limits_have_been_looked_up(rig: Rig) -> None:
    limiter = Limiter(rig.counters, rig.store, defaults=LIMITS, counters_away=None)
    with pytest.raises(GatewayError, match="503 AUTHORIZATION_UNAVAILABLE"):
        limiter.admit(finished(), ANNOUNCED)
    await limiter.look()
    assert limiter.admit(finished(), ANNOUNCED) is None


async def test_a_change_of_a_limit_is_taken_up_at_the_next_look(rig: Rig) -> None:
    (project,) = await rig.store.projects()
    asked = finished(principal=Principal("abcdefghijklmnop", project.id, "br-main-1"))
    rig.admitted(asked)
    await rig.store.set_limits("default", Limits(requests_per_minute=1))
    rig.admitted(asked)
    await rig.limiter.look()
    with pytest.raises(GatewayError, match="429 REQUEST_LIMIT_EXCEEDED"):
        rig.limiter.admit(asked, ANNOUNCED)
    await rig.store.set_limits("default", Limits(requests_per_minute=0))  # none, not the configuration's
    await rig.limiter.look()
    for _ in range(10):
        rig.admitted(asked)
    assert b"requests" not in asked.rate_limit_lines
