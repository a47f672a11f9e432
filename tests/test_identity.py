"""Who asks: tokens against real credentials in a real store, through the cache."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway import tokens
from gateway.errors import (
    AUTHORIZATION_UNAVAILABLE,
    CREDENTIAL_INVALID,
    CREDENTIAL_SCOPE,
    GatewayError,
    Refusal,
)
from gateway.exchange import Principal
from gateway.identity import Identity
from gateway.stores.rows import Credential
from gateway.stores.sqlite import SqliteStore
from tests.support.identity import Clock, damaged, headers, issue, opened


class CountingStore:
    """A store, and how often it was asked for a credential."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.asked = 0

    async def credential(self, credential_id: str) -> Credential | None:
        self.asked += 1
        return await self.store.credential(credential_id)


@dataclass
class Parts:
    """Identity over a store, with both clocks to turn."""

    path: Path
    store: SqliteStore
    counting: CountingStore
    clock: Clock
    wall: Clock
    identity: Identity

    async def ask(self, token: str) -> Principal:
        return await self.identity.authenticate(headers(Authorization=f"Bearer {token}"), "")

    async def refused(self, token: str) -> Refusal:
        with pytest.raises(GatewayError) as refused:
            await self.ask(token)
        assert token not in repr(refused.value)
        return refused.value.refusal


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with opened(tmp_path / "gateway.db") as store:
        counting, clock, wall = CountingStore(store), Clock(), Clock(time.time())
        identity = Identity(counting, clock=clock, wall=wall)
        yield Parts(tmp_path / "gateway.db", store, counting, clock, wall, identity)
        await identity.close()


async def test_a_good_token_tells_who_asks_in_each_carrier(parts: Parts) -> None:
    main = (await parts.store.branches("default"))[0]
    token = await issue(parts.store)
    expected = Principal(tokens.token_id(token), main.project_id, main.id)
    basic = base64.b64encode(f"token:{token}".encode()).decode()
    for sent, query in (
        (headers(Authorization=f"Bearer {token}", x_goog_api_key="dummy"), "key=dummy"),
        (headers(Authorization=f"Basic {basic}"), ""),
        (headers(x_goog_api_key=token), "key=dummy"),
        (headers(), f"alt=sse&key={token}"),
    ):
        assert await parts.identity.authenticate(sent, query) == expected
    assert parts.counting.asked == 1


async def test_a_malformed_token_is_refused_without_a_look_up(parts: Parts) -> None:
    token = await issue(parts.store)
    for bad in ("no token", token[:-1], token.upper(), token + "0"):
        assert await parts.refused(bad) is CREDENTIAL_INVALID
    with pytest.raises(GatewayError) as refused:
        await parts.identity.authenticate(headers(), "")
    assert refused.value.refusal is CREDENTIAL_INVALID
    assert parts.counting.asked == 0


async def test_an_unknown_token_and_a_wrong_secret_are_refused_and_remembered(parts: Parts) -> None:
    token = await issue(parts.store)
    wrong = token[:25] + tokens.new_token()[25:]
    for _ in range(3):
        assert await parts.refused(tokens.new_token()) is CREDENTIAL_INVALID
        assert await parts.refused(wrong) is CREDENTIAL_INVALID
    assert parts.counting.asked == 4
    await parts.ask(token)


async def test_a_credential_without_the_scope_is_told_so_unless_it_is_no_good_at_all(parts: Parts) -> None:
    token = await issue(parts.store, scopes=["other", "ai_gateway:read", "x.ai_gateway:invoke"], lifetime=60)
    assert await parts.refused(token) is CREDENTIAL_SCOPE
    parts.wall.now += 61
    assert await parts.refused(token) is CREDENTIAL_INVALID
    both = await issue(parts.store, scopes=["other", "ai_gateway:invoke"])
    await parts.ask(both)


async def test_an_expiry_counts_though_the_answer_is_in_the_cache(parts: Parts) -> None:
    token = await issue(parts.store, lifetime=60)
    stored = await parts.store.credential(tokens.token_id(token))
    assert stored is not None
    assert stored.expires is not None
    parts.wall.now = stored.expires - 0.01
    await parts.ask(token)
    parts.wall.now = stored.expires
    assert await parts.refused(token) is CREDENTIAL_INVALID
    assert parts.counting.asked == 1


async def test_a_revocation_by_another_process_is_seen_within_four_seconds(parts: Parts) -> None:
    token = await issue(parts.store)
    await parts.ask(token)
    async with opened(parts.path) as command:
        await command.revoke_credential(tokens.token_id(token))
    parts.clock.now += 3.9
    await parts.ask(token)  # still the answer of the cache
    parts.clock.now += 0.1
    assert await parts.refused(token) is CREDENTIAL_INVALID


async def test_a_deleted_branch_takes_its_credentials_along(parts: Parts) -> None:
    await parts.store.create_branch("default", "preview/x", "main")
    token = await issue(parts.store, "preview/x")
    await parts.ask(token)
    await parts.store.delete_branch("default", "preview/x")
    parts.clock.now += 4
    assert await parts.refused(token) is CREDENTIAL_INVALID


async def test_while_the_store_is_away_known_credentials_go_on_for_a_minute(parts: Parts) -> None:
    token, expiring = await issue(parts.store), await issue(parts.store, lifetime=30)
    await parts.ask(token)
    await parts.ask(expiring)
    with damaged(parts.path):
        parts.clock.now += 40
        parts.wall.now += 40
        await parts.ask(token)
        assert await parts.refused(expiring) is CREDENTIAL_INVALID
        assert await parts.refused(tokens.new_token()) is AUTHORIZATION_UNAVAILABLE
        parts.clock.now += 20
        assert await parts.refused(token) is AUTHORIZATION_UNAVAILABLE
    await parts.ask(token)


async def test_a_crowd_with_one_new_token_asks_the_store_once(parts: Parts) -> None:
    token = await issue(parts.store)
    results = await asyncio.gather(*(parts.ask(token) for _ in range(100)))
    assert len(set(results)) == 1
    assert parts.counting.asked == 1


async def test_a_flood_of_made_up_tokens_shuts_nobody_out_who_is_known(parts: Parts) -> None:
    token = await issue(parts.store)
    await parts.ask(token)
    parts.clock.now += 4
    flood = [asyncio.create_task(parts.refused(tokens.new_token())) for _ in range(600)]
    known = asyncio.create_task(parts.ask(token))
    refusals = await asyncio.gather(*flood)
    await known
    assert refusals.count(CREDENTIAL_INVALID) == 512
    assert refusals.count(AUTHORIZATION_UNAVAILABLE) == 88


async def test_a_known_credential_is_told_without_waiting(parts: Parts) -> None:
    token = await issue(parts.store)
    principal = await parts.ask(token)
    call = parts.ask(token)
    with pytest.raises(StopIteration) as ended:  # it runs to its end without once going to the event loop
        call.send(None)
    assert ended.value.value == principal
