"""Health, readiness and metrics, over real connections."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from gateway.exchange import Exchange
from gateway.exposition import Exposition
from gateway.observe import Observer
from tests.admin.rig import AdminClient, running_admin


@dataclass
class Monitored:
    """A running admin listener; `state` is what its `ready` answers."""

    client: AdminClient
    observer: Observer
    log: Path
    state: tuple[bool, str] = (True, "serving")


@pytest.fixture
async def monitored(tmp_path: Path) -> AsyncIterator[Monitored]:
    log = tmp_path / "access.log"
    fd = os.open(log, os.O_WRONLY | os.O_CREAT)
    observer = Observer(models=frozenset({"gemini-3-pro"}), log_fd=fd)
    async with running_admin(
        tmp_path, token=None, ready=lambda: running.state, snapshot=observer.snapshot
    ) as client:
        running = Monitored(client, observer, log)
        yield running
    await observer.close()
    os.close(fd)


async def test_healthy_while_the_loop_runs(monitored: Monitored) -> None:
    monitored.state = (False, "draining")
    reply = await monitored.client.ask("GET", "/healthz")
    assert (reply.status, reply.body) == (200, b"ok\n")


async def test_readiness_follows_the_gateway(monitored: Monitored) -> None:
    reply = await monitored.client.ask("GET", "/readyz")
    assert (reply.status, reply.json) == (200, {"ready": True, "reason": "serving"})
    monitored.state = (False, "draining")
    reply = await monitored.client.ask("GET", "/readyz")
    assert (reply.status, reply.json) == (503, {"ready": False, "reason": "draining"})


async def test_metrics_come_in_the_format_asked_for(monitored: Monitored) -> None:
    monitored.observer.begin()
    exchange = Exchange()
    exchange.status = 401
    exchange.reason = "CREDENTIAL_INVALID"
    monitored.observer.finish(exchange)
    reply = await monitored.client.ask("GET", "/metrics")
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'status="401"' in reply.body
    accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    reply = await monitored.client.ask("GET", "/metrics", headers={"Accept": accept})
    assert reply.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    text = reply.body.decode()
    families = {family.name: family for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]
    [sample] = families["gateway_requests"].samples
    assert (sample.labels["reason"], sample.value) == ("CREDENTIAL_INVALID", 1)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/nothing-here", "/api/v2/openapi.json"])
async def test_no_answer_tells_versions_or_is_cached(monitored: Monitored, path: str) -> None:
    reply = await monitored.client.ask("GET", path)
    assert reply.headers["Server"] == "gateway"
    assert reply.headers["Cache-Control"] == "no-store"


async def test_probes_and_scrapes_are_not_counted_or_logged(monitored: Monitored) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await monitored.client.ask("GET", path)).status == 200
    assert (await monitored.client.ask("POST", "/readyz")).status == 405
    text = Exposition(monitored.observer.snapshot).render("")[0].decode()
    assert "gateway_open_requests 0.0\n" in text
    assert "gateway_requests_total{" not in text
    await monitored.observer.close()
    assert monitored.log.read_bytes() == b""
