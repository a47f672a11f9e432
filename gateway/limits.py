"""What a project, a branch or a credential may use: the five limits, each of them optional."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, structs

MOST = 10**15
"""The largest limit: above what any model can use, and far from where sums would overflow."""
Amount = Annotated[int, Meta(ge=0, le=MOST)]


class Level(StrEnum):
    """Whom a limit is for."""

    PROJECT = "project"
    BRANCH = "branch"
    CREDENTIAL = "credential"


class Limits(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """None: not set here, so that a project's comes from the configuration. 0: no limit.

    Tokens are input and output together. A minute is the last 60 s, a day the last 24 h.
    """

    requests_per_minute: Amount | None = None
    tokens_per_minute: Amount | None = None
    """For each model by itself."""
    concurrent_requests: Amount | None = None
    tokens_per_day: Amount | None = None
    """Of all models together."""
    spend_per_day_nanos: Amount | None = None
    """Metered token spend, in billionths of a US dollar."""


def completed(own: Limits, defaults: Limits) -> Limits:
    """A project's own limits, and the configuration's where it has none."""
    given = {name: value for name, value in structs.asdict(own).items() if value is not None}
    return structs.replace(defaults, **given)
