"""What the admin API refuses: a reason, 4xx, and nothing changed."""

from __future__ import annotations

import gzip
import json

import pytest

from gateway.admin.operation import BODY_BYTES
from tests.admin.rig import BRANCHES, CREDENTIALS, AdminClient

LIMITS = "/api/v2/projects/default/limits"
USAGE = "/api/v2/projects/default/usage"
AUDIT = "/api/v2/projects/default/audit"
GOOD_CREDENTIAL = {"scopes": ["ai_gateway:invoke"], "principal_type": "user"}
SQL = "'; DROP TABLE branches; --"
BAD_NAMES = {
    "empty": "",
    "of 10 kB": "x" * 10_000,
    "of 129 characters": "x" * 129,
    "SQL": SQL,
    "a line end": "a\n",
    "a control character": "a\x00b",
    "an escape sequence": "a\x1b[31m",
    "half a surrogate pair": "a\udcff",
    "not ASCII": "\u00e9t\u00e9",
    "a number": 7,
    "true": True,
    "null": None,
    "a list": ["x"],
    "an object": {"a": 1},
    "the form of an id": "br-winter-pond-a1b2c3d4",
}
BAD_AMOUNTS = {
    "negative": -1,
    "huge": 10**15 + 1,
    "beyond 64 bits": 2**64,
    "of 4,000 digits": 10**3999,
    "infinite": float("inf"),
    "not a number": float("nan"),
    "text": "1",
    "true": True,
    "a list": [1],
}
BAD_BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "not UTF-8": b'{"branch": {"name": "\xff"}}',
    "a list": b"[]",
    "null": b"null",
    "deeply nested": b"[" * 60_000,
    "deeply nested in a field": b'{"branch": ' * 5_000,
    "two documents": b'{"branch": {"name": "x"}} {}',
    "an unknown field": b'{"branch": {"name": "x"}, "endpoints": []}',
    "an unknown field within": b'{"branch": {"name": "x", "protected": true}}',
    "an unknown field of 10 kB": b'{"' + b"k" * 10_000 + b'": 1}',
    "no name": b'{"branch": {}}',
    "no branch": b"{}",
}


async def refused(
    admin: AdminClient, method: str, path: str, body: object = None, *, status: int = 400, **headers: str
) -> str:
    """The reason, when it was refused with that status and nothing has changed."""
    before = admin.content()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = await admin.ask(method, path, body, headers=sent)
    assert reply.refusal[0] == status, reply
    assert admin.content() == before
    message: str = reply.json["message"]
    return message


@pytest.mark.parametrize("bad", BAD_NAMES)
async def test_bad_names(admin: AdminClient, bad: str) -> None:
    name = BAD_NAMES[bad]
    await refused(admin, "POST", BRANCHES, {"branch": {"name": name}})
    if name is not None:
        parent = {"name": "x", "parent_id": name}
        status = 404 if bad in ("the form of an id", "a line end") else 400
        await refused(admin, "POST", BRANCHES, {"branch": parent}, status=status)


@pytest.mark.parametrize(
    "name", ["x" * 129, "x" * 10_000, "a\nb", "a\x00", "a\x1b[0m", "a\u202e", "\ue000", 7]
)
async def test_bad_names_of_credentials(admin: AdminClient, name: object) -> None:
    await refused(admin, "POST", CREDENTIALS, GOOD_CREDENTIAL | {"name": name})


@pytest.mark.parametrize(
    "name", ["", "x" * 128, SQL, "\u00e9t\u00e9", "<script>alert(1)</script>", "\U0001f600"]
)
async def test_a_credentials_name_is_any_text_that_can_be_printed(admin: AdminClient, name: str) -> None:
    await admin.credential(name=name)
    assert [one["name"] for one in (await admin.get(CREDENTIALS))["credentials"]] == [name]


@pytest.mark.parametrize(
    "changed",
    [
        {"scopes": []},
        {"scopes": ["A B"]},
        {"scopes": [""]},
        {"scopes": ["x" * 129]},
        {"scopes": ["ai_gateway:invoke\n"]},
        {"scopes": [f"s{number}" for number in range(33)]},
        {"scopes": "ai_gateway:invoke"},
        {"scopes": [7]},
        {"scopes": None},
        {"principal_type": "root"},
        {"principal_type": None},
        {"expires_in_seconds": 0},
        {"expires_in_seconds": -1},
        {"expires_in_seconds": 10**12},
        {"expires_in_seconds": 1.5},
        {"expires_in_seconds": "30d"},
        {"api_token": "nt_live_mine"},
        {"id": "a" * 16},
    ],
)
async def test_bad_credentials(admin: AdminClient, changed: dict[str, object]) -> None:
    await refused(admin, "POST", CREDENTIALS, GOOD_CREDENTIAL | changed)


@pytest.mark.parametrize("left_out", GOOD_CREDENTIAL)
async def test_a_credential_needs_scopes_and_a_type(admin: AdminClient, left_out: str) -> None:
    wanted = {name: value for name, value in GOOD_CREDENTIAL.items() if name != left_out}
    assert left_out in await refused(admin, "POST", CREDENTIALS, wanted)


@pytest.mark.parametrize("bad", BAD_AMOUNTS)
@pytest.mark.parametrize(
    "limit",
    [
        "requests_per_minute",
        "tokens_per_minute",
        "concurrent_requests",
        "tokens_per_day",
        "spend_per_day_usd",
    ],
)
async def test_bad_limits(admin: AdminClient, limit: str, bad: str) -> None:
    await admin.ask("PATCH", LIMITS, {limit: 5})
    await refused(admin, "PATCH", LIMITS, {limit: BAD_AMOUNTS[bad]})


@pytest.mark.parametrize(
    "change", [{"spend_per_day_nanos": 1}, {"tokens_per_hour": 1}, {"tokens_per_day": 1.5}]
)
async def test_limits_that_there_are_not(admin: AdminClient, change: dict[str, object]) -> None:
    await refused(admin, "PATCH", LIMITS, change)


@pytest.mark.parametrize("bad", BAD_BODIES)
async def test_bad_bodies(admin: AdminClient, bad: str) -> None:
    await refused(admin, "POST", BRANCHES, BAD_BODIES[bad])


async def test_a_body_is_at_most_64_kib(admin: AdminClient) -> None:
    body = json.dumps({"branch": {"name": "x"}}).encode()
    reply = await admin.ask("POST", BRANCHES, body.ljust(BODY_BYTES))
    assert reply.status == 201
    body = json.dumps({"branch": {"name": "y"}}).encode()
    assert "65536" in await refused(admin, "POST", BRANCHES, body.ljust(BODY_BYTES + 1), status=413)


async def test_a_body_that_is_not_what_it_says(admin: AdminClient) -> None:
    body = b'{"branch": {"name": "x"}}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/octet-stream"):
        await refused(admin, "POST", BRANCHES, body, status=415, Content_Type=kind)
    for content in (body, gzip.compress(body)):
        await refused(admin, "POST", BRANCHES, content, status=415, Content_Encoding="gzip")
    utf8 = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (await admin.ask("POST", BRANCHES, body, headers=utf8)).status == 201


@pytest.mark.parametrize(
    "query",
    [
        f"{USAGE}?by=project",
        f"{USAGE}?by=",
        f"{USAGE}?by=day&by=model",
        f"{USAGE}?since=yesterday",
        f"{USAGE}?since=",
        f"{USAGE}?since=0d",
        f"{USAGE}?since=-1d",
        f"{USAGE}?since=7",
        f"{USAGE}?since=%D9%A3d",
        f"{USAGE}?since=2026-13-01",
        f"{USAGE}?since=2026-02-30",
        f"{USAGE}?since=2026-11-01T25:00:00Z",
        f"{USAGE}?until=now",
        f"{USAGE}?since={'9' * 3000}s",
        f"{USAGE}?until=%00",
        f"{USAGE}?unknown=1",
        f"{USAGE}?by=day%27%20OR%201=1--",
        f"{AUDIT}?limit=0",
        f"{AUDIT}?limit=1001",
        f"{AUDIT}?limit=-1",
        f"{AUDIT}?limit=1.5",
        f"{AUDIT}?limit=all",
        f"{AUDIT}?before=0",
        f"{AUDIT}?before={2**63}",
        f"{AUDIT}?before={'9' * 3000}",
        f"{BRANCHES}?limit=1",
    ],
)
async def test_bad_queries(admin: AdminClient, query: str) -> None:
    await refused(admin, "GET", query)


@pytest.mark.parametrize("query", ["?now=yes", "?now=", "?now=2", "?force=true", "?now=true&now=false"])
async def test_bad_queries_revoke_nothing(admin: AdminClient, query: str) -> None:
    credential = await admin.credential()
    await refused(admin, "DELETE", f"{CREDENTIALS}/{credential['id']}{query}")


NOWHERE = {
    "nobody": "nope",
    "SQL": "'%20OR%201=1--",
    "a control character": "%00",
    "a line end": "main%0A",
    "not UTF-8": "%ff",
    "half a surrogate pair": "%ed%a0%80",
    "10 kB": "x" * 7_000,
    "a slash": "a%2Fb",
    "dots": "..%2F..",
    "braces": "%7Bproject%7D",
    "an id of nobody": "br-winter-pond-a1b2c3d4",
}


@pytest.mark.parametrize("nowhere", NOWHERE)
async def test_what_is_not_there(admin: AdminClient, nowhere: str) -> None:
    credential = await admin.credential()
    name = NOWHERE[nowhere]
    for project, branch, public_id in (
        (name, "main", credential["id"]),
        ("default", name, credential["id"]),
        ("default", "main", name),
    ):
        at_branch = f"/api/v2/projects/{project}/branches/{branch}"
        at_credential = f"{at_branch}/credentials/{public_id}"
        asked: list[tuple[str, str, object]] = [
            ("DELETE", at_credential, None),
            ("GET", f"{at_credential}/limits", None),
            ("PATCH", f"{at_credential}/limits", {"tokens_per_day": 1}),
        ]
        if public_id != name:
            asked += [
                ("DELETE", at_branch, None),
                ("GET", f"{at_branch}/credentials", None),
                ("POST", f"{at_branch}/credentials", GOOD_CREDENTIAL),
                ("GET", f"{at_branch}/limits", None),
                ("PATCH", f"{at_branch}/limits", {"tokens_per_day": 1}),
            ]
        if project == name:
            asked += [
                ("GET", f"/api/v2/projects/{project}/branches", None),
                ("POST", f"/api/v2/projects/{project}/branches", {"branch": {"name": "x"}}),
                ("GET", f"/api/v2/projects/{project}/limits", None),
                ("PATCH", f"/api/v2/projects/{project}/limits", {"tokens_per_day": 1}),
                ("GET", f"/api/v2/projects/{project}/usage", None),
                ("GET", f"/api/v2/projects/{project}/audit", None),
            ]
        for method, path, body in asked:
            await refused(admin, method, path, body, status=404)


async def test_a_token_in_a_path_is_not_told_again(admin: AdminClient) -> None:
    token = (await admin.credential())["api_token"]
    assert token[25:] not in await refused(admin, "DELETE", f"{CREDENTIALS}/{token}", status=404)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "OPTIONS"])
async def test_other_methods(admin: AdminClient, method: str) -> None:
    reply = await admin.ask(method, BRANCHES)
    assert reply.refusal == (405, "METHOD_NOT_ALLOWED")
    assert sorted(reply.headers["Allow"].split(",")) == ["GET", "HEAD", "POST"]
