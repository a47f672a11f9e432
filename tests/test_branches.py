"""Which branch: the forms of hosts, and where a credential is good."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.branches import Branches
from gateway.errors import (
    AUTHORIZATION_UNAVAILABLE,
    BRANCH_NOT_FOUND,
    CREDENTIAL_BRANCH,
    HOST_MALFORMED,
    HOST_UNTRUSTED,
    GatewayError,
    Refusal,
)
from gateway.exchange import Principal
from gateway.stores.ids import new_branch_id
from gateway.stores.sqlite import SqliteStore
from tests.support.identity import Clock, damaged, opened

ID = "br-winter-pond-a1b2c3d4"
HOST = f"{ID}-api.ai.example.com"


class NoStore:
    """For what must be told from the host alone."""

    async def lineage(self, branch_id: str) -> None:
        raise AssertionError("looked up")

    async def default_lineage(self, reference: str) -> None:
        raise AssertionError("looked up")


forms = Branches(
    NoStore(), default="main", trusted_suffixes=[".ai.example.com", ".C2.us-east-2.aws.example.com"]
)
open_to_all = Branches(NoStore(), default="main", trusted_suffixes=[])


@pytest.mark.parametrize(
    ("host", "branch"),
    [
        (HOST, ID),
        (f"{HOST}:8443", ID),
        (f"{HOST}:", ID),
        (f"{HOST}.", ID),
        (f"{HOST}.:443", ID),
        (HOST.upper(), ID),
        (f"{ID}-api.c2.us-east-2.aws.example.com", ID),
        ("a-api.ai.example.com", "a"),
        ("a-api-api.ai.example.com", "a-api"),
        ("0-api.ai.example.com", "0"),
        ("x" * 59 + "-api.ai.example.com", "x" * 59),
    ],
)
def test_a_trusted_host_names_a_branch(host: str, branch: str) -> None:
    assert forms.label(host) == branch


@pytest.mark.parametrize(
    ("host", "refusal"),
    [
        ("", HOST_UNTRUSTED),
        ("localhost", HOST_UNTRUSTED),
        ("127.0.0.1:8080", HOST_UNTRUSTED),
        ("[::1]", HOST_UNTRUSTED),
        ("[::1]:8080", HOST_UNTRUSTED),
        ("ai.example.com", HOST_UNTRUSTED),
        (f"{ID}-api", HOST_UNTRUSTED),
        (f"{ID}-api.example.com", HOST_UNTRUSTED),
        (f"{ID}-api.xai.example.com", HOST_UNTRUSTED),
        (f"{ID}-api.x.ai.example.com", HOST_UNTRUSTED),
        (f"{ID}-api.ai.example.com.evil.example", HOST_UNTRUSTED),
        (f"{HOST}..", HOST_UNTRUSTED),
        (f"{HOST}:443.evil.example", HOST_MALFORMED),
        (f"evil.example:443.{HOST}", HOST_UNTRUSTED),
        (f"{ID}-api.a\u0131.example.com", HOST_UNTRUSTED),
        ("\u212a-api.ai.example.com", HOST_UNTRUSTED),  # a Kelvin sign, whose lower case is k
        (f" {HOST}", HOST_MALFORMED),
        (f"{HOST}:port", HOST_MALFORMED),
        (f"{HOST}:443:443", HOST_MALFORMED),
        (f"{HOST}:\u0661", HOST_MALFORMED),
        (f"user@{HOST}", HOST_MALFORMED),
        (".ai.example.com", HOST_MALFORMED),
        ("-api.ai.example.com", HOST_MALFORMED),
        ("api.ai.example.com", HOST_MALFORMED),
        (f"{ID}.ai.example.com", HOST_MALFORMED),
        (f"{ID}-api2.ai.example.com", HOST_MALFORMED),
        ("-a-api.ai.example.com", HOST_MALFORMED),
        ("a--api.ai.example.com", HOST_MALFORMED),
        ("a_b-api.ai.example.com", HOST_MALFORMED),
        ("a%2d-api.ai.example.com", HOST_MALFORMED),
        ("a\n-api.ai.example.com", HOST_MALFORMED),
        ("x" * 60 + "-api.ai.example.com", HOST_MALFORMED),
    ],
)
def test_another_host_is_refused_and_quoted(host: str, refusal: object) -> None:
    with pytest.raises(GatewayError) as refused:
        forms.label(host)
    assert refused.value.refusal is refusal
    assert list(refused.value.metadata) == ["host"]
    assert all(" " <= c <= "~" for c in refused.value.metadata["host"])


@given(st.text() | st.from_regex(r"[a-zA-Z0-9.:@\[\]-]*(-api)?\.ai\.example\.com(:[0-9]*)?", fullmatch=True))
def test_any_host_has_a_label_or_a_refusal(host: str) -> None:
    assert open_to_all.label(host) == open_to_all.label("")
    try:
        label = forms.label(host)
    except GatewayError as error:
        refused = error
    else:
        assert 1 <= len(label) <= 59
        assert forms.label(f"{label}-api.ai.example.com") == label
        return
    assert refused.refusal in (HOST_UNTRUSTED, HOST_MALFORMED)
    assert len(refused.metadata["host"]) <= 128


@given(st.builds(new_branch_id))
def test_the_host_of_every_branch_names_it(branch: str) -> None:
    assert forms.label(f"{branch}-api.ai.example.com") == branch


@dataclass
class Tree:
    """Branches over a store: `main` → `preview/x` → `preview/x/y`, `staging` beside them; ids by name."""

    path: Path
    store: SqliteStore
    clock: Clock
    ids: dict[str, str]
    branches: Branches

    def principal(self, anchor: str) -> Principal:
        return Principal("c" * 16, "pr-any", self.ids[anchor])

    async def refusal(self, anchor: str, branch: str) -> Refusal | None:
        """What a credential anchored to one branch is told on the other; None where it is good."""
        try:
            resolved = await self.branches.authorize(self.principal(anchor), self.ids[branch])
        except GatewayError as refused:
            return refused.refusal
        assert resolved == self.ids[branch]
        return None


@pytest.fixture
async def tree(tmp_path: Path) -> AsyncIterator[Tree]:
    path, clock = tmp_path / "gateway.db", Clock()
    async with opened(path) as store:
        ids = {"main": (await store.branches("default"))[0].id}
        for name, parent in (("preview/x", "main"), ("preview/x/y", "preview/x"), ("staging", None)):
            ids[name] = (await store.create_branch("default", name, parent)).id
        other = await store.create_project("other")
        ids["other"] = (await store.branches(other.id))[0].id
        branches = Branches(store, default="main", trusted_suffixes=[".ai.example.com"], clock=clock)
        yield Tree(path, store, clock, ids, branches)
        await branches.close()


async def test_a_credential_is_good_on_its_branch_and_below_and_nowhere_else(tree: Tree) -> None:
    below = {
        "main": {"main", "preview/x", "preview/x/y"},
        "preview/x": {"preview/x", "preview/x/y"},
        "preview/x/y": {"preview/x/y"},
        "staging": {"staging"},
        "other": {"other"},
    }
    for anchor in tree.ids:
        for branch in tree.ids:
            expected = None if branch in below[anchor] else CREDENTIAL_BRANCH
            assert await tree.refusal(anchor, branch) is expected


async def test_a_branch_that_is_not_there_is_not_found(tree: Tree) -> None:
    with pytest.raises(GatewayError) as refused:
        await tree.branches.authorize(tree.principal("main"), ID)
    assert (refused.value.refusal, refused.value.metadata) == (BRANCH_NOT_FOUND, {"branch": ID})
    with pytest.raises(GatewayError) as refused:
        await tree.branches.authorize(tree.principal("main"), "main")  # a host names ids, not names
    assert refused.value.refusal is BRANCH_NOT_FOUND


@pytest.mark.parametrize("default", ["preview/x", "id"])
async def test_without_suffixes_every_host_means_the_default_branch(tree: Tree, default: str) -> None:
    reference = tree.ids["preview/x"] if default == "id" else default
    branches = Branches(tree.store, default=reference, trusted_suffixes=[])
    label = branches.label("127.0.0.1:8080")
    for anchor in ("main", "preview/x"):
        assert await branches.authorize(tree.principal(anchor), label) == tree.ids["preview/x"]
    for anchor in ("preview/x/y", "staging", "other"):
        with pytest.raises(GatewayError) as refused:
            await branches.authorize(tree.principal(anchor), label)
        # The default branch's id is not for those who may not use it.
        assert (refused.value.refusal, refused.value.metadata) == (CREDENTIAL_BRANCH, {})
    missing = Branches(tree.store, default="nope", trusted_suffixes=[])
    with pytest.raises(GatewayError) as refused:
        await missing.authorize(tree.principal("main"), missing.label(""))
    assert (refused.value.refusal, refused.value.metadata) == (BRANCH_NOT_FOUND, {})


async def test_a_deleted_branch_is_gone_within_four_seconds(tree: Tree) -> None:
    assert await tree.refusal("main", "preview/x/y") is None
    await tree.store.delete_branch("default", "preview/x/y")
    tree.clock.now += 3.9
    assert await tree.refusal("main", "preview/x/y") is None
    tree.clock.now += 0.1
    assert await tree.refusal("main", "preview/x/y") is BRANCH_NOT_FOUND


async def test_while_the_store_is_away_known_branches_go_on_for_a_minute(tree: Tree) -> None:
    assert await tree.refusal("main", "preview/x") is None
    with damaged(tree.path):
        tree.clock.now += 59
        assert await tree.refusal("main", "preview/x") is None
        assert await tree.refusal("staging", "preview/x") is CREDENTIAL_BRANCH
        assert await tree.refusal("staging", "staging") is AUTHORIZATION_UNAVAILABLE
        tree.clock.now += 1
        assert await tree.refusal("main", "preview/x") is AUTHORIZATION_UNAVAILABLE
    assert await tree.refusal("main", "preview/x") is None


async def test_a_known_branch_is_told_without_waiting(tree: Tree) -> None:
    assert await tree.refusal("main", "preview/x") is None
    call = tree.branches.authorize(tree.principal("main"), tree.ids["preview/x"])
    with pytest.raises(StopIteration) as ended:  # it runs to its end without once going to the event loop
        call.send(None)
    assert ended.value.value == tree.ids["preview/x"]
