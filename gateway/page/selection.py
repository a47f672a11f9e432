"""What of everything is to be shown, as the query of the page's address says it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import urlencode

from multidict import MultiMapping

from gateway.errors import printable
from gateway.page.periods import Period
from gateway.stores.rows import DEFAULT_PROJECT, UsageBy, is_reference

GROUPINGS = (UsageBy.BRANCH, UsageBy.CREDENTIAL, UsageBy.MODEL, UsageBy.UPSTREAM)
"""Days are the other axis."""

T = TypeVar("T", Period, UsageBy)


class BadSelection(ValueError):
    """The query asks for what there can't be: one line for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Selection:
    """One view of the page."""

    project: str = DEFAULT_PROJECT
    """Its id or name."""
    period: Period = Period.WEEK
    by: UsageBy = UsageBy.BRANCH

    def link(self, **changes: str) -> str:
        """A reference from the page to itself that shows something else."""
        other = replace(self, **changes)  # type: ignore[arg-type]
        return "?" + urlencode({"project": other.project, "period": other.period, "by": other.by})


_DEFAULT = Selection()


def parse(query: MultiMapping[str]) -> Selection:
    """Raises BadSelection. What is not said is as in `Selection`."""
    if unknown := next((name for name in query if name not in ("project", "period", "by")), None):
        raise BadSelection(f'no parameter "{printable(unknown)}": there are project, period and by')
    if len(query) != len(set(query)):
        raise BadSelection("a parameter was given twice")
    project = query.get("project", _DEFAULT.project)
    if not is_reference(project):
        raise BadSelection(f'project "{printable(project)}": neither an id nor a name')
    return Selection(
        project,
        _choice(query, "period", _DEFAULT.period, {one.value: one for one in Period}),
        _choice(query, "by", _DEFAULT.by, {one.value: one for one in GROUPINGS}),
    )


def _choice(query: MultiMapping[str], name: str, default: T, choices: Mapping[str, T]) -> T:
    given = query.get(name, default)
    if given not in choices:
        raise BadSelection(f'{name} "{printable(given)}": one of {", ".join(choices)}')
    return choices[given]
