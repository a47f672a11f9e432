"""Counters of both kinds, for tests that hold for either."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.counters import Counters
from tests.counters.rig import MemoryRig, RedisRig, Rig
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A server for all tests that neither stop nor stall it; each finds it empty."""
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture(params=["memory", "redis"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """Each kind of counters in turn."""
    made = (
        MemoryRig(tmp_path)
        if request.param == "memory"
        else RedisRig(request.getfixturevalue("redis_server"))
    )
    yield made
    await made.close()


@pytest.fixture
def counters(rig: Rig) -> Counters:
    """The counters of the one process that most tests need."""
    return rig.open()
