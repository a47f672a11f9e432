"""Numbers, money, shares and times as a person reads them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.quota.rules import Kind
from gateway.stores.rows import UsageSum
from gateway.usage_record import NANOS

_SMALLEST = NANOS // 10_000
"""What is shown of a dollar, below one dollar."""


def number(count: int) -> str:
    """1,234,567."""
    return f"{count:,}"


def short(count: int) -> str:
    """At most six characters, for a chart's scale: 9,500, 20k, 2.5M."""
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size and count >= 10_000:
            return f"{count / size:.4g}{unit}"
    return number(count)


def dollars(nanos: int) -> str:
    """Of billionths: $1,234.57; below a dollar $0.0123, and <$0.0001 where that would show nothing."""
    if 0 < nanos < _SMALLEST:
        return "<$0.0001"
    if 0 < nanos < NANOS and (rounded := (nanos + _SMALLEST // 2) // _SMALLEST) < 10_000:
        return f"$0.{rounded:04}"
    cents = (nanos + NANOS // 200) // (NANOS // 100)
    return f"${cents // 100:,}.{cents % 100:02}"


def tokens(count: int, of: UsageSum) -> str:
    """One of a sum's counts; where not all of it is known, as the least that it may be."""
    if of.unknown_usage:
        return "unknown" if of.unknown_usage == of.attempts else f"≥\u00a0{number(count)}"
    return number(count)


def spend(of: UsageSum) -> str:
    """A sum's cost, likewise: without a report, or without a price, there is none."""
    if of.unknown_usage or of.unpriced:
        return f"≥\u00a0{dollars(of.cost_nanos)}" if of.cost_nanos else "unknown"
    return dollars(of.cost_nanos)


def in_unit(amount: int, kind: Kind) -> str:
    """An amount that counts towards a limit of that kind."""
    return dollars(amount) if kind is Kind.SPEND_PER_DAY else number(amount)


def percent(part: int, whole: int) -> str:
    """Rounded down, so that only what is full is 100%."""
    return f"{part * 100 // whole:,}%"


def share(part: float) -> str:
    """Of a part of one: 12%, and <1% where that would show nothing."""
    return "<1%" if 0 < part < 0.005 else f"{part:.0%}"


def rate(count: int, seconds: float) -> str:
    """How many a second: 12.5, and 0.02 where there are few."""
    per_second = count / seconds
    return f"{per_second:,.{1 if per_second >= 10 else 2}f}" if count else "0"


def seconds(duration: float | None) -> str:
    """0.42 s and 12.5 s; nothing where it is not known."""
    return "" if duration is None else f"{duration:.{1 if duration >= 10 else 2}f}\u00a0s"


def machine_time(moment: float) -> str:
    """Of seconds since the epoch, as `<time datetime>` has it: 2026-11-22T15:37:00Z."""
    return f"{_utc(moment):%Y-%m-%dT%H:%M:%SZ}"


def minute(moment: float) -> str:
    """Of seconds since the epoch: 2026-11-22 15:37 (UTC, which is said elsewhere)."""
    return f"{_utc(moment):%Y-%m-%d %H:%M}"


def second(moment: float) -> str:
    """The same to the second."""
    return f"{_utc(moment):%Y-%m-%d %H:%M:%S}"


def _utc(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)
