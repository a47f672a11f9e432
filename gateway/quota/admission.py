"""What the counters say to a request, and what it owes them when it ends."""

from __future__ import annotations

from msgspec import Struct

from gateway.limits import MOST
from gateway.quota.rules import Rule


class Standing(Struct, frozen=True, gc=False):
    """How full the tightest of several windows is: the one with the least room left."""

    limit: int
    remaining: int
    reset: int
    """Whole seconds until the window is empty, when nothing else happens."""


class Estimate(Struct, frozen=True, gc=False):
    """What a request will probably use: at least 1 token; 0 nanos where no price is known."""

    tokens: int
    cost_nanos: int


class Admission(Struct, frozen=True, gc=False):
    """The verdict on one request. One that was admitted has to be settled, once, however it ends."""

    rules: tuple[Rule, ...] = ()
    """What it was reserved by; empty where nothing was."""
    tokens: int = 0
    cost_nanos: int = 0
    """What was reserved."""
    since: int = 0
    """When, in whole seconds of the counters' own clock."""
    token_standing: Standing | None = None
    request_standing: Standing | None = None
    """After this request, for the headers; None where no such limit is set."""
    blocked_by: Rule | None = None
    """The limit that refused it; of several the one that lifts last."""
    retry_after: int | None = None
    """Whole seconds until it would be admitted, if open reservations stood and nothing else happened.

    None: its limit does not lift by itself, for others have to end.
    """
    reservation: bytes = b""
    """Its name, where the counters are kept by another server."""


def settled_on(reserved: int, reported: int | None, *, final: bool) -> int:
    """What a window keeps of a request that has ended, having reported that last; None: nothing.

    Of a report that is not the final one the larger counts of it and what was reserved.
    """
    if reported is None:
        return reserved
    return min(reported if final else max(reported, reserved), MOST)
