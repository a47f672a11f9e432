"""The metrics of targets, read back with Prometheus's own parser."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.target_figures import TargetFigures
from gateway.upstreams.target_state import State, TargetState
from tests.test_target_state import READY

Labels = tuple[str, str, str]


def samples(*targets: TargetState) -> dict[tuple[str, Labels], float]:
    """By name and upstream, key and model."""
    figures = TargetFigures(lambda: targets, {"gemini-2-5-flash"})
    figures.look()
    registry = CollectorRegistry()
    registry.register(figures)
    return {
        (sample.name, (sample.labels["upstream"], sample.labels["key"], sample.labels["model"])): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def test_each_target_has_its_state_as_a_number() -> None:
    states = [State.READY, State.TRIAL, State.COOLING, State.OUT, State.UNAVAILABLE]
    found = samples(*(replace(READY, key=str(number), state=state) for number, state in enumerate(states)))
    for number in range(5):
        place = ("studio", str(number), "gemini-2-5-flash")
        assert found["gateway_upstream_target_state", place] == number
        assert found["gateway_upstream_target_in_flight", place] == 2
    assert len(found) == 10


def test_names_that_clients_choose_make_no_series() -> None:
    found = samples(
        READY,
        *(replace(READY, model=f"mine-{number}") for number in range(100)),
        replace(READY, model="yours", state=State.COOLING),
    )
    other = ("studio", "1", "other")
    assert found.keys() == {
        (f"gateway_upstream_target_{name}", place)
        for name in ("state", "in_flight")
        for place in (other, ("studio", "1", "gemini-2-5-flash"))
    }
    assert found["gateway_upstream_target_in_flight", other] == 202
    assert found["gateway_upstream_target_state", other] == 2
