"""What several processes see of their targets, as one view."""

from __future__ import annotations

from dataclasses import replace

from gateway.upstreams.target_state import State, TargetState, merge

READY = TargetState(
    upstream="studio",
    kind="ai-studio",
    key="1",
    model="gemini-2-5-flash",
    priority=1,
    weight=1,
    state=State.READY,
    cause="",
    until=None,
    in_flight=2,
    requests=10,
    error_share=0.1,
    first_byte_p50=0.5,
    first_byte_p95=2.0,
)


def test_counts_add_up_and_the_busiest_tells_the_times() -> None:
    busy = replace(READY, in_flight=3, requests=30, error_share=0.5, first_byte_p50=0.7, first_byte_p95=3.0)
    [both] = merge([[READY], [busy]])
    assert both == replace(busy, in_flight=5, requests=40, error_share=0.4)
    assert merge([[busy], [READY]]) == [both]


def test_the_worst_state_counts_with_the_latest_end() -> None:
    soon = replace(READY, state=State.COOLING, cause="quota", until=100.0)
    late = replace(READY, state=State.COOLING, cause="overload", until=200.0)
    out = replace(READY, state=State.OUT, cause="key", until=150.0)
    [cooling] = merge([[late], [READY], [soon]])
    assert (cooling.state, cooling.cause, cooling.until) == (State.COOLING, "overload", 200.0)
    [worst] = merge([[out], [late]])
    assert (worst.state, worst.cause, worst.until) == (State.OUT, "key", 150.0)


def test_each_target_is_there_once_in_order() -> None:
    places = [("b", "1", "x"), ("a", "2", "x"), ("a", "1", "y"), ("a", "1", "x")]
    view = [replace(READY, upstream=upstream, key=key, model=model) for upstream, key, model in places]
    merged = merge([view, view[:2]])
    assert [(one.upstream, one.key, one.model) for one in merged] == sorted(places)
    assert [one.requests for one in merged] == [10, 10, 20, 20]


def test_nothing_is_nothing() -> None:
    idle = replace(READY, requests=0, error_share=0.0, first_byte_p50=None, first_byte_p95=None)
    assert merge([]) == []
    assert merge([[idle], [idle]]) == [replace(idle, in_flight=4)]
