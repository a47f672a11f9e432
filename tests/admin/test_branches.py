"""Branches and credentials over the admin API, in the public API's words."""

from __future__ import annotations

import re
import time
from datetime import datetime

import pytest

from gateway import tokens
from gateway.stores import MAIN_BRANCH
from tests.admin.rig import BRANCHES, CREDENTIALS, AdminClient

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
WANTED = {"scopes": ["ai_gateway:invoke"], "principal_type": "user", "name": "Ann's laptop"}


async def made(admin: AdminClient, **branch: object) -> dict[str, str]:
    reply = await admin.ask("POST", BRANCHES, {"branch": branch})
    assert reply.status == 201, reply
    assert reply.json.keys() == {"branch"}
    found: dict[str, str] = reply.json["branch"]
    return found


async def test_branches_are_made_listed_and_deleted(admin: AdminClient) -> None:
    (main,) = (await admin.get(BRANCHES))["branches"]
    assert (main["name"], main["parent_id"]) == (MAIN_BRANCH, None)
    child = await made(admin, name="preview/x")
    assert child["parent_id"] == main["id"]
    grandchild = await made(admin, name="preview/x/y", parent_id=child["id"])
    by_name = await made(admin, name="z", parent_id="preview/x/y")
    assert by_name["parent_id"] == grandchild["id"]
    root = await made(admin, name="staging", parent_id=None)
    assert root["parent_id"] is None
    assert root["host_label"] == root["id"] + "-api"
    assert root["project_id"] == main["project_id"]
    assert TIME.fullmatch(root["created_at"])
    assert abs(datetime.fromisoformat(root["created_at"]).timestamp() - time.time()) < 60
    assert (await admin.get(BRANCHES))["branches"] == [main, child, grandchild, by_name, root]
    reply = await admin.ask("DELETE", f"{BRANCHES}/preview%2Fx")
    assert reply.refusal == (409, "CONFLICT")
    assert "has children" in reply.json["message"]
    assert (await admin.ask("DELETE", f"{BRANCHES}/z")).json == {"branch": by_name}
    reply = await admin.ask("DELETE", f"{BRANCHES}/preview%2Fx%2Fy")
    assert (reply.status, reply.json) == (200, {"branch": grandchild})
    assert (await admin.ask("DELETE", f"{BRANCHES}/{child['id']}")).status == 200
    assert (await admin.get(BRANCHES))["branches"] == [main, root]
    assert (await admin.ask("DELETE", f"{BRANCHES}/{child['id']}")).refusal == (404, "NOT_FOUND")


async def test_a_projects_own_branches_alone(admin: AdminClient) -> None:
    other = await admin.store.create_project("other")
    reply = await admin.ask("POST", f"/api/v2/projects/{other.id}/branches", {"branch": {"name": "there"}})
    there = reply.json["branch"]
    names = [one["name"] for one in (await admin.get("/api/v2/projects/other/branches"))["branches"]]
    assert names == ["main", "there"]
    assert [one["name"] for one in (await admin.get(BRANCHES))["branches"]] == ["main"]
    before = admin.content()
    for method, path, body in (
        ("DELETE", f"{BRANCHES}/{there['id']}", None),
        ("POST", BRANCHES, {"branch": {"name": "x", "parent_id": there["id"]}}),
        ("POST", f"{BRANCHES}/{there['id']}/credentials", WANTED),
        ("GET", f"{BRANCHES}/{there['id']}/credentials", None),
        ("GET", f"{BRANCHES}/{there['id']}/limits", None),
        ("PATCH", f"{BRANCHES}/{there['id']}/limits", {"tokens_per_day": 1}),
    ):
        assert (await admin.ask(method, path, body)).refusal == (404, "NOT_FOUND")
    assert admin.content() == before


async def test_a_credential_is_made_with_its_token_this_once(admin: AdminClient) -> None:
    reply = await admin.ask("POST", CREDENTIALS, WANTED | {"expires_in_seconds": 3600})
    assert reply.status == 201
    credential = reply.json
    token = credential.pop("api_token")
    kept = await admin.store.credential(tokens.token_id(token))
    assert kept is not None
    assert kept.token_hash == tokens.hash_token(token)
    assert credential["id"] == credential["token_id"] == tokens.token_id(token)
    assert (credential["name"], credential["principal_type"]) == ("Ann's laptop", "user")
    assert credential["scopes"] == ["ai_gateway:invoke"]
    assert credential["revoked_at"] is None
    created, expires = (datetime.fromisoformat(credential[key]) for key in ("created_at", "expires_at"))
    assert (expires - created).total_seconds() == 3600
    plain = await admin.credential(principal_type="service")
    assert (plain["name"], plain["expires_at"], plain["principal_type"]) == ("", None, "service")
    listed = await admin.ask("GET", CREDENTIALS)
    assert listed.json == {"credentials": [credential, {k: v for k, v in plain.items() if k != "api_token"}]}
    assert token[25:].encode() not in listed.body
    assert token[25:].encode() not in admin.store_path.read_bytes()


async def test_a_branch_lists_the_credentials_anchored_to_it(admin: AdminClient) -> None:
    child = await made(admin, name="child")
    on_main = await admin.credential()
    reply = await admin.ask("POST", f"{BRANCHES}/child/credentials", WANTED)
    ids = {}
    for branch in ("main", child["id"]):
        listed = await admin.get(f"{BRANCHES}/{branch}/credentials")
        ids[branch] = [one["id"] for one in listed["credentials"]]
    assert ids == {"main": [on_main["id"]], child["id"]: [reply.json["id"]]}


@pytest.mark.parametrize(("query", "cut"), [("", False), ("?now=false", False), ("?now=true", True)])
async def test_a_credential_is_revoked_on_its_branch(admin: AdminClient, query: str, cut: bool) -> None:
    await made(admin, name="child")
    credential = await admin.credential()
    before = admin.content()
    assert (await admin.ask("DELETE", f"{BRANCHES}/child/credentials/{credential['id']}")).refusal[0] == 404
    assert admin.content() == before
    asked = time.time()
    reply = await admin.ask("DELETE", f"{CREDENTIALS}/{credential['id']}{query}")
    assert (reply.status, reply.body) == (204, b"")
    (listed,) = (await admin.get(CREDENTIALS))["credentials"]
    assert TIME.fullmatch(listed["revoked_at"])
    assert await admin.store.cut_since(asked - 1) == ([credential["id"]] if cut else [])
    assert (await admin.ask("DELETE", f"{CREDENTIALS}/{credential['id']}{query}")).status == 204
    assert (await admin.get(CREDENTIALS))["credentials"] == [listed]
