"""How numbers, money and times are put into words, and drawn."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.page import chart, periods, units
from gateway.page.figures import NOTHING
from gateway.page.periods import Period
from gateway.quota.rules import Kind
from tests.page.rig import NOW


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "$0.00"),
        (1, "<$0.0001"),
        (99_999, "<$0.0001"),
        (100_000, "$0.0001"),
        (149_999, "$0.0001"),
        (150_000, "$0.0002"),
        (12_345_678, "$0.0123"),
        (999_949_999, "$0.9999"),
        (999_950_000, "$1.00"),
        (1_004_999_999, "$1.00"),
        (1_005_000_000, "$1.01"),
        (1_234_567_890_000_000, "$1,234,567.89"),
    ],
)
def test_dollars(nanos: int, text: str) -> None:
    assert units.dollars(nanos) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10k"),
        (25_000, "25k"),
        (2_500_000, "2.5M"),
        (10**9, "1G"),
        (5 * 10**13, "50T"),
    ],
)
def test_a_scale_has_short_numbers(count: int, text: str) -> None:
    assert units.short(count) == text


def test_what_is_not_wholly_known_is_shown_as_the_least_that_it_may_be() -> None:
    known = replace(NOTHING, requests=4, attempts=4, input_tokens=1_234, cost_nanos=5_000_000_000)
    assert (units.tokens(1_234, known), units.spend(known)) == ("1,234", "$5.00")
    unpriced = replace(known, unpriced=1)
    assert (units.tokens(1_234, unpriced), units.spend(unpriced)) == ("1,234", "≥\u00a0$5.00")
    partly = replace(known, unknown_usage=1)
    assert (units.tokens(1_234, partly), units.spend(partly)) == ("≥\u00a01,234", "≥\u00a0$5.00")
    wholly = replace(NOTHING, requests=4, attempts=4, unknown_usage=4)
    assert (units.tokens(0, wholly), units.spend(wholly)) == ("unknown", "unknown")
    assert units.spend(replace(NOTHING, attempts=1, unpriced=1, input_tokens=9)) == "unknown"


def test_only_what_is_full_is_100_percent() -> None:
    assert [units.percent(used, 1_000) for used in (0, 4, 999, 1_000, 23_456)] == [
        "0%",
        "0%",
        "99%",
        "100%",
        "2,345%",
    ]


def test_amounts_of_a_limit_are_in_its_unit() -> None:
    assert units.in_unit(5_000_000_000, Kind.SPEND_PER_DAY) == "$5.00"
    assert units.in_unit(5_000, Kind.TOKENS_PER_DAY) == "5,000"


def test_rates() -> None:
    assert [units.rate(count, 60.0) for count in (0, 1, 60, 600, 120_000)] == [
        "0",
        "0.02",
        "1.00",
        "10.0",
        "2,000.0",
    ]


def test_times_are_utc() -> None:
    assert units.minute(NOW) == "2026-06-18 15:37"
    assert units.machine_time(NOW) == "2026-06-18T15:37:00Z"


def test_a_period_is_of_whole_hours_or_days_and_ends_with_this_one() -> None:
    day = periods.window(Period.DAY, NOW)
    assert [(one.label, one.title) for one in (day.buckets[0], day.buckets[-1])] == [
        ("16:00", "2026-06-17 16:00"),
        ("15:00", "2026-06-18 15:00"),
    ]
    month = periods.window(Period.MONTH, NOW)
    assert [(one.label, one.title) for one in (month.buckets[0], month.buckets[-1])] == [
        ("20 May", "2026-05-20"),
        ("18 Jun", "2026-06-18"),
    ]


@given(st.sampled_from(Period), st.floats(0, 4e9))
def test_the_buckets_of_a_period_follow_each_other_and_hold_now(period: Period, now: float) -> None:
    buckets = periods.window(period, now).buckets
    assert len(buckets) == {"24h": 24, "7d": 7, "30d": 30}[period]
    assert all(one.end == other.begin for one, other in pairwise(buckets))
    assert buckets[-1].begin <= now < buckets[-1].end


_RECTANGLE = re.compile(r"M([\d.]+) ([\d.]+)V([\d.e-]+)h0.8V\2z")
_LAYERS = st.integers(1, 30).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, 10**15), min_size=size, max_size=size), min_size=2, max_size=2
    )
)


@given(_LAYERS)
def test_bars_stand_on_each_other_and_stay_in_the_chart(layers: list[list[int]]) -> None:
    drawn = chart.stacked(layers, 10)
    most = max(map(sum, zip(*layers, strict=True)))
    assert most <= drawn.top
    assert str(drawn.top).rstrip("0") in ("1", "2", "5")
    assert drawn.top == 10 or drawn.top < 2.5 * most + 1
    tops = dict.fromkeys(range(len(layers[0])), 100.0)
    for layer, path in zip(layers, drawn.paths, strict=True):
        rectangles = _RECTANGLE.findall(path)
        assert "".join(f"M{left} {low}V{high}h0.8V{low}z" for left, low, high in rectangles) == path
        assert [int(float(left)) for left, _, _ in rectangles] == [
            n for n, value in enumerate(layer) if value
        ]
        for left, low, high in rectangles:
            assert float(low) == pytest.approx(tops[int(float(left))], abs=0.1)
            assert 0 <= float(high) <= float(low)
            tops[int(float(left))] = float(high)
    for number, values in enumerate(zip(*layers, strict=True)):
        assert tops[number] == pytest.approx(100 - 100 * sum(values) / drawn.top, abs=0.1)


def test_a_chart_of_nothing_has_a_scale_and_no_bars() -> None:
    assert chart.stacked([[0, 0], [0, 0]], 10) == chart.Chart(10, ["", ""])


def test_the_highest_bar_of_a_trend_takes_its_height() -> None:
    assert chart.bars([0, 5, 10]) == "M1.1 100V50h0.8V100zM2.1 100V0h0.8V100z"
