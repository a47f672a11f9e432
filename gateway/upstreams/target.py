"""Where requests go: an upstream, one of its keys and a model, and how well it has answered lately."""

from __future__ import annotations

import logging
from typing import Protocol

from gateway.exchange import Route
from gateway.upstreams import Key, Upstream
from gateway.upstreams.clock import Clock
from gateway.upstreams.faults import Cause, Fault
from gateway.upstreams.rest import KEY_SECONDS, Rest, overload_rest, quota_rest
from gateway.upstreams.target_state import State, TargetState

KNOWN_HEADS = 32
"""How many request heads a target remembers: clients may spell a query in many ways."""
FAILURES_IN_A_ROW = 5
ERROR_SHARE, ERRORS_OF = 0.5, 20
"""Of so many outcomes such a share are failures: then it rests, as it does after some in a row."""
HALF_WINDOW_SECONDS = 15.0
"""The outcomes that count are those of this half of the window and of the one before."""
KNOWN_TIMES = 128
_log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Told what becomes of rests, of targets and (cause KEY) of their keys."""

    def began(self, target: Target, rest: Rest) -> None:
        """It rests from now on."""

    def on_trial(self, target: Target, rest: Rest) -> None:
        """An attempt finds out whether that is over, or has not found out."""

    def ended(self, target: Target, rest: Rest) -> None:
        """An attempt has ended it."""


class Target:
    """Asked by attempts: each calls `begin`, then what becomes of it, then `end`."""

    __slots__ = (
        "_answers",
        "_clock",
        "_failures",
        "_first_bytes",
        "_half_began",
        "_heads",
        "_outcomes",
        "_watcher",
        "credit",
        "in_flight",
        "key",
        "model",
        "model_id",
        "place",
        "rest",
        "spells",
        "upstream",
    )

    def __init__(
        self,
        upstream: Upstream,
        key: Key,
        model: str,
        *,
        model_id: str,
        clock: Clock,
        watcher: Watcher,
    ) -> None:
        """model: the upstream's own name for it."""
        self.upstream = upstream
        self.key = key
        self.model = model
        self.model_id = model_id
        self.rest: Rest | None = None
        self.in_flight = 0
        self.credit = 0.0
        """What the choice owes it; the choice's business alone."""
        self.spells = 0
        """Rests for failures in a row, without a success between them."""
        self.place = b""
        """What tells it from all others on this machine; the business of `shared_rests` alone."""
        self._watcher = watcher
        self._clock = clock
        self._heads: dict[tuple[str, str, str], bytes] = {}
        """Request heads up to the credential, by what they depend on: most requests have one of a few."""
        self._failures = 0
        """In a row."""
        self._half_began = 0.0
        self._outcomes = [0, 0, 0, 0]
        """Answers and failures of this half of the window, and of the one before."""
        self._first_bytes: list[float] = []
        """Seconds, of the latest answers."""
        self._answers = 0

    def __repr__(self) -> str:
        return f"<Target {self.upstream.name} key {self.key.name} {self.model_id}>"

    def request_head(self, route: Route) -> bytes:
        """Request line, Host and credential, each with its line end."""
        known = (route.version, route.action, route.query)
        head = self._heads.get(known)
        if head is None:
            if len(self._heads) >= KNOWN_HEADS:
                self._heads.clear()
            head = self._heads[known] = self._head(route)
        return head + self.key.line

    def _head(self, route: Route) -> bytes:
        upstream = self.upstream
        query = f"?{route.query}" if route.query else ""
        path = f"{upstream.path_prefix}{upstream.kind.path(route, self.model)}{query}"
        return b"POST %b HTTP/1.1\r\nHost: %b\r\n" % (path.encode("ascii"), upstream.host)

    # Whether it may be asked

    @property
    def at_ease(self) -> bool:
        """Nothing is known against it."""
        return self.rest is None and self.key.rest is None and self.key.available

    def ready(self, now: float) -> bool:
        """Whether it may be asked: it is at ease, or its rest is over but for a trial that nobody makes."""
        rest = self.rest
        if rest is not None:
            if rest.lasts(now):
                return False
            if not rest.needs_trial:
                self.rest = None
        rest = self.key.rest
        if rest is not None:
            if rest.line != self.key.line:
                self.key.rest = None
            elif rest.lasts(now):
                return False
        return self.key.available

    def begin(self) -> Rest | None:
        """It is asked. What is returned is the rest that this attempt may end; it is to be given to `end`."""
        self.in_flight += 1
        rest = self.key.rest or self.rest  # no other target may try that key meanwhile
        if rest is not None and rest.needs_trial and not rest.on_trial:
            rest.on_trial = True
            self._watcher.on_trial(self, rest)
            return rest
        return None

    def end(self, trial: Rest | None) -> None:
        """The attempt is over; one that said nothing about its target leaves the trial to another."""
        self.in_flight -= 1
        if trial is not None:
            trial.on_trial = False
            if trial is self.rest or trial is self.key.rest:
                self._watcher.on_trial(self, trial)

    def answered(self, seconds: float, trial: Rest | None, *, whole: bool = True) -> None:
        """Good answer: its first byte came after so many seconds. `completed` tells if it is whole later."""
        times = self._first_bytes
        if len(times) < KNOWN_TIMES:
            times.append(seconds)
        else:
            times[self._answers % KNOWN_TIMES] = seconds
        self._answers += 1
        if trial is not None:
            self._recover(trial)
        if whole:
            self.completed()

    def completed(self) -> None:
        """A good answer is whole."""
        self._failures = 0
        now = self._clock.monotonic()
        if now - self._half_began >= HALF_WINDOW_SECONDS:
            self._turn(now)
        self._outcomes[0] += 1

    def _recover(self, trial: Rest) -> None:
        if self.rest is trial:
            self.recover()
            self._failures = FAILURES_IN_A_ROW - 1  # should this answer break off, it has not recovered
            self._watcher.ended(self, trial)
            _log.warning("upstream %s, key %s, model %s answers again", *self._names())
        elif self.key.rest is trial:
            self.key.rest = None
            self._watcher.ended(self, trial)
            _log.warning("upstream %s takes key %s again", self.upstream.name, self.key.name)

    def recover(self) -> None:
        """It answers again: what was known against it no longer counts."""
        self.rest = None
        self.spells = self._failures = 0
        self._outcomes[:] = 0, 0, 0, 0

    def failed(self, fault: Fault) -> None:
        """What an attempt said against it."""
        if not self.upstream.cooldown:
            if fault.cause is Cause.KEY:
                _log.error("upstream %s refuses the gateway's key %s", self.upstream.name, self.key.name)
            return
        now = self._clock.now()
        if fault.cause is Cause.KEY:
            self._key_failed(fault, now.monotonic)
        elif fault.cause is Cause.QUOTA:
            rest = quota_rest(fault, now)
            if self.rest is None or rest.until > self.rest.until:
                self._begin_rest(rest)
        else:
            self._count_failure(fault, now.monotonic)

    def _key_failed(self, fault: Fault, now: float) -> None:
        key = self.key
        known = key.rest is not None and key.rest.line == key.line
        key.rest = Rest(fault, now + KEY_SECONDS, key.line)
        if not known:
            _log.error("upstream %s refuses the gateway's key %s", self.upstream.name, key.name)
            if self.upstream.renewal:
                self.upstream.renewal.refused()
        self._watcher.began(self, key.rest)

    def _count_failure(self, fault: Fault, now: float) -> None:
        if now - self._half_began >= HALF_WINDOW_SECONDS:
            self._turn(now)
        self._failures += 1
        outcomes = self._outcomes
        outcomes[1] += 1
        if self.rest is not None and not self.rest.on_trial:
            return  # it rests: this began before
        bad, all_of_them = outcomes[1] + outcomes[3], sum(outcomes)
        if (
            self.rest is not None
            or self._failures >= FAILURES_IN_A_ROW
            or (all_of_them >= ERRORS_OF and bad >= ERROR_SHARE * all_of_them)
        ):
            self.spells += 1
            self._begin_rest(overload_rest(fault, now, self.spells - 1))

    def _begin_rest(self, rest: Rest) -> None:
        if self.rest is None:
            seconds = rest.until - self._clock.monotonic()
            _log.warning(
                "upstream %s, key %s, model %s rests for %.0f s: %s",
                *self._names(),
                seconds,
                rest.fault.quota_id or rest.cause.value,
            )
        self.rest = rest
        self._watcher.began(self, rest)

    def _names(self) -> tuple[str, str, str]:
        return self.upstream.name, self.key.name, self.model_id

    def _turn(self, now: float) -> None:
        """The next half of the window; what is older than the last one no longer counts."""
        good, bad = self._outcomes[:2] if now - self._half_began < 2 * HALF_WINDOW_SECONDS else (0, 0)
        self._outcomes[:] = 0, 0, good, bad
        self._half_began = now

    # For those who look on

    def state(self) -> TargetState:
        """How it is now."""
        now = self._clock.now()
        rest, state = self.key.rest or self.rest, State.READY
        if not self.key.available:
            state = State.UNAVAILABLE
        elif rest is None or self.ready(now.monotonic):
            rest = None
        elif rest.on_trial:
            state = State.TRIAL
        else:
            state = State.OUT if rest.cause is Cause.KEY else State.COOLING
        good, bad = sum(self._outcomes[::2]), sum(self._outcomes[1::2])
        times = sorted(self._first_bytes)
        return TargetState(
            upstream=self.upstream.name,
            kind=self.upstream.kind.KIND,
            key=self.key.name,
            model=self.model_id,
            priority=self.upstream.priority,
            weight=self.upstream.weight,
            state=state,
            cause=(rest.fault.quota_id or rest.cause.value) if rest else "",
            until=now.wall + max(rest.until - now.monotonic, 0.0) if rest else None,
            in_flight=self.in_flight,
            requests=good + bad,
            error_share=bad / (good + bad) if good + bad else 0.0,
            first_byte_p50=times[len(times) // 2] if times else None,
            first_byte_p95=times[len(times) * 95 // 100] if times else None,
        )
