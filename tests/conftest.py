"""Fixtures that tests of several rooms share."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.gateway import Gateway, start_gateway
from tests.support.operator import Operator
from tests.support.postgres_server import PostgresServer

settings.register_profile("deep", max_examples=2_000, deadline=None)
if profile := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(profile)


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway over the simulated upstream, shared by a whole test session: leave it as you found it."""
    running = start_gateway(tmp_path_factory.mktemp("gateway"))
    try:
        yield running
    finally:
        code = running.stop()
    assert code == 0, running.log_lines()


@pytest.fixture(scope="session")
def token_without_scope(gateway: Gateway) -> str:
    """A credential that is good, but not for the AI gateway."""
    return gateway.credential("--scope", "other")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], PostgresServer]]:
    """Gives a PostgreSQL server for the whole test session, started by whoever first calls it."""
    servers: list[PostgresServer] = []

    def running() -> PostgresServer:
        if not servers:
            servers.append(PostgresServer())
        return servers[0]

    yield running
    for server in servers:
        server.remove()


@pytest.fixture
def operator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Operator:
    """Runs commands on a store of its own."""
    return Operator(tmp_path, capsys)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what its gateway printed last."""
    report = yield
    running = getattr(item, "funcargs", {}).get("gateway")
    if report.failed and isinstance(running, Gateway):
        report.sections.append(("gateway", "\n".join(running.log_lines()[-40:])))
    return report
