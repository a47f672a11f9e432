"""What was used, by hour or day, and by branch, credential, model or upstream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

from gateway.page.periods import Window
from gateway.stores.rows import Store, UsageBy, UsageSum

GROUPS = 50
"""More would make the page large; what is left is added up."""

Found = Sequence[tuple[int, str, UsageSum]]
"""The number of the bucket, the id of the group, and what was used."""

_AMOUNTS = [field.name for field in fields(UsageSum) if field.name != "group"]
_amounts = attrgetter(*_AMOUNTS)
NOTHING = UsageSum({}, **dict.fromkeys(_AMOUNTS, 0))


@dataclass(frozen=True, slots=True)
class Group:
    """What one branch, credential, model or upstream used; or all that are not shown by themselves."""

    id: str
    name: str
    """Empty where it has none, or none any more."""
    total: UsageSum
    parts: Sequence[UsageSum]
    """One for each bucket of the window."""

    @property
    def tokens(self) -> Sequence[int]:
        """Input and output, by bucket."""
        return [part.input_tokens + part.output_tokens for part in self.parts]

    @property
    def spend(self) -> Sequence[int]:
        """Billionths of a dollar, by bucket."""
        return [part.cost_nanos for part in self.parts]


@dataclass(frozen=True, slots=True)
class Figures:
    """All that was used in a window."""

    all: Group
    groups: Sequence[Group]
    """The most expensive first, at most `GROUPS`."""
    others: Group | None
    """All further ones together."""
    others_count: int


async def read(store: Store, project_id: str, window: Window, by: UsageBy) -> Found:
    """What the store knows of that time. Raises StoreError."""
    if window.by_hour:
        return [
            (number, found.group[by], found)
            for number, bucket in enumerate(window.buckets)
            for found in await store.usage(project_id, bucket.begin, bucket.end, [by])
        ]
    numbers = {bucket.title: number for number, bucket in enumerate(window.buckets)}
    sums = await store.usage(project_id, window.begin, window.end, [UsageBy.DAY, by])
    return [(numbers[found.group[UsageBy.DAY]], found.group[by], found) for found in sums]


def arrange(found: Found, window: Window, names: Mapping[str, str]) -> Figures:
    """`names` by the ids of what is grouped by. Takes its time where there are thousands of groups."""
    parts: defaultdict[str, list[UsageSum]] = defaultdict(lambda: [NOTHING] * len(window.buckets))
    for number, group_id, one in found:
        parts[group_id][number] = one
    groups = sorted(
        (_group(parts[group_id], group_id, names.get(group_id, "")) for group_id in parts), key=_rank
    )
    rest = groups[GROUPS:]
    return Figures(
        all=_together(groups, window),
        groups=groups[:GROUPS],
        others=_together(rest, window) if rest else None,
        others_count=len(rest),
    )


def _group(parts: Sequence[UsageSum], group_id: str = "", name: str = "") -> Group:
    return Group(group_id, name, _added(parts), parts)


def _together(groups: Iterable[Group], window: Window) -> Group:
    by_bucket = zip(*(group.parts for group in groups), strict=True)
    return _group([_added(parts) for parts in by_bucket] or [NOTHING] * len(window.buckets))


def _added(sums: Sequence[UsageSum]) -> UsageSum:
    columns = zip(*map(_amounts, sums), strict=True)
    return UsageSum({}, **dict(zip(_AMOUNTS, map(sum, columns), strict=True)))


def _rank(group: Group) -> tuple[int, int, int, str]:
    total = group.total
    return -total.cost_nanos, -(total.input_tokens + total.output_tokens), -total.requests, group.id
