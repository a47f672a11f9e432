"""Which upstream a request goes to, and with which of its keys."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from gateway.catalog import Model
from gateway.errors import (
    MODEL_NOT_ON_ENDPOINT,
    UPSTREAM_FAILED,
    UPSTREAM_OVERLOADED,
    GatewayError,
    Refusal,
)
from gateway.upstreams import Key, Upstream
from gateway.upstreams.clock import Clock
from gateway.upstreams.cooldowns import GENERATION, Cooldowns
from gateway.upstreams.faults import Cause
from gateway.upstreams.rest import Rest
from gateway.upstreams.shared_rests import SharedRests
from gateway.upstreams.target import Target
from gateway.upstreams.target_state import TargetState

KNOWN_MODELS = 1000
"""For how many models targets are remembered: where `catalog.allow` is set, clients choose the names."""
_ALONE = (0, 0, 0)
"""A head that never changes."""
KNOWN_CALLERS = 10_000
"""For how many callers and models it is remembered where they went last."""


class Pool:
    """The targets of this gateway: the lowest priority first, equal ones by weight and what is in flight."""

    def __init__(
        self,
        upstreams: Iterable[Upstream],
        *,
        sticky_seconds: float = 0.0,
        clock: Clock | None = None,
        cooldowns: Cooldowns | None = None,
    ) -> None:
        """sticky_seconds: for how long a caller's requests for a model go where its last one went; 0: not.

        cooldowns: where the processes of this machine tell each other what rests; None: this one is alone.
        """
        self._clock = clock or Clock()
        self._sticky_seconds = sticky_seconds
        self._targets: OrderedDict[str, list[Target]] = OrderedDict()
        """By model, in order of priority; the model that came last comes last."""
        self._callers: OrderedDict[tuple[str, str], tuple[Target, float]] = OrderedDict()
        """By caller and model: where it went last, and until when it goes there again."""
        self.on_rest: Callable[[Target, Rest], None] = _nothing
        """Told when a target, or its key, begins to rest."""
        self._shared = SharedRests(cooldowns, self._clock) if cooldowns else None
        self._head: Sequence[int] = cooldowns.head if cooldowns else _ALONE
        self._generation = -1 if cooldowns else 0
        """Of what others have told, as far as it has been learnt."""
        self._known: dict[tuple[Upstream, Key, str], Target] = {}
        """Those from before a change that nobody has asked for since."""
        self.replace(upstreams)

    def replace(self, upstreams: Iterable[Upstream]) -> None:
        """Choose among these from now on: those that stay are the same objects, perhaps with other keys.

        What is known of their targets stays known.
        """
        self.upstreams = sorted(upstreams, key=lambda upstream: upstream.priority)
        self._for_all = all(upstream.projects is None for upstream in self.upstreams)
        # Of those that nobody has asked for since an earlier change, the latest that are unlike new ones.
        now = self._clock.monotonic()
        known = [
            target
            for target in self._known.values()
            if target.in_flight or not (target.ready(now) and target.at_ease)
        ]
        known = known[-KNOWN_MODELS:] + [target for targets in self._targets.values() for target in targets]
        self._known = {
            (target.upstream, target.key, target.model_id): target
            for target in known
            if target.upstream in self.upstreams
            and target.key in target.upstream.keys
            and target.upstream.serves(target.model_id)
        }
        self._targets.clear()
        self._callers.clear()

    def check(self, model: Model, project: str = "") -> None:
        """Raise GatewayError where no upstream serves the model to that project."""
        targets = self._targets.get(model.id) or self._find(model)
        if not self._for_all:
            _those_for(project, targets, model)

    def choose(self, model: Model, caller: str = "", project: str = "") -> Target:
        """Where a request for the model goes; `caller` says whose it is, `project` is the id of theirs.

        Raises GatewayError: no upstream serves the model to the project, or none can be asked just now.
        """
        if self._head[GENERATION] != self._generation:
            self._learn()
        targets = self._targets.get(model.id) or self._find(model)
        if not self._for_all:
            targets = _those_for(project, targets, model)
        if len(targets) == 1 and (only := targets[0]).at_ease:
            return only
        target = self._ready(targets, model.id, caller, ())
        if target is None:
            raise _none_ready(targets, self._clock)
        return target

    def another(
        self, model: Model, caller: str, tried: Collection[Target], project: str = ""
    ) -> Target | None:
        """Where else; None: everywhere it was tried in vain, or nobody can be asked."""
        if self._head[GENERATION] != self._generation:
            self._learn()
        try:
            targets = self._targets.get(model.id) or self._find(model)
            if not self._for_all:
                targets = _those_for(project, targets, model)
        except GatewayError:  # of a model that is only a fallback
            return None
        return self._ready(targets, model.id, caller, tried)

    def targets(self) -> list[TargetState]:
        """How each target is that was asked lately."""
        if self._head[GENERATION] != self._generation:
            self._learn()
        return [target.state() for target in self._all()]

    def began(self, target: Target, rest: Rest) -> None:
        """See `Watcher`."""
        if self._shared:
            self._shared.tell(target, rest)
        self.on_rest(target, rest)

    def on_trial(self, target: Target, rest: Rest) -> None:
        """See `Watcher`."""
        if self._shared:
            self._shared.tell(target, rest)

    def ended(self, target: Target, rest: Rest) -> None:
        """See `Watcher`."""
        if self._shared:
            self._shared.tell_end(target, rest)

    def _all(self) -> list[Target]:
        asked = [target for targets in self._targets.values() for target in targets]
        return [*asked, *self._known.values()]

    def _learn(self) -> None:
        self._generation = self._head[GENERATION]
        if self._shared:
            self._shared.learn(self._all())

    def _find(self, model: Model) -> list[Target]:
        found = []
        for upstream in self.upstreams:
            if upstream.serves(model.id):
                name = model.upstream_name(upstream.kind.KIND)
                found += [self._target(upstream, key, name, model.id) for key in upstream.keys]
        if not found:
            raise GatewayError(MODEL_NOT_ON_ENDPOINT, {"model": model.id})
        if len(self._targets) >= KNOWN_MODELS:
            self._targets.popitem(last=False)
        self._targets[model.id] = found
        if self._shared:
            self._shared.join(found)
        return found

    def _target(self, upstream: Upstream, key: Key, name: str, model_id: str) -> Target:
        known = self._known.pop((upstream, key, model_id), None)
        if known is not None and known.model == name:
            return known
        return Target(upstream, key, name, model_id=model_id, clock=self._clock, watcher=self)

    def _ready(
        self, targets: Sequence[Target], model_id: str, caller: str, tried: Collection[Target]
    ) -> Target | None:
        now = self._clock.monotonic()
        ready = [target for target in targets if target not in tried and target.ready(now)]
        if not ready:
            return None
        best = [target for target in ready if target.upstream.priority == ready[0].upstream.priority]
        if not (self._sticky_seconds and caller):
            return _share_out(best)
        sticky = (caller, model_id)
        last, until = self._callers.get(sticky, (None, 0.0))
        if last in best and now < until:
            return last
        chosen = _share_out(best)
        self._callers[sticky] = chosen, now + self._sticky_seconds
        self._callers.move_to_end(sticky)
        if len(self._callers) > KNOWN_CALLERS:
            self._callers.popitem(last=False)
        return chosen


def _those_for(project: str, targets: Sequence[Target], model: Model) -> list[Target]:
    """Those that may answer the project, at least one. Raises GatewayError."""
    allowed = [
        target
        for target in targets
        if target.upstream.projects is None or project in target.upstream.projects
    ]
    if not allowed:
        raise GatewayError(MODEL_NOT_ON_ENDPOINT, {"model": model.id})
    return allowed


def _share_out(ready: Sequence[Target]) -> Target:
    """Whose turn it is: each gets its weight's share of turns, and less the more it has in flight."""
    total = 0.0
    for target in ready:
        upstream = target.upstream
        turn = upstream.weight / (len(upstream.keys) * (target.in_flight + 1))
        target.credit += turn
        total += turn
    chosen = max(ready, key=lambda target: target.credit)
    chosen.credit -= total
    return chosen


def _none_ready(targets: Sequence[Target], clock: Clock) -> GatewayError:
    """What a client is told when all rest: the least that it can do something about."""
    now = clock.monotonic()
    # The soonest first. One whose key is refused, or lacking, is none that a client could wait for.
    rests = sorted(
        (target.rest for target in targets if target.rest and target.key.available and not target.key.rest),
        key=lambda rest: rest.until,
    )
    if not rests:
        return GatewayError(UPSTREAM_FAILED)
    headers = (("Retry-After", str(max(math.ceil(rests[0].until - now), 1))),)
    fault = next((rest.fault for rest in rests if rest.cause is Cause.QUOTA), None)
    if fault is None:
        return GatewayError(replace(UPSTREAM_OVERLOADED, headers=headers))
    refusal = Refusal(
        429,
        fault.message or "upstream quota exceeded",
        "RESOURCE_EXHAUSTED",
        UPSTREAM_OVERLOADED.reason,
        headers,
    )
    return GatewayError(refusal, {"quotaId": fault.quota_id} if fault.quota_id else {})


def _nothing(target: Target, rest: Rest) -> None: ...
