"""What was used, and the audit trail, over the admin API."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from gateway.admin.usage import moment
from gateway.usage_record import UsageRecord, UsageSource
from tests.admin.rig import BRANCHES, CREDENTIALS, AdminClient

USAGE = "/api/v2/projects/default/usage"
AUDIT = "/api/v2/projects/default/audit"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()
DAY = 86400


@dataclass
class Used:
    """A project with two branches, and a credential on each."""

    admin: AdminClient
    main: str
    child: str
    on_main: str
    on_child: str

    async def add(self, request_id: str, *, branch: str, credential: str, **fields: object) -> None:
        """Put a record of one attempt into the ledger."""
        (project, *_) = await self.admin.store.projects()
        values = {
            "time": NOON,
            "model": "gemini-3-pro",
            "upstream": "studio",
            "action": "generateContent",
            "ending": "complete",
            "usage_source": UsageSource.REPORTED,
        } | fields
        record = UsageRecord(
            request_id=request_id,
            project=project.id,
            branch=branch,
            credential=credential,
            **values,  # type: ignore[arg-type]
        )
        assert await self.admin.store.add_usage([record]) == 1


@pytest.fixture
async def used(admin: AdminClient) -> Used:
    reply = await admin.ask("POST", BRANCHES, {"branch": {"name": "child"}})
    child = reply.json["branch"]["id"]
    on_main = await admin.credential(name="Ann's laptop")
    reply = await admin.ask(
        "POST", f"{BRANCHES}/child/credentials", {"scopes": ["ai_gateway:invoke"], "principal_type": "user"}
    )
    used = Used(admin, on_main["branch_id"], child, on_main["id"], reply.json["id"])
    counts = {
        "prompt_tokens": 100,
        "cached_tokens": 40,
        "candidates_tokens": 20,
        "thoughts_tokens": 5,
        "total_tokens": 125,
        "cost_nanos": 1_500_000_001,
    }
    await used.add("r1", branch=used.main, credential=used.on_main, **counts)
    await used.add(
        "r2",
        branch=used.main,
        credential=used.on_main,
        time=NOON + DAY,
        unpriced=("model",),
        **counts | {"cost_nanos": None},
    )
    await used.add(
        "r3",
        branch=used.child,
        credential=used.on_child,
        model="gemini-3-flash",
        upstream="neon",
        usage_source=UsageSource.UNKNOWN,
        ending="upstream_broke",
    )
    return used


KNOWN = {
    "requests": 1,
    "attempts": 1,
    "input_tokens": 100,
    "output_tokens": 25,
    "cached_tokens": 40,
    "total_tokens": 125,
    "cost_usd": 1.500000001,
    "unknown_usage": 0,
    "unpriced": 0,
}
UNPRICED = KNOWN | {"cost_usd": None, "unpriced": 1}
UNKNOWN = dict.fromkeys(KNOWN, 0) | {"requests": 1, "attempts": 1, "cost_usd": None, "unknown_usage": 1}
BOTH = {key: KNOWN[key] + (UNPRICED[key] or 0) for key in KNOWN}
ALL = f"{USAGE}?since=2026-11-01&until=2026-11-03"


async def test_the_groups_are_named_and_summed_up(used: Used) -> None:
    wanted = {
        "branch": [
            {"branch": "main", "branch_id": used.main} | BOTH,
            {"branch": "child", "branch_id": used.child} | UNKNOWN,
        ],
        "credential": [
            {"credential": used.on_main, "credential_name": "Ann's laptop"} | BOTH,
            {"credential": used.on_child, "credential_name": ""} | UNKNOWN,
        ],
        "model": [{"model": "gemini-3-flash"} | UNKNOWN, {"model": "gemini-3-pro"} | BOTH],
        "upstream": [{"upstream": "neon"} | UNKNOWN, {"upstream": "studio"} | BOTH],
        "day": [
            {"day": "2026-11-01"} | {key: KNOWN[key] + (UNKNOWN[key] or 0) for key in KNOWN},
            {"day": "2026-11-02"} | UNPRICED,
        ],
    }
    for by, groups in wanted.items():
        found = await used.admin.get(f"{ALL}&by={by}")
        assert found.keys() == {"usage"}
        assert sorted(found["usage"], key=str) == sorted(groups, key=str)
    assert (await used.admin.get(ALL))["usage"] == wanted["day"]


async def test_the_end_is_not_included(used: Used) -> None:
    for query, days in (
        ("since=2026-11-01&until=2026-11-02", ["2026-11-01"]),
        ("since=2026-11-02&until=2026-11-03T00:00:00Z", ["2026-11-02"]),
        ("since=2026-11-01T12:00:00Z&until=2026-11-02T12:00:00Z", ["2026-11-01"]),
        ("since=2026-11-01T12:00:00Z&until=2026-11-02T12:00:01Z", ["2026-11-01", "2026-11-02"]),
        ("since=2026-11-02&until=2026-11-01", []),
    ):
        found = (await used.admin.get(f"{USAGE}?{query}"))["usage"]
        assert [group["day"] for group in found] == days


async def test_the_last_seven_days_unless_asked_otherwise(admin: AdminClient, used: Used) -> None:
    now = time.time()
    for number, days in enumerate((0.001, 6.9, 7.1)):
        await used.add(
            f"n{number}", branch=used.main, credential=used.on_main, time=now - days * DAY, model=f"m{number}"
        )
    models = [group["model"] for group in (await admin.get(f"{USAGE}?by=model"))["usage"]]
    assert models == ["m0", "m1"]
    models = [group["model"] for group in (await admin.get(f"{USAGE}?by=model&since=1d"))["usage"]]
    assert models == ["m0"]


async def test_a_deleted_branch_is_told_by_its_id(used: Used) -> None:
    assert (await used.admin.ask("DELETE", f"{BRANCHES}/child")).status == 200
    found = (await used.admin.get(f"{ALL}&by=branch"))["usage"]
    assert {(group["branch"], group["branch_id"]) for group in found} == {
        ("main", used.main),
        (None, used.child),
    }


def test_moments() -> None:
    now = NOON
    for text, ago in (("1s", 1), ("90m", 5400), ("12h", 43200), ("7d", 7 * DAY), ("2w", 14 * DAY)):
        assert moment(text, now) == now - ago
    for text in (
        "2026-11-01T12:00:00Z",
        "2026-11-01t13:00:00+01:00",
        "2026-11-01 12:00",
        "2026-11-01T12:00:00.000000Z",
    ):
        assert moment(text, 0) == NOON
    assert moment("2026-11-01", 0) == NOON - DAY / 2
    assert (
        moment("9999999999w", now)
        == moment("0001-01-01", now)
        == moment("0001-01-01T00:00:00+14:00", now)
        == 0
    )
    for text in ("9999-12-31", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-14:00"):
        assert datetime.fromtimestamp(moment(text, now), UTC) == datetime(9999, 12, 31, tzinfo=UTC)


async def test_every_change_is_in_the_audit_trail(admin: AdminClient) -> None:
    assert (await admin.get(AUDIT))["audit"] == []
    child = (await admin.ask("POST", BRANCHES, {"branch": {"name": "child"}})).json["branch"]
    credential = await admin.credential(name="Ann's laptop")
    await admin.ask("PATCH", "/api/v2/projects/default/limits", {"tokens_per_day": 7})
    await admin.ask("PATCH", f"{BRANCHES}/child/limits", {"tokens_per_day": 7})
    await admin.ask("PATCH", f"{CREDENTIALS}/{credential['id']}/limits", {"tokens_per_day": 7})
    await admin.ask("DELETE", f"{CREDENTIALS}/{credential['id']}?now=true")
    await admin.ask("DELETE", f"{BRANCHES}/child")
    reply = await admin.ask("GET", AUDIT)
    entries = reply.json["audit"]
    project = child["project_id"]
    assert [(entry["action"], entry["subject"]) for entry in reversed(entries)] == [
        ("branch.create", child["id"]),
        ("credential.create", credential["id"]),
        ("limits.set", project),
        ("limits.set", child["id"]),
        ("limits.set", credential["id"]),
        ("credential.revoke", credential["id"]),
        ("branch.delete", child["id"]),
    ]
    for entry in entries:
        assert (entry["actor"], entry["project_id"]) == ("admin", project)
        assert abs(datetime.fromisoformat(entry["time"]).timestamp() - time.time()) < 60
    assert credential["api_token"][25:].encode() not in reply.body
    numbers = [entry["number"] for entry in entries]
    assert numbers == sorted(numbers, reverse=True)
    assert (await admin.get(f"{AUDIT}?limit=2"))["audit"] == entries[:2]
    assert (await admin.get(f"{AUDIT}?limit=2&before={numbers[1]}"))["audit"] == entries[2:4]
    await admin.ask("GET", ALL)
    await admin.ask("POST", BRANCHES, {"branch": {"name": "main"}})
    assert (await admin.get(AUDIT))["audit"] == entries
