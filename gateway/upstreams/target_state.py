"""How a target is, for those who look on: one process's view of it, and that of several together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class State(StrEnum):
    """Whether requests go there, the best first."""

    READY = "ready"
    TRIAL = "trial"
    """One request finds out whether it works again."""
    COOLING = "cooling"
    OUT = "out"
    """Its key was refused."""
    UNAVAILABLE = "unavailable"
    """There is no key to ask it with just now."""


@dataclass(frozen=True, slots=True)
class TargetState:
    """One target, seen at one moment."""

    upstream: str
    kind: str
    key: str
    """The key's name, no part of it."""
    model: str
    """Its short id."""
    priority: int
    weight: int
    state: State
    cause: str
    """Why it is not ready; empty where it is."""
    until: float | None
    """Seconds since the epoch until which it is not asked, where that is known."""
    in_flight: int
    requests: int
    """Recent ones, which the rest is about."""
    error_share: float
    """Of them, from 0 to 1: errors that speak against the target."""
    first_byte_p50: float | None
    """Seconds; None: there was none."""
    first_byte_p95: float | None


_STATES = list(State)


def merge(views: Iterable[Sequence[TargetState]]) -> list[TargetState]:
    """What several processes see of their targets as one view, in order of upstream, key and model.

    Counts are added up, and the worst state counts, with the latest end of those who see it. Of times to the
    first byte nobody keeps all, so those of the process with the most requests stand for all.
    """
    merged: dict[tuple[str, str, str], TargetState] = {}
    for view in views:
        for one in view:
            place = (one.upstream, one.key, one.model)
            merged[place] = _both(merged[place], one) if place in merged else one
    return [merged[place] for place in sorted(merged)]


def _both(one: TargetState, other: TargetState) -> TargetState:
    busier = max(one, other, key=lambda state: state.requests)
    worse = max(one, other, key=lambda state: (_STATES.index(state.state), state.until or 0.0))
    requests = one.requests + other.requests
    errors = one.error_share * one.requests + other.error_share * other.requests
    return replace(
        busier,
        state=worse.state,
        cause=worse.cause,
        until=worse.until,
        in_flight=one.in_flight + other.in_flight,
        requests=requests,
        error_share=errors / requests if requests else 0.0,
    )
