"""Whose requests an upstream answers: those of its projects, and of no other, whatever happens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway import config
from gateway.errors import ConfigurationError, GatewayError
from gateway.upstreams import Upstream
from gateway.upstreams.faults import Cause, Fault
from gateway.upstreams.opening import adjust
from gateway.upstreams.pool import Pool
from tests.upstreams.pool_rig import FLASH, PRO, SetClock, studio

OURS, THEIRS = "pr-winter-pond-a1b2c3d4", "pr-misty-lake-e5f6g7h8"
SPENT = Fault(Cause.QUOTA, 30.0, message="spent", quota_id="PerMinute")


async def two(models: Sequence[str] = ("*",)) -> list[Upstream]:
    """One for each; `models` are what theirs serves."""
    return [
        await studio("ours", projects=[OURS]),
        await studio("theirs", projects=[THEIRS], models=models),
    ]


async def test_everybody_is_answered_by_what_is_for_everybody() -> None:
    pool = Pool([await studio("all", projects=(OURS, "*"))])
    assert {pool.choose(FLASH, project=project).upstream.name for project in (OURS, THEIRS)} == {"all"}


async def test_each_has_its_own_and_what_is_for_all() -> None:
    pool = Pool(
        [
            await studio("ours", projects=[OURS]),
            await studio("theirs", projects=[THEIRS]),
            await studio("all"),
        ]
    )
    for project, own in ((OURS, "ours"), (THEIRS, "theirs")):
        names = {pool.choose(FLASH, project=project).upstream.name for _ in range(100)}
        assert names == {own, "all"}


async def test_another_attempt_goes_to_no_other_projects_upstream() -> None:
    pool = Pool(await two())
    tried = [pool.choose(FLASH, project=OURS)]
    assert pool.another(FLASH, "", tried, OURS) is None
    assert pool.another(FLASH, "", tried, THEIRS) is not None


async def test_a_rest_of_ones_own_is_told_though_others_are_ready() -> None:
    clock = SetClock()
    pool = Pool(
        [await studio("ours", projects=[OURS]), await studio("theirs", projects=[THEIRS])], clock=clock
    )
    pool.choose(FLASH, project=OURS).failed(SPENT)
    with pytest.raises(GatewayError, match="429 UPSTREAM_COOLDOWN"):
        pool.choose(FLASH, project=OURS)
    assert pool.choose(FLASH, project=THEIRS).upstream.name == "theirs"


async def test_what_is_learnt_of_a_target_holds_for_all_who_share_it() -> None:
    pool = Pool([await studio("both", projects=[OURS, THEIRS])], clock=SetClock())
    pool.choose(FLASH, project=OURS).failed(SPENT)
    with pytest.raises(GatewayError, match="429 UPSTREAM_COOLDOWN"):
        pool.choose(FLASH, project=THEIRS)


async def test_who_has_none_for_a_model_is_told_that_it_is_not_here() -> None:
    pool = Pool(
        [await studio("ours", projects=[OURS]), await studio("theirs", projects=[THEIRS], models=["*pro"])]
    )
    pool.check(FLASH, OURS)
    pool.check(PRO, THEIRS)
    for ask in (pool.check, lambda model, project: pool.choose(model, "", project)):
        with pytest.raises(GatewayError, match="400 MODEL_NOT_ON_ENDPOINT"):
            ask(FLASH, THEIRS)
    assert pool.another(FLASH, "", [], THEIRS) is None


async def test_a_changed_list_is_taken_up(tmp_path: Path) -> None:
    upstream = await studio("one", projects=[OURS])
    pool = Pool([upstream])
    adjust(upstream, _loaded(tmp_path, f'["{THEIRS}"]'))
    pool.replace([upstream])
    assert pool.choose(FLASH, project=THEIRS).upstream is upstream
    with pytest.raises(GatewayError):
        pool.choose(FLASH, project=OURS)


def _loaded(folder: Path, projects: str) -> config.Upstream:
    """An upstream with that list, as a configuration has it."""
    file = folder / "gateway.toml"
    file.write_text(f"""
        [store]
        url = "sqlite:///{folder}/db"
        [[upstreams]]
        name = "one"
        kind = "ai-studio"
        keys = ["env:KEY"]
        projects = {projects}
    """)
    return config.load(file, {"KEY": "AQ.key-of-the-tests"}).upstreams[0]


@pytest.mark.parametrize("given", ["[]", '["default"]', '["pr-*"]', '["br-winter-pond-a1b2c3d4"]', '"*"'])
def test_what_is_no_list_of_ids_is_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="projects"):
        _loaded(tmp_path, given)


def test_ids_and_everybody_are_taken(tmp_path: Path) -> None:
    assert _loaded(tmp_path, f'["{OURS}", "*"]').projects == (OURS, "*")
