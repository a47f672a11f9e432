"""Which upstream and which of its keys a request goes to: the first by priority that serves the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import cycle

from gateway.catalog import Model
from gateway.errors import MODEL_NOT_ON_ENDPOINT, GatewayError
from gateway.upstreams import Target, Upstream
from gateway.upstreams.target_state import TargetState

KNOWN_MODELS = 1000
"""For how many models the choice is remembered: where `catalog.allow` is set, clients choose the names."""


class Pool:
    """The upstreams of this gateway, in order of priority."""

    def __init__(self, upstreams: Iterable[Upstream]) -> None:
        self._targets: dict[str, Iterator[Target]] = {}
        """By model, its targets over and over."""
        self.replace(upstreams)

    def replace(self, upstreams: Iterable[Upstream]) -> None:
        """Choose among these from now on: those that stay are the same objects, perhaps with other keys."""
        self.upstreams = sorted(upstreams, key=lambda upstream: upstream.priority)
        self._targets.clear()

    def targets(self) -> list[TargetState]:
        """How each target is that was asked lately."""
        return []

    def choose(self, model: Model) -> Target:
        """Where a request for the model goes. Raises GatewayError where no upstream serves it."""
        targets = self._targets.get(model.id)
        if targets is None:
            targets = self._find(model)
            if len(self._targets) >= KNOWN_MODELS:
                self._targets.clear()
            self._targets[model.id] = targets
        return next(targets)

    def _find(self, model: Model) -> Iterator[Target]:
        upstream = next((upstream for upstream in self.upstreams if upstream.serves(model.id)), None)
        if upstream is None:
            raise GatewayError(MODEL_NOT_ON_ENDPOINT, {"model": model.id})
        name = model.upstream_name(upstream.kind.KIND)
        return cycle([Target(upstream, key, name) for key in upstream.keys])
