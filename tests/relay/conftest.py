"""Every test of this folder runs on asyncio's own event loop and on uvloop's, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.upstreams.connector import Connector
from tests.support.eventually import eventually
from tests.support.places import Place
from tests.support.raw_upstream import RawUpstream
from tests.support.stack import Settings, Stack, running_stack
from tests.support.tls import TestCertificates, make_certificates

Start = Callable[..., Awaitable[Stack]]
"""Starts a stack. Arguments: `upstream_url` where it is not `upstream`'s, or places; fields of `Settings`."""
Connect = Callable[..., Connector]
"""Makes a connector for a raw upstream. Arguments: it, and those of `Connector` but host and port."""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="package", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Leave what the interpreter has loaded by now out of the search for what a request left behind."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="package")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> TestCertificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        yield running


@pytest.fixture
def second() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        yield running


@pytest.fixture
def third() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        yield running


@pytest.fixture
async def start(
    tmp_path: Path, upstream: RawUpstream, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stacks:

        async def start(upstream_url: str | Sequence[Place] = upstream.url, **settings: Any) -> Stack:
            return await stacks.enter_async_context(
                running_stack(tmp_path, upstream_url, Settings(**settings))
            )

        yield start
    records = caplog.get_records("call")
    faults = [record.getMessage() for record in records if record.exc_info or record.name == "asyncio"]
    assert not faults


@pytest.fixture
async def stack(start: Start) -> Stack:
    return await start()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    made: list[Connector] = []

    def connect(upstream: RawUpstream, **arguments: Any) -> Connector:
        given: dict[str, Any] = {"tls": None, "connect_timeout": 5.0} | arguments
        made.append(Connector(upstream.host, upstream.port, **given))
        return made[-1]

    yield connect
    for connector in made:
        connector.close()
    await eventually("all connections closed", lambda: not any(connector.open for connector in made))
