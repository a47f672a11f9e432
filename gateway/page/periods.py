"""The times that can be looked at, and the hours or days that each is shown by. Pure; all of it is UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

HOUR = 3600
DAY = 24 * HOUR


class Period(StrEnum):
    """How far back."""

    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"

    @property
    def words(self) -> str:
        """As people call it."""
        return _WORDS[self]


_WORDS = {Period.DAY: "24 hours", Period.WEEK: "7 days", Period.MONTH: "30 days"}
_SHOWN_BY = {Period.DAY: (24, HOUR), Period.WEEK: (7, DAY), Period.MONTH: (30, DAY)}


@dataclass(frozen=True, slots=True)
class Bucket:
    """One hour or day: one bar of a chart. Times are seconds since the epoch."""

    begin: int
    end: int
    label: str
    """16:00 or 22 Nov."""
    title: str
    """2026-11-22 16:00, or 2026-11-22."""


@dataclass(frozen=True, slots=True)
class Window:
    """A period in whole buckets. The last one is not over yet, so the first is a little less far back."""

    period: Period
    buckets: Sequence[Bucket]

    @property
    def by_hour(self) -> bool:
        """Whether the buckets are hours; otherwise they are days."""
        return self.period is Period.DAY

    @property
    def unit(self) -> str:
        """What a bucket is."""
        return "hour" if self.by_hour else "day"

    @property
    def begin(self) -> int:
        """Of the first bucket."""
        return self.buckets[0].begin

    @property
    def end(self) -> int:
        """Of the last bucket."""
        return self.buckets[-1].end


def window(period: Period, now: float) -> Window:
    """The period up to now."""
    count, width = _SHOWN_BY[period]
    last = int(now) // width * width
    begins = range(last - (count - 1) * width, last + 1, width)
    return Window(period, [_bucket(begin, width) for begin in begins])


def _bucket(begin: int, width: int) -> Bucket:
    moment = datetime.fromtimestamp(begin, UTC)
    label, title = ("%H:%M", "%Y-%m-%d %H:%M") if width == HOUR else ("%d %b", "%Y-%m-%d")
    return Bucket(begin, begin + width, moment.strftime(label), moment.strftime(title))
