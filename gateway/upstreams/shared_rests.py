"""Rests of targets and keys, told to the other processes of this machine and learnt from them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from gateway.exchange import Route
from gateway.upstreams import Key, Upstream
from gateway.upstreams.clock import Clock, Now
from gateway.upstreams.cooldowns import PLACE_BYTES, Cooldown, Cooldowns
from gateway.upstreams.faults import Cause, Fault
from gateway.upstreams.rest import Rest
from gateway.upstreams.target import Target

TRIAL_SECONDS = 10.0
"""For how long a target is left to the process that tries it: it may be killed meanwhile."""
_SAME_SECONDS = 1.0
"""Many requests may hear of one block: what lasts next to no longer is not told again."""
_ANY_ROUTE = Route("v1", "", "generateContent")


class SharedRests:
    """What this process has told and learnt. Each of its methods but `learn` is about one change."""

    def __init__(self, cooldowns: Cooldowns, clock: Clock) -> None:
        self._cooldowns = cooldowns
        self._clock = clock
        self._known: dict[bytes, Cooldown] = {}

    def tell(self, target: Target, rest: Rest) -> None:
        """It rests, or somebody is on trial, or no more."""
        place = _place_of(target, rest)
        now = self._clock.now()
        end = now.monotonic + TRIAL_SECONDS if rest.on_trial else rest.until
        new = Cooldown(
            rest.cause,
            now.wall,
            now.wall + end - now.monotonic,
            rest.on_trial,
            target.spells,
            rest.fault.quota_id,
            rest.fault.message,
        )
        old = self._known.get(place)
        if old is None or not _is_same(old, new):
            self._known[place] = new
            self._cooldowns.write(place, new)

    def tell_end(self, target: Target, rest: Rest) -> None:
        """A trial has ended the rest."""
        place = _place_of(target, rest)
        self._known.pop(place, None)
        self._cooldowns.erase(place)

    def learn(self, targets: Sequence[Target]) -> None:
        """Take up for these what others have told since the last time."""
        now = self._clock.now()
        old, new = self._known, self._cooldowns.read(now.wall)
        self._known = new
        changed = {
            place
            for place in old.keys() | new.keys()
            if old.get(place) != new.get(place)
            # What is over by time has ended by itself; the rest of what is gone was ended by others.
            and (place in new or not old[place].is_over(now.wall))
        }
        if not changed:
            return
        for target in targets:
            if target.upstream.cooldown and _target_place(target) in changed:
                self._take_up(target, now)
        for upstream, key in _keys_of(targets):
            if _key_place(upstream, key) in changed:
                self._take_up_key(upstream, key, now)

    def join(self, targets: Sequence[Target]) -> None:
        """Take up for new targets what others have told before."""
        if not self._known:
            return
        now = self._clock.now()
        for target in targets:
            if target.upstream.cooldown and target.rest is None and _target_place(target) in self._known:
                self._take_up(target, now)
        for upstream, key in _keys_of(targets):
            if key.rest is None:
                self._take_up_key(upstream, key, now)

    def _take_up(self, target: Target, now: Now) -> None:
        cooldown = self._known.get(_target_place(target))
        if cooldown is None:
            target.recover()
        else:
            target.rest = _rest(cooldown, now)
            target.spells = cooldown.spells

    def _take_up_key(self, upstream: Upstream, key: Key, now: Now) -> None:
        cooldown = self._known.get(_key_place(upstream, key))
        key.rest = None if cooldown is None else _rest(cooldown, now, key.line)


def _keys_of(targets: Sequence[Target]) -> set[tuple[Upstream, Key]]:
    return {(target.upstream, target.key) for target in targets if target.upstream.cooldown}


def _rest(cooldown: Cooldown, now: Now, line: bytes = b"") -> Rest:
    # It lasts no longer than when it was told, though the clock may have been set back since.
    left = min(cooldown.until - now.wall, cooldown.until - cooldown.since)
    fault = Fault(cooldown.cause, message=cooldown.message, quota_id=cooldown.quota_id)
    return Rest(fault, now.monotonic + left, line)


def _is_same(old: Cooldown, new: Cooldown) -> bool:
    return 0.0 <= new.until - old.until < _SAME_SECONDS and old._replace(
        since=0.0, until=0.0, message=""
    ) == new._replace(since=0.0, until=0.0, message="")


def _place_of(target: Target, rest: Rest) -> bytes:
    if rest.cause is Cause.KEY:
        return _key_place(target.upstream, target.key)
    return _target_place(target)


def _target_place(target: Target) -> bytes:
    if not target.place:
        upstream = target.upstream
        # Tokens come and go, and each process has its own: a quota is not one of the token.
        secret = target.key.name.encode() if upstream.renewal else target.key.line
        path = upstream.path_prefix + upstream.kind.path(_ANY_ROUTE, target.model)
        target.place = _digest(upstream, secret, path)
    return target.place


def _key_place(upstream: Upstream, key: Key) -> bytes:
    return _digest(upstream, key.line, "")


def _digest(upstream: Upstream, secret: bytes, path: str) -> bytes:
    parts = (upstream.name.encode(), upstream.host, path.encode(), secret)
    return blake2b(b"\0".join(parts), digest_size=PLACE_BYTES).digest()
