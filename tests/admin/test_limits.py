"""Limits over the admin API: those given change, the others stay."""

from __future__ import annotations

import asyncio

import pytest

from gateway.limits import MOST, Limits
from tests.admin.rig import BRANCHES, CREDENTIALS, AdminClient

PROJECT = "/api/v2/projects/default"
UNSET = {
    "requests_per_minute": None,
    "tokens_per_minute": None,
    "concurrent_requests": None,
    "tokens_per_day": None,
    "spend_per_day_usd": None,
}


async def test_each_level_has_its_own(admin: AdminClient) -> None:
    credential = (await admin.credential())["id"]
    subjects: dict[str, dict[str, str]] = {
        PROJECT: {},
        f"{BRANCHES}/main": {"branch": "main"},
        f"{CREDENTIALS}/{credential}": {"credential": credential},
    }
    for path in subjects:
        assert await admin.get(f"{path}/limits") == UNSET
    for number, path in enumerate(subjects, 1):
        reply = await admin.ask("PATCH", f"{path}/limits", {"requests_per_minute": number})
        assert (reply.status, reply.json) == (200, UNSET | {"requests_per_minute": number})
    for number, (path, subject) in enumerate(subjects.items(), 1):
        assert await admin.get(f"{path}/limits") == UNSET | {"requests_per_minute": number}
        assert await admin.store.limits("default", **subject) == Limits(requests_per_minute=number)
    branch_id = (await admin.get(BRANCHES))["branches"][0]["id"]
    assert (await admin.get(f"{BRANCHES}/{branch_id}/limits"))["requests_per_minute"] == 2


async def test_what_is_left_out_stays_and_null_takes_away(admin: AdminClient) -> None:
    path = f"{PROJECT}/limits"
    every = dict(zip(UNSET, (1, 2, 3, 4, 5.5), strict=True))
    assert (await admin.ask("PATCH", path, every)).json == every
    assert (await admin.ask("PATCH", path, {})).json == every
    assert (await admin.ask("PATCH", path, {"tokens_per_minute": 0})).json == every | {"tokens_per_minute": 0}
    reply = await admin.ask("PATCH", path, {"spend_per_day_usd": None, "requests_per_minute": None})
    left = every | {"tokens_per_minute": 0, "spend_per_day_usd": None, "requests_per_minute": None}
    assert reply.json == await admin.get(path) == left
    assert (await admin.ask("PATCH", path, UNSET)).json == UNSET
    assert await admin.store.limits("default") == Limits()


@pytest.mark.parametrize(
    ("dollars", "nanos"),
    [
        (0, 0),
        (0.1, 100_000_000),
        (0.07, 70_000_000),
        (12.5, 12_500_000_000),
        (1e-9, 1),
        (999_999.999_999_999, 999_999_999_999_999),
        (1_000_000, MOST),
        # Never rounded to 0, which would be no limit at all.
        (1e-10, 1),
        (5e-324, 1),
    ],
)
async def test_spend_is_in_dollars_and_kept_to_the_billionth(
    admin: AdminClient, dollars: float, nanos: int
) -> None:
    reply = await admin.ask("PATCH", f"{PROJECT}/limits", {"spend_per_day_usd": dollars})
    assert (await admin.store.limits("default")).spend_per_day_nanos == nanos
    assert reply.json["spend_per_day_usd"] == nanos / 1_000_000_000


async def test_changes_at_once_are_all_kept(admin: AdminClient) -> None:
    path = f"{PROJECT}/limits"
    wanted = dict(zip(UNSET, (1, 2, 3, 4, 5.5), strict=True))
    await asyncio.gather(*(admin.ask("PATCH", path, {name: value}) for name, value in wanted.items()))
    assert await admin.get(path) == wanted
