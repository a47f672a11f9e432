"""How full limits are: real limits, a real store, real counters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.counters.memory import MemoryCounters
from gateway.limits import Level, Limits
from gateway.page.fullness import SUBJECTS, Fill, Fullness, LimitLevels
from gateway.quota.admission import Estimate
from gateway.quota.rules import Kind, rules_for
from gateway.stores.sqlite import SqliteStore
from tests.page.rig import MODELS, NOW
from tests.support.identity import Clock, issue, opened

DEFAULTS = Limits(tokens_per_minute=200_000, requests_per_minute=600)


class Limited:
    """A project with limits, one credential and what it uses."""

    def __init__(self, store: SqliteStore, counters: MemoryCounters, clock: Clock) -> None:
        self.store = store
        self.counters = counters
        self.clock = clock

    async def prepare(self) -> None:
        self.project = (await self.store.projects())[0].id
        self.main = (await self.store.branches("default"))[0].id
        await issue(self.store)
        self.credential = (await self.store.credentials("default"))[0].id

    def use(self, limits: dict[Level, Limits], model: str, tokens: int, nanos: int = 0) -> None:
        """A request that is admitted and goes on."""
        rules = rules_for(
            limits,
            project_id=self.project,
            branch_id=self.main,
            credential_id=self.credential,
            model=model,
        )
        assert self.counters.admit(rules, Estimate(tokens, nanos)).blocked_by is None

    async def fullness(self, models: tuple[str, ...] = ()) -> Fullness:
        levels = LimitLevels(self.store, self.counters, DEFAULTS, MODELS)
        branches, credentials = await self.store.branches("default"), await self.store.credentials("default")
        return await levels.of(self.project, branches, credentials, models)


@pytest.fixture
async def limited(tmp_path: Path) -> AsyncIterator[Limited]:
    clock = Clock(NOW)
    async with opened(tmp_path / "gateway.db") as store:
        counters = MemoryCounters(tmp_path / "counters", clock)
        limited = Limited(store, counters, clock)
        await limited.prepare()
        yield limited
        await counters.close()


async def test_a_project_without_limits_of_its_own_has_the_configurations(limited: Limited) -> None:
    assert (await limited.fullness()).fills == [
        Fill(Kind.TOKENS_PER_MINUTE, Level.PROJECT, limited.project, "", 200_000, 0),
        Fill(Kind.REQUESTS_PER_MINUTE, Level.PROJECT, limited.project, "", 600, 0),
    ]


async def test_its_own_limits_take_their_place_one_by_one_and_0_is_none(limited: Limited) -> None:
    await limited.store.set_limits("default", Limits(requests_per_minute=0, tokens_per_day=5_000))
    assert [(fill.kind, fill.limit) for fill in (await limited.fullness()).fills] == [
        (Kind.TOKENS_PER_MINUTE, 200_000),
        (Kind.TOKENS_PER_DAY, 5_000),
    ]


async def test_what_counts_is_shown_by_model_and_level_the_fullest_first(limited: Limited) -> None:
    project = DEFAULTS
    branch = Limits(tokens_per_minute=40_000, spend_per_day_nanos=10_000)
    credential = Limits(concurrent_requests=8)
    await limited.store.set_limits("default", branch, branch="main")
    await limited.store.set_limits("default", credential, credential=limited.credential)
    limits = {Level.PROJECT: project, Level.BRANCH: branch, Level.CREDENTIAL: credential}
    limited.use(limits, "gemini-3-pro", 20_000, 1_000)
    limited.use(limits, "gemini-2-5-flash", 2_000, 0)
    limited.use(limits, "gemini-of-a-client", 4_000, 0)
    shown = {
        (str(fill.kind), str(fill.level), fill.model): (fill.used, fill.limit)
        for fill in (await limited.fullness(models=("gemini-of-a-client",))).fills
    }
    assert shown == {
        ("tokens_per_minute", "branch", "gemini-3-pro"): (20_000, 40_000),
        ("concurrent_requests", "credential", ""): (3, 8),
        ("tokens_per_minute", "project", "gemini-3-pro"): (20_000, 200_000),
        ("spend_per_day_nanos", "branch", ""): (1_000, 10_000),
        ("tokens_per_minute", "branch", "gemini-of-a-client"): (4_000, 40_000),
        ("tokens_per_minute", "branch", "gemini-2-5-flash"): (2_000, 40_000),
        ("tokens_per_minute", "project", "gemini-of-a-client"): (4_000, 200_000),
        ("tokens_per_minute", "project", "gemini-2-5-flash"): (2_000, 200_000),
        ("requests_per_minute", "project", ""): (3, 600),
    }
    shares = [used / limit for used, limit in shown.values()]
    assert shares == sorted(shares, reverse=True)


async def test_it_is_of_now(limited: Limited) -> None:
    limited.use({Level.PROJECT: DEFAULTS}, MODELS[0], 20_000)
    assert [fill.used for fill in (await limited.fullness()).fills] == [20_000, 1]
    limited.clock.now += 62
    assert [fill.used for fill in (await limited.fullness()).fills] == [0, 0]


async def test_of_very_many_with_limits_the_first_are_asked_and_the_others_counted(limited: Limited) -> None:
    limits = Limits(concurrent_requests=2)
    await limited.store.set_limits("default", limits, branch="main")
    for _ in range(SUBJECTS + 2):
        await issue(limited.store)
    for credential in await limited.store.credentials("default"):
        await limited.store.set_limits("default", limits, credential=credential.id)
    fullness = await limited.fullness()
    assert fullness.not_asked == 4
    subjects = {(fill.level, fill.id) for fill in fullness.fills}
    assert len(subjects) == SUBJECTS + 1
    assert {(Level.PROJECT, limited.project), (Level.BRANCH, limited.main)} < subjects
