"""The operations on limits: of a project, a branch, a credential."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from gateway.admin.branches import BRANCH, CREDENTIAL, find_credential
from gateway.admin.operation import ACTOR, PROJECT, Call, Operation
from gateway.admin.schema import ChangeLimits, LimitsAnswer, NoQuery
from gateway.limits import Limits
from gateway.usage_record import NANOS

_PATHS = {"Project": PROJECT, "Branch": BRANCH, "Credential": CREDENTIAL}


def limits_answer(limits: Limits) -> LimitsAnswer:
    """The limits as JSON shows them: spend in dollars."""
    nanos = limits.spend_per_day_nanos
    return LimitsAnswer(
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        concurrent_requests=limits.concurrent_requests,
        tokens_per_day=limits.tokens_per_day,
        spend_per_day_usd=None if nanos is None else nanos / NANOS,
    )


async def _get(call: Call[NoQuery, None]) -> LimitsAnswer:
    return limits_answer(await call.store.limits(call.path["project"], **await _subject(call)))


async def _change(call: Call[NoQuery, ChangeLimits]) -> LimitsAnswer:
    project, subject = call.path["project"], await _subject(call)
    given = {name: value for name, value in msgspec.structs.asdict(call.body).items() if value is not UNSET}
    if "spend_per_day_usd" in given:
        given["spend_per_day_nanos"] = _nanos(given.pop("spend_per_day_usd"))
    async with call.changing:
        limits = msgspec.structs.replace(await call.store.limits(project, **subject), **given)
        await call.store.set_limits(project, limits, **subject, actor=ACTOR)
    return limits_answer(limits)


async def _subject(call: Call[Any, Any]) -> dict[str, str]:
    """Whose limits the path names, beside the project, in the store's words. Raises StoreNotFound."""
    if "credential" in call.path:
        return {"credential": (await find_credential(call)).id}
    return {"branch": call.path["branch"]} if "branch" in call.path else {}


def _nanos(dollars: float | None) -> int | None:
    """The nearest, but never none where there was something: that would be no limit."""
    return None if dollars is None else max(round(dollars * NANOS), int(dollars > 0))


OPERATIONS = tuple(
    operation
    for level, path in _PATHS.items()
    for operation in (
        Operation(
            id=f"get{level}Limits",
            summary=f"Show the limits of a {level.lower()}",
            method="GET",
            path=f"{path}/limits",
            run=_get,
            answer=LimitsAnswer,
        ),
        Operation(
            id=f"change{level}Limits",
            summary=f"Change limits of a {level.lower()}",
            method="PATCH",
            path=f"{path}/limits",
            run=_change,
            body=ChangeLimits,
            answer=LimitsAnswer,
        ),
    )
)
