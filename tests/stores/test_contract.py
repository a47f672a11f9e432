"""What every store does, whatever database is behind it."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway import tokens
from gateway.stores import PrincipalType, Store, StoreError
from tests.support.identity import issue


async def names(store: Store, project: str = "default") -> list[str]:
    return [branch.name for branch in await store.branches(project)]


async def test_a_new_store_has_a_project_with_a_branch(store: Store) -> None:
    assert [project.name for project in await store.projects()] == ["default"]
    (main,) = await store.branches("default")
    assert (main.name, main.parent_id) == ("main", None)
    assert abs(main.created - time.time()) < 60
    assert await store.lineage(main.id) == (main.id,)
    assert await store.default_lineage("main") == (main.id,)
    assert await store.default_lineage(main.id) == (main.id,)
    assert await store.credentials("default") == []


async def test_a_lineage_leads_from_a_branch_up_to_its_root(store: Store) -> None:
    main = (await store.branches("default"))[0]
    above = await store.create_branch("default", "preview/x", "main")
    below = await store.create_branch("default", "preview/x/y", above.id)
    beside = await store.create_branch("default", "staging", None)
    assert await store.lineage(below.id) == (below.id, above.id, main.id)
    assert await store.default_lineage("preview/x/y") == (below.id, above.id, main.id)
    assert await store.lineage(beside.id) == (beside.id,)
    assert await names(store) == ["main", "preview/x", "preview/x/y", "staging"]
    for unknown in ("br-quiet-pond-aaaaaaaa", "main", "preview/x", "", "'; --"):
        assert await store.lineage(unknown) is None
    for unknown in ("br-quiet-pond-aaaaaaaa", "", "MAIN"):
        assert await store.default_lineage(unknown) is None


async def test_branch_ids_are_dns_labels_with_room_for_the_suffix(store: Store) -> None:
    made = [await store.create_branch("default", f"b{n}", None) for n in range(20)]
    assert len({branch.id for branch in made}) == 20
    for branch in made:
        words = branch.id.split("-")
        assert (words[0], len(words), len(words[3])) == ("br", 4, 8)
        assert branch.id.replace("-", "").isalnum()
        assert branch.id == branch.id.lower()
        assert len(f"{branch.id}-api") <= 63


async def test_projects_keep_their_branches_apart(store: Store) -> None:
    other = await store.create_project("other")
    assert [project.name for project in await store.projects()] == ["default", "other"]
    assert await names(store, "other") == await names(store, other.id) == ["main"]
    there = await store.create_branch("other", "staging", "main")
    here = await store.create_branch("default", "staging", None)
    assert there.id != here.id
    assert await store.default_lineage("staging") == (here.id,)
    assert await store.default_lineage(there.id) is None
    with pytest.raises(StoreError, match=f'no branch "{there.id}" in project "default"'):
        await store.create_branch("default", "x", there.id)
    with pytest.raises(StoreError, match="no branch"):
        await issue(store, there.id)
    await issue(store, there.id, project=other.id)
    assert len(await store.credentials("other")) == 1
    assert await store.credentials("default") == []


async def test_a_credential_is_found_by_its_public_id(store: Store) -> None:
    main = (await store.branches("default"))[0]
    token = tokens.new_token()
    made = await store.create_credential(
        "default",
        "main",
        credential_id=tokens.token_id(token),
        token_hash=tokens.hash_token(token),
        name="Ann's laptop, '); DROP TABLE credentials; --",
        principal_type=PrincipalType.USER,
        scopes=["ai_gateway:invoke", "other", "other"],
        lifetime=60,
    )
    assert (made.project_id, made.branch_id) == (main.project_id, main.id)
    assert (made.scopes, made.revoked) == (("ai_gateway:invoke", "other"), None)
    assert made.expires == made.created + 60
    assert await store.credential(made.id) == made
    assert await store.credentials("default") == [made]
    assert await store.credential("a" * 16) is None
    assert repr(made.token_hash) not in repr(made)


async def test_a_credential_is_revoked_once_and_for_good(store: Store) -> None:
    token, kept = await issue(store), await issue(store)
    revoked = await store.revoke_credential(tokens.token_id(token))
    assert revoked.revoked is not None
    assert await store.credential(revoked.id) == revoked
    assert await store.revoke_credential(revoked.id) == revoked
    other = await store.credential(tokens.token_id(kept))
    assert other is not None
    assert other.revoked is None
    with pytest.raises(StoreError, match='no credential "aaaaaaaaaaaaaaaa"'):
        await store.revoke_credential("a" * 16)


async def test_deleting_a_branch_revokes_its_credentials_and_frees_its_name(store: Store) -> None:
    branch = await store.create_branch("default", "preview/x", "main")
    doomed, kept = await issue(store, "preview/x"), await issue(store, "main")
    assert await store.delete_branch("default", "preview/x") == branch
    assert await names(store) == ["main"]
    assert await store.lineage(branch.id) is None
    states = [await store.credential(tokens.token_id(token)) for token in (doomed, kept)]
    assert [state is not None and state.revoked is not None for state in states] == [True, False]
    again = await store.create_branch("default", "preview/x", "main")
    assert again.id != branch.id
    with pytest.raises(StoreError, match="no branch"):
        await store.delete_branch("default", branch.id)


async def test_a_branch_with_children_stays(store: Store) -> None:
    await store.create_branch("default", "preview/x", "main")
    token = await issue(store)
    with pytest.raises(StoreError, match='branch "main" has children'):
        await store.delete_branch("default", "main")
    state = await store.credential(tokens.token_id(token))
    assert state is not None
    assert state.revoked is None
    assert await names(store) == ["main", "preview/x"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        " main",
        "a b",
        "-a",
        "/a",
        "a\n",
        "a\0b",
        "a\ud800",
        "ä",
        "x" * 129,
        "x" * 10_000,
        "'; DROP TABLE branches; --",
        "main",
        "br-quiet-pond-a1b2c3d4",
    ],
)
async def test_a_name_that_cannot_be_changes_nothing(store: Store, name: str) -> None:
    with pytest.raises(StoreError) as told:
        await store.create_branch("default", name, None)
    with pytest.raises(StoreError):
        await store.create_project(name if name != "main" else "default")
    assert len(str(told.value)) < 300
    assert str(told.value).isprintable()
    assert await names(store) == ["main"]
    assert len(await store.projects()) == 1


@pytest.mark.parametrize("reference", ["nope", "", "a\0b", "\ud800", "x" * 10_000, "' OR 1=1 --", "MAIN"])
async def test_an_unknown_reference_is_told_in_one_line(store: Store, reference: str) -> None:
    for call in (
        store.create_branch("default", "x", reference),
        store.delete_branch("default", reference),
        issue(store, reference),
        store.branches(reference),
        store.credentials(reference),
        store.create_branch(reference, "x", None),
        issue(store, project=reference),
    ):
        with pytest.raises(StoreError, match=r"no (branch|project)") as told:
            await call
        assert len(str(told.value)) < 300
        assert str(told.value).isprintable()
    assert await names(store) == ["main"]
    assert await store.credentials("default") == []


@pytest.mark.parametrize("scopes", [[], ["a b"], ["A:b"], [""], ["x" * 129], [f"s{n}" for n in range(33)]])
async def test_scopes_that_cannot_be_change_nothing(store: Store, scopes: list[str]) -> None:
    with pytest.raises(StoreError, match="scope"):
        await issue(store, scopes=scopes)
    assert await store.credentials("default") == []


async def test_one_of_many_that_take_a_name_at_once_gets_it(store: Store) -> None:
    calls = [store.create_branch("default", "same", "main") for _ in range(10)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, StoreError) for result in results) == 9
    assert await names(store) == ["main", "same"]


async def test_a_change_cut_off_anywhere_happens_whole_or_not_at_all(store: Store) -> None:
    for steps in range(30):
        task = asyncio.create_task(store.create_project(f"p{steps}"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await store.create_project("last")  # the store still takes changes
    projects = await store.projects()
    assert projects[-1].name == "last"
    for project in projects:
        assert await names(store, project.id) == ["main"]
