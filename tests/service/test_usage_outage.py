"""PostgreSQL goes away while requests are served, and comes back: no usage is lost, none counted twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.stores.postgres_schema import SCHEMA
from tests.service.rig import client, metric, running
from tests.service.usage_rig import Traffic, told
from tests.support.eventually import eventually
from tests.support.gateway import Gateway
from tests.support.postgres_server import PASSWORD, PostgresServer
from tests.support.process import run
from tests.support.raw_upstream import RawUpstream


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture
def upstream(traffic: Traffic) -> Iterator[RawUpstream]:
    with RawUpstream(forgetful=True) as running:
        running.answer_always(traffic.answer)
        yield running


async def kept(server: PostgresServer) -> list[str]:
    """The request ids of all records, in the order in which they came into the store.

    Of those that came together, as they began. Their places say nothing: a row may fill the gap that one
    left whose transaction was cut off.
    """
    order = "xmin::text::bigint, time"
    connection = await server.connect()
    try:
        rows = await connection.fetch(f"SELECT request_id FROM {SCHEMA}.usage_records ORDER BY {order}")
        return [row[0] for row in rows]
    finally:
        await connection.close()


def flags(gateway: Gateway) -> list[float]:
    """Whether the store is said to be away: by those who look things up there, and by who ships usage."""
    return [metric(gateway.admin_url, f"gateway_{name}") for name in ("store_away", "shipping_stopped")]


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_outage_of_the_store_loses_nothing_and_keeps_the_order(
    tmp_path: Path,
    upstream: RawUpstream,
    traffic: Traffic,
    postgres: Callable[[], PostgresServer],
    workers: int,
) -> None:
    server = postgres()
    settings = {
        "SERVER__WORKERS": str(workers),
        "STORE__URL": await server.empty_database(),
        "STORE__STATE_DIR": str(tmp_path / "state"),
        "STORE__PASSWORD": "env:GATEWAY_POSTGRES_PASSWORD",
        "POSTGRES_PASSWORD": PASSWORD,
    }
    with running(tmp_path, upstream, **settings) as gateway:
        await traffic.ask(gateway, range(40))  # so every worker knows the credential
        await eventually("all is stored", lambda: stored(gateway) == 40)
        assert flags(gateway) == [0, 0]
        before = list(traffic.ids)
        try:
            async with client(gateway) as connection:
                await traffic.ask_on(gateway, connection, 40)
                server.stop()
                for number in range(41, 100):
                    await traffic.ask_on(gateway, connection, number)
                await eventually("it is told of the outage", lambda: flags(gateway) == [1, 1])
                await eventually(
                    "some wait", lambda: metric(gateway.admin_url, "gateway_spool_records") >= 59
                )
        finally:
            server.start()
        async with client(gateway) as connection:
            for number in range(100, 120):
                await traffic.ask_on(gateway, connection, number)
        await eventually("all is stored", lambda: stored(gateway) == 120)
        await eventually("it is told that all is well", lambda: flags(gateway) == [0, 0])
        there = await kept(server)
        assert sorted(there[:40]) == sorted(before)
        if workers == 1:
            assert there[40:] == traffic.ids[40:]
        assert sorted(there) == sorted(traffic.ids)
        assert metric(gateway.admin_url, "gateway_spool_records") == 0
        environment = {f"GATEWAY_{name}": value for name, value in settings.items()}
        command = ["usage", "--by", "model", "--json", "--config", str(gateway.config_path)]
        assert told(json.loads(run(command, environment))) == traffic.sums()
    lines = gateway.log_lines()
    assert count(lines, "usage waits on disk") == count(lines, "usage goes into the store again") == 1
    assert count(lines, "the store is away") == count(lines, "the store is back") == workers


def stored(gateway: Gateway) -> float:
    """How many records have been moved into the store."""
    return metric(gateway.admin_url, "gateway_usage_records_stored_total")


def count(lines: list[str], text: str) -> int:
    """How many lines of the diagnostics log say it."""
    return sum(re.search(rf"^[A-Z]+ .*{text}", line) is not None for line in lines)
