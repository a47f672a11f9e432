"""What a pool knows of its targets when it gets other upstreams."""

from __future__ import annotations

import pytest

from gateway import config
from gateway.catalog import Catalog, CatalogSettings
from gateway.errors import GatewayError
from gateway.secrets import Secret
from gateway.upstreams.faults import CONNECTION_FAULT, Cause, Fault
from gateway.upstreams.opening import adjust, open_upstream
from gateway.upstreams.pool import KNOWN_MODELS, Pool
from gateway.upstreams.target_state import State

FLASH, PRO = (Catalog.build().resolve(name) for name in ("gemini-2.5-flash", "gemini-2.5-pro"))
SPENT = Fault(Cause.QUOTA, delay=60.0, message="spent", quota_id="PerMinute")


def settings(*keys: str) -> config.Upstream:
    return config.Upstream(
        name="studio",
        kind="ai-studio",
        base_url=config.BaseUrl("http://studio.test"),
        keys=tuple(Secret(key, "env:TEST") for key in keys),
    )


async def test_it_outlives_any_number_of_changes_whether_the_model_is_asked_for_in_between_or_not() -> None:
    upstream = await open_upstream(settings("first"), 5.0)
    pool = Pool([upstream])
    target = pool.choose(FLASH)
    target.begin()
    target.failed(SPENT)
    pool.choose(PRO)
    for _ in range(3):
        pool.replace([upstream])
        pool.choose(PRO)
        seen = {state.model: state for state in pool.targets()}
        assert (seen[FLASH.id].state, seen[FLASH.id].in_flight) == (State.COOLING, 1)
        assert seen[PRO.id].state is State.READY
        assert len(pool.targets()) == 2
    with pytest.raises(GatewayError):
        pool.choose(FLASH)
    await upstream.close()


async def test_what_went_is_forgotten() -> None:
    upstream, other = [await open_upstream(settings("first"), 5.0) for _ in range(2)]
    pool = Pool([upstream])
    pool.choose(FLASH).failed(SPENT)
    adjust(upstream, settings("second"))
    pool.replace([upstream])
    assert pool.targets() == []
    assert pool.choose(FLASH).key is upstream.keys[0]
    pool.replace([other])
    assert pool.targets() == []
    assert pool.choose(FLASH).upstream is other
    for one in (upstream, other):
        await one.close()


async def test_what_nobody_asks_for_again_is_not_kept_without_end() -> None:
    upstream = await open_upstream(settings("first"), 5.0)
    pool, catalog = Pool([upstream]), Catalog.build(CatalogSettings(allow=("gemini-x*",)))
    for change in range(3):
        for number in range(KNOWN_MODELS):
            target = pool.choose(catalog.resolve(f"gemini-x{change}-{number}"))
            for _ in range(5):
                target.failed(CONNECTION_FAULT)
        pool.replace([upstream])
    assert KNOWN_MODELS <= len(pool.targets()) <= 2 * KNOWN_MODELS
    with pytest.raises(GatewayError):
        pool.choose(catalog.resolve("gemini-x2-0"))
    await upstream.close()
