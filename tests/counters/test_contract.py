"""What holds for counters of every kind: the quotas of the contract."""

from __future__ import annotations

import pytest

from gateway.counters import Counters
from gateway.limits import Limits
from gateway.quota.admission import Admission, Standing
from gateway.quota.rules import Kind, Rule
from tests.counters.rig import Rig, admit, levels, rules

TOKENS = rules(Limits(tokens_per_minute=1000))
REQUESTS = rules(Limits(requests_per_minute=2))
OPEN = rules(credential=Limits(concurrent_requests=2))


def blocks(admission: Admission) -> tuple[Kind, int | None] | None:
    return (admission.blocked_by.kind, admission.retry_after) if admission.blocked_by else None


async def test_without_a_limit_everybody_is_admitted(counters: Counters) -> None:
    admission = await admit(counters, rules(), tokens=10**9)
    assert admission == Admission()
    counters.settle(admission, 5, 5, final=True)
    assert await levels(counters, rules()) == []


async def test_a_window_slides(rig: Rig, counters: Counters) -> None:
    assert blocks(await admit(counters, TOKENS, 400)) is None
    rig.at(30.9)
    assert blocks(await admit(counters, TOKENS, 600)) is None
    assert blocks(await admit(counters, TOKENS, 1)) == (Kind.TOKENS_PER_MINUTE, 31)
    assert blocks(await admit(counters, TOKENS, 401)) == (Kind.TOKENS_PER_MINUTE, 61)
    rig.at(60.9)  # what the 0th second had is not older than a minute yet
    assert blocks(await admit(counters, TOKENS, 1)) == (Kind.TOKENS_PER_MINUTE, 1)
    rig.at(61)
    assert blocks(await admit(counters, TOKENS, 400)) is None
    assert await levels(counters, TOKENS) == [1000]
    rig.at(91)
    assert await levels(counters, TOKENS) == [400]
    rig.at(500)
    assert await levels(counters, TOKENS) == [0]


async def test_a_day_slides(rig: Rig, counters: Counters) -> None:
    day = rules(credential=Limits(tokens_per_day=1000))
    rig.at(59)
    assert blocks(await admit(counters, day, 900)) is None
    rig.at(3600)
    assert blocks(await admit(counters, day, 100)) is None
    assert blocks(await admit(counters, day, 100)) == (Kind.TOKENS_PER_DAY, 86400 + 60 - 3600)
    rig.at(86400 + 59)
    assert blocks(await admit(counters, day, 1)) == (Kind.TOKENS_PER_DAY, 1)
    rig.at(86400 + 60)
    assert blocks(await admit(counters, day, 900)) is None
    rig.at(86400 + 3660)
    assert await levels(counters, day) == [900]


async def test_requests_of_a_minute(rig: Rig, counters: Counters) -> None:
    for _ in range(2):
        admission = await admit(counters, REQUESTS)
        counters.settle(admission, 10, 10, final=True)
    refused = await admit(counters, REQUESTS)
    assert blocks(refused) == (Kind.REQUESTS_PER_MINUTE, 61)
    assert refused.request_standing == Standing(limit=2, remaining=0, reset=61)
    assert refused.token_standing is None


async def test_spend_of_a_day(rig: Rig, counters: Counters) -> None:
    spend = rules(Limits(spend_per_day_nanos=500))
    first = await admit(counters, spend, tokens=10**6, nanos=0)
    counters.settle(first, 10**6, 499, final=True)
    second = await admit(counters, spend, nanos=0)
    assert blocks(second) is None  # of unknown cost, and there is room
    counters.settle(second, 7, 1, final=True)
    assert blocks(await admit(counters, spend, nanos=0)) == (Kind.SPEND_PER_DAY, 86460)


async def test_what_is_under_way(counters: Counters) -> None:
    first, second = await admit(counters, OPEN), await admit(counters, OPEN)
    assert blocks(await admit(counters, OPEN)) == (Kind.CONCURRENT_REQUESTS, None)
    assert await levels(counters, OPEN) == [2]
    counters.settle(first, None, None, final=False)
    third = await admit(counters, OPEN)
    assert blocks(third) is None
    for admission in (second, third):
        counters.settle(admission, 1, 1, final=True)
    assert await levels(counters, OPEN) == [0]


@pytest.mark.parametrize(
    ("tokens", "final", "kept"),
    [
        (300, True, 300),
        (700, True, 700),
        (0, True, 0),
        (None, False, 500),
        (None, True, 500),
        (300, False, 500),
        (700, False, 700),
        (10**30, True, 10**15),
    ],
)
async def test_a_request_is_settled(
    counters: Counters, tokens: int | None, *, final: bool, kept: int
) -> None:
    admission = await admit(counters, TOKENS, 500)
    counters.settle(admission, tokens, None, final=final)
    assert await levels(counters, TOKENS) == [kept]


async def test_what_was_used_beyond_the_reservation_counts_from_its_end(rig: Rig, counters: Counters) -> None:
    admission = await admit(counters, TOKENS, 100)
    rig.at(200)
    counters.settle(admission, 700, None, final=True)
    assert await levels(counters, TOKENS) == [600]
    assert blocks(await admit(counters, TOKENS, 401)) == (Kind.TOKENS_PER_MINUTE, 61)


async def test_a_reservation_that_has_left_the_window_gives_nothing_back(
    rig: Rig, counters: Counters
) -> None:
    old = await admit(counters, TOKENS, 600)
    rig.at(61)
    await admit(counters, TOKENS, 700)
    counters.settle(old, 0, None, final=True)
    assert await levels(counters, TOKENS) == [700]


async def test_an_oversized_request_needs_an_empty_window_and_pays_its_debt(
    rig: Rig, counters: Counters
) -> None:
    await admit(counters, TOKENS, 10)
    rig.at(30)
    assert blocks(await admit(counters, TOKENS, 2500)) == (Kind.TOKENS_PER_MINUTE, 31)
    rig.at(61)
    oversized = await admit(counters, TOKENS, 2500)
    assert blocks(oversized) is None
    assert oversized.token_standing == Standing(limit=1000, remaining=0, reset=3 * 61)
    assert blocks(await admit(counters, TOKENS, 1)) == (Kind.TOKENS_PER_MINUTE, 2 * 61)
    rig.at(61 + 121)
    assert await levels(counters, TOKENS) == [1500]
    assert blocks(await admit(counters, TOKENS, 500)) == (Kind.TOKENS_PER_MINUTE, 1)
    rig.at(61 + 122)
    assert blocks(await admit(counters, TOKENS, 500)) is None
    assert await levels(counters, TOKENS) == [1000]
    rig.at(61 + 183)
    assert await levels(counters, TOKENS) == [0]


async def test_an_oversized_reservation_is_given_back(rig: Rig, counters: Counters) -> None:
    oversized = await admit(counters, TOKENS, 5500)
    rig.at(70)
    assert await levels(counters, TOKENS) == [4500]
    counters.settle(oversized, 300, None, final=True)
    assert await levels(counters, TOKENS) == [0]


async def test_of_an_oversized_reservation_what_was_used_stands(rig: Rig, counters: Counters) -> None:
    oversized = await admit(counters, TOKENS, 5500)
    rig.at(130)  # of which 2000 have been paid by now
    counters.settle(oversized, 3200, None, final=True)
    assert await levels(counters, TOKENS) == [1200]


async def test_all_or_nothing(counters: Counters) -> None:
    both = rules(
        Limits(tokens_per_minute=1000, requests_per_minute=100), credential=Limits(tokens_per_day=50)
    )
    assert blocks(await admit(counters, both, 50)) is None
    assert blocks(await admit(counters, both, 1)) == (Kind.TOKENS_PER_DAY, 86460)
    assert await levels(counters, both) == [50, 1, 50]


async def test_the_limit_that_lifts_last_refuses(rig: Rig, counters: Counters) -> None:
    minute = rules(Limits(requests_per_minute=1))
    day = rules(credential=Limits(tokens_per_day=1))
    busy = rules(credential=Limits(concurrent_requests=1))
    both, three = minute + day, minute + busy + day
    await admit(counters, three)
    assert blocks(await admit(counters, minute)) == (Kind.REQUESTS_PER_MINUTE, 61)
    assert blocks(await admit(counters, both)) == (Kind.TOKENS_PER_DAY, 86460)
    assert blocks(await admit(counters, three)) == (Kind.CONCURRENT_REQUESTS, None)


async def test_models_have_tokens_of_their_own_and_days_do_not(counters: Counters) -> None:
    limits = Limits(tokens_per_minute=100, tokens_per_day=150)
    flash, pro = rules(limits), rules(limits, model="gemini-2-5-pro")
    assert blocks(await admit(counters, flash, 100)) is None
    assert blocks(await admit(counters, flash, 1)) == (Kind.TOKENS_PER_MINUTE, 61)
    assert blocks(await admit(counters, pro, 50)) is None
    assert blocks(await admit(counters, pro, 1)) == (Kind.TOKENS_PER_DAY, 86460)


async def test_credentials_share_their_project(counters: Counters) -> None:
    limits = (Limits(tokens_per_minute=100), None, Limits(tokens_per_minute=80))
    first, second = rules(*limits), rules(*limits, credential_id="zyxwvuts87654321")
    admission = await admit(counters, first, 70)
    assert admission.token_standing == Standing(limit=80, remaining=10, reset=61)
    refused = await admit(counters, second, 40)
    assert refused.blocked_by is second[0]
    assert refused.token_standing == Standing(limit=100, remaining=30, reset=61)
    assert blocks(await admit(counters, second, 30)) is None


@pytest.mark.parametrize("tight", [0, 1, 2])
async def test_the_tightest_windows_are_told_whatever_else_is_limited(counters: Counters, tight: int) -> None:
    others = Limits(tokens_per_minute=100, concurrent_requests=5, spend_per_day_nanos=1000)
    limits = [others] * 3
    limits[tight] = Limits(
        requests_per_minute=9, tokens_per_day=50, concurrent_requests=5, spend_per_day_nanos=1000
    )
    admission = await admit(counters, rules(*limits), 30)
    assert admission.token_standing == Standing(limit=50, remaining=20, reset=86460)
    assert admission.request_standing == Standing(limit=9, remaining=8, reset=61)


async def test_a_limit_that_changes_keeps_its_window(counters: Counters) -> None:
    wide, narrow = rules(Limits(tokens_per_minute=1000)), rules(Limits(tokens_per_minute=100))
    await admit(counters, wide, 500)
    assert blocks(await admit(counters, narrow, 1)) == (Kind.TOKENS_PER_MINUTE, 61)
    assert blocks(await admit(counters, wide, 500)) is None


async def test_all_who_count_together_see_the_same(rig: Rig) -> None:
    here, there = rig.open(), rig.open()
    await admit(here, TOKENS + OPEN, 600)
    other = await admit(there, TOKENS + OPEN, 400)
    assert blocks(await admit(here, TOKENS, 1)) == (Kind.TOKENS_PER_MINUTE, 61)
    assert blocks(await admit(there, OPEN)) == (Kind.CONCURRENT_REQUESTS, None)
    there.settle(other, 100, None, final=True)
    assert await levels(there, TOKENS + OPEN) == [700, 1]
    assert await levels(here, TOKENS + OPEN) == [700, 1]


async def test_windows_outlive_who_counts(rig: Rig) -> None:
    before = rig.open()
    await admit(before, TOKENS, 600)
    await rig.leave(before)
    after = rig.open()
    rig.at(20)
    assert blocks(await admit(after, TOKENS, 500)) == (Kind.TOKENS_PER_MINUTE, 41)


async def test_a_clock_that_goes_back_stands_still(rig: Rig, counters: Counters) -> None:
    rig.at(40)
    await admit(counters, TOKENS, 1000)
    rig.at(10)
    assert await levels(counters, TOKENS) == [1000]
    assert blocks(await admit(counters, TOKENS, 1)) is not None
    rig.at(40 + 61)
    assert await levels(counters, TOKENS) == [0]


async def test_resets_are_told_to_the_second(rig: Rig, counters: Counters) -> None:
    tight: tuple[Rule, ...] = rules(Limits(tokens_per_minute=100, requests_per_minute=100))
    rig.at(7.5)
    await admit(counters, tight, 60)
    rig.at(20)
    refused = await admit(counters, tight, 70)
    assert refused.token_standing == Standing(limit=100, remaining=40, reset=48)
    assert refused.request_standing == Standing(limit=100, remaining=99, reset=48)
