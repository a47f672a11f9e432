"""Why a target, or a key, is not asked for a while, and how it comes back. Pure: clocks are handed in.

What used up its quota comes back by itself. What failed otherwise is asked by one request first, whose
success ends the rest: a real one, for a probe would be paid for.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from gateway.upstreams.clock import Now
from gateway.upstreams.faults import Cause, Fault

QUOTA_SECONDS = 60.0
"""For a quota's block that does not say how long it lasts: the longest that one of the minute can."""
LONGEST_DELAY_SECONDS = 86400.0
"""What an upstream may say at most."""
FIRST_OVERLOAD_SECONDS, LONGEST_OVERLOAD_SECONDS = 5.0, 60.0
"""The rest after failures, which takes twice as long whenever the trial after it fails."""
KEY_SECONDS = 180.0
"""How long a refused key is left alone before a request tries it again."""
_CALIFORNIA = ZoneInfo("America/Los_Angeles")


class Rest:
    """One rest of a target or of a key. Times are `time.monotonic()` seconds."""

    __slots__ = ("cause", "fault", "line", "on_trial", "until")

    def __init__(self, fault: Fault, until: float, line: bytes = b"") -> None:
        """line: the key's, if it is the key that rests; another one does not."""
        self.cause = fault.cause
        self.fault = fault
        self.until = until
        self.on_trial = False
        """One request finds out whether it is over."""
        self.line = line

    @property
    def needs_trial(self) -> bool:
        """Whether it is not over by itself."""
        return self.cause is not Cause.QUOTA

    def lasts(self, now: float) -> bool:
        """Whether nobody is to be asked: it is too early, or somebody is on trial."""
        return now < self.until or self.on_trial


def quota_rest(fault: Fault, now: Now) -> Rest:
    """The rest that a quota's block says, or that such a block takes."""
    if fault.until_day_ends:
        seconds = seconds_left_of_day(now.wall)
    elif fault.delay is not None:
        seconds = min(fault.delay, LONGEST_DELAY_SECONDS)
    else:
        seconds = QUOTA_SECONDS
    return Rest(fault, now.monotonic + seconds)


def overload_rest(fault: Fault, now: float, spells: int) -> Rest:
    """The rest after too many failures; `spells`: how many there were before it without a success."""
    seconds = min(FIRST_OVERLOAD_SECONDS * 2 ** min(spells, 10), LONGEST_OVERLOAD_SECONDS)
    if fault.delay is not None:
        seconds = max(seconds, min(fault.delay, LONGEST_OVERLOAD_SECONDS))
    return Rest(fault, now + seconds)


def seconds_left_of_day(wall: float) -> float:
    """Until the next midnight in California, when Google's daily quotas begin anew."""
    here = datetime.fromtimestamp(wall, _CALIFORNIA)
    midnight = datetime.combine(here.date() + timedelta(days=1), datetime.min.time(), _CALIFORNIA)
    return max(midnight.timestamp() - wall, 1.0)
