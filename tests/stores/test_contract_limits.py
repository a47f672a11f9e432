"""What every store does with limits, and with the trail of who changed what."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway import tokens
from gateway.errors import StoreNotFound
from gateway.limits import MOST, Level, Limits
from gateway.stores import AuditEntry, PrincipalType, Store, StoreError
from tests.support.identity import issue

SOME = Limits(requests_per_minute=60, tokens_per_day=0, spend_per_day_nanos=MOST)


async def test_limits_are_set_and_read_for_each_level(store: Store) -> None:
    project = (await store.projects())[0].id
    branch = (await store.branches("default"))[0].id
    credential = tokens.token_id(await issue(store))
    assert await store.limits("default") == Limits()
    await store.set_limits("default", SOME)
    await store.set_limits(project, Limits(concurrent_requests=1), branch="main")
    await store.set_limits("default", Limits(tokens_per_minute=2), credential=credential)
    assert await store.limits(project) == SOME
    assert await store.limits("default", branch=branch) == Limits(concurrent_requests=1)
    assert await store.limits("default", credential=credential) == Limits(tokens_per_minute=2)
    table = await store.all_limits()
    assert table.version == await store.limits_version()
    assert table.limits == {
        (Level.PROJECT, project): SOME,
        (Level.BRANCH, branch): Limits(concurrent_requests=1),
        (Level.CREDENTIAL, credential): Limits(tokens_per_minute=2),
    }


async def test_limits_are_replaced_whole_and_taken_back(store: Store) -> None:
    await store.set_limits("default", SOME)
    await store.set_limits("default", Limits(tokens_per_day=5))
    assert await store.limits("default") == Limits(tokens_per_day=5)
    await store.set_limits("default", Limits())
    assert await store.limits("default") == Limits()
    assert (await store.all_limits()).limits == {}


async def test_every_change_of_a_limit_makes_a_new_version(store: Store) -> None:
    versions = [await store.limits_version()]
    for limits in (SOME, SOME, Limits()):
        await store.set_limits("default", limits)
        versions.append(await store.limits_version())
    assert versions == sorted(set(versions))


async def test_limits_for_what_is_not_there_change_nothing(store: Store) -> None:
    await store.create_project("other")
    credential = tokens.token_id(await issue(store))
    before = await store.limits_version()
    for project, branch, missing in (
        ("nope", None, None),
        ("default", "nope", None),
        ("default", "x" * 10_000, None),
        ("default", None, "a" * 16),
        ("default", None, "a\0b"),
        ("other", None, credential),
    ):
        with pytest.raises(StoreNotFound):
            await store.set_limits(project, SOME, branch=branch, credential=missing)
        with pytest.raises(StoreNotFound):
            await store.limits(project, branch=branch, credential=missing)
    assert await store.limits_version() == before


@pytest.mark.parametrize("value", [-1, MOST + 1, 2**70])
async def test_limits_out_of_range_change_nothing(store: Store, value: int) -> None:
    with pytest.raises(StoreError, match=r"limits: .*tokens_per_day"):
        await store.set_limits("default", Limits(tokens_per_day=value))
    assert await store.limits("default") == Limits()


async def test_versions_and_limits_that_many_change_at_once_agree(store: Store) -> None:
    before = await store.limits_version()
    calls = [store.set_limits("default", Limits(tokens_per_day=n)) for n in range(10)]
    await asyncio.gather(*calls)
    assert await store.limits_version() == before + 10


def told(entry: AuditEntry) -> tuple[str, str, str, str, dict[str, object]]:
    return entry.actor, entry.action, entry.project_id, entry.subject, dict(entry.details)


async def test_every_change_is_in_the_audit_trail(store: Store) -> None:
    project = await store.create_project("p", actor="cli:ann")
    main = (await store.branches("p"))[0]
    branch = await store.create_branch("p", "b", "main", actor="admin")
    token = tokens.new_token()
    credential = await store.create_credential(
        "p",
        "b",
        credential_id=tokens.token_id(token),
        token_hash=tokens.hash_token(token),
        name="Ann's laptop",
        principal_type=PrincipalType.USER,
        scopes=["a", "b"],
        lifetime=60,
        actor="admin",
    )
    await store.set_limits("p", Limits(tokens_per_day=5), branch="b", actor="cli:bob")
    await store.revoke_credential(credential.id, cut=True, actor="admin")
    await store.delete_branch("p", "b", actor="cli:ann")
    trail = await store.audit_trail("p")
    expected = {
        "branch": branch.id,
        "name": "Ann's laptop",
        "principal_type": "user",
        "scopes": ["a", "b"],
        "expires": credential.expires,
    }
    assert [told(entry) for entry in reversed(trail)] == [
        ("cli:ann", "project.create", project.id, project.id, {"name": "p"}),
        ("admin", "branch.create", project.id, branch.id, {"name": "b", "parent": main.id}),
        ("admin", "credential.create", project.id, credential.id, expected),
        (
            "cli:bob",
            "limits.set",
            project.id,
            branch.id,
            {"level": "branch", "limits": {"tokens_per_day": 5}},
        ),
        ("admin", "credential.revoke", project.id, credential.id, {"cut": True}),
        ("cli:ann", "branch.delete", project.id, branch.id, {"name": "b", "revoked": 0}),
    ]
    assert all(abs(entry.time - time.time()) < 60 for entry in trail)
    assert token[25:] not in repr(trail)


async def test_what_was_refused_or_changed_nothing_leaves_no_trace(store: Store) -> None:
    credential = tokens.token_id(await issue(store))
    await store.revoke_credential(credential)
    before = await store.audit_trail()
    await store.revoke_credential(credential)
    for call in (
        store.create_project("default"),
        store.create_branch("default", "main", None),
        store.delete_branch("default", "nope"),
        store.revoke_credential("a" * 16),
        store.set_limits("default", Limits(tokens_per_day=-1)),
    ):
        with pytest.raises(StoreError):
            await call
    assert await store.audit_trail() == before


async def test_the_audit_trail_is_read_page_by_page(store: Store) -> None:
    for n in range(5):
        await store.create_branch("default", f"b{n}", None)
    await store.create_project("other")
    whole = await store.audit_trail()
    assert whole[0].subject == (await store.projects())[1].id
    assert [entry.number for entry in whole] == sorted((entry.number for entry in whole), reverse=True)
    first = await store.audit_trail("default", most=2)
    second = await store.audit_trail("default", before=first[-1].number, most=2)
    assert [entry.details["name"] for entry in (*first, *second)] == ["b4", "b3", "b2", "b1"]
    with pytest.raises(StoreNotFound):
        await store.audit_trail("nope")


async def test_an_actor_is_told_in_printable_characters(store: Store) -> None:
    await store.create_branch("default", "x", None, actor="cli:\0\ud800" + "x" * 1000)
    (entry,) = await store.audit_trail(most=1)
    assert entry.actor.startswith("cli:??xxx")
    assert len(entry.actor) == 128
