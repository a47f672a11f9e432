"""How each target is, in Prometheus's words."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.metrics import OTHER
from gateway.upstreams.target_state import State, TargetState, merge

_NUMBERS = {state: number for number, state in enumerate(State)}
_LABELS = ("upstream", "key", "model")


class TargetFigures(Collector):
    """Shows the states that `targets` gave when it was last looked: targets change on the event loop.

    A model that is not among `models` is shown as `other`, with all like it: clients may choose such names.
    """

    def __init__(self, targets: Callable[[], Sequence[TargetState]], models: Container[str]) -> None:
        self._targets = targets
        self._models = models
        self._seen: Sequence[TargetState] = ()

    def look(self) -> None:
        """See how they are now. On the event loop, before what was seen is rendered elsewhere."""
        self._seen = self._targets()

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        state = GaugeMetricFamily(
            "gateway_upstream_target_state",
            "0 ready, 1 on trial, 2 cooling down, 3 key refused, 4 without a key.",
            labels=_LABELS,
        )
        in_flight = GaugeMetricFamily(
            "gateway_upstream_target_in_flight", "Requests sent and not answered whole.", labels=_LABELS
        )
        known = [one if one.model in self._models else replace(one, model=OTHER) for one in self._seen]
        for one in merge([one] for one in known):
            place = (one.upstream, one.key, one.model)
            state.add_metric(place, _NUMBERS[one.state])
            in_flight.add_metric(place, one.in_flight)
        yield state
        yield in_flight
