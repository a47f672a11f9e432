"""The operation that shows the targets: which of them are asked, and why others are not."""

from __future__ import annotations

from gateway.admin import schema
from gateway.admin.operation import Call, Operation
from gateway.admin.schema import NoQuery
from gateway.upstreams.target_state import TargetState


def target_answer(state: TargetState) -> schema.Target:
    """The state as JSON shows it: times as times, null for what there is none of."""
    return schema.Target(
        upstream=state.upstream,
        kind=state.kind,
        key=state.key,
        model=state.model,
        priority=state.priority,
        weight=state.weight,
        state=state.state,
        cause=state.cause or None,
        until=None if state.until is None else schema.at(state.until),
        in_flight=state.in_flight,
        requests=state.requests,
        error_share=state.error_share,
        first_byte_p50_seconds=state.first_byte_p50,
        first_byte_p95_seconds=state.first_byte_p95,
    )


async def _show(call: Call[NoQuery, None]) -> schema.TargetsAnswer:
    return schema.TargetsAnswer(targets=[target_answer(state) for state in call.targets()])


OPERATIONS = (
    Operation(
        id="listTargets",
        summary="Show how the upstreams are",
        method="GET",
        path="/api/v2/upstreams",
        run=_show,
        answer=schema.TargetsAnswer,
    ),
)
