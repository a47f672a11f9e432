"""The admin listener over real connections."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from gateway.admin import create_admin_app
from gateway.exchange import Exchange
from gateway.exposition import Exposition
from gateway.observe import Observer


@dataclass
class Admin:
    """A running admin listener; `state` is what its `ready` answers."""

    client: ClientSession
    observer: Observer
    log: Path
    state: tuple[bool, str] = (True, "serving")


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Admin]:
    log = tmp_path / "access.log"
    fd = os.open(log, os.O_WRONLY | os.O_CREAT)
    observer = Observer(models=frozenset({"gemini-3-pro"}), log_fd=fd)
    app = create_admin_app(ready=lambda: running.state, exposition=Exposition(observer.snapshot))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
        running = Admin(client, observer, log)
        yield running
    await runner.cleanup()
    await observer.close()
    os.close(fd)


async def test_healthy_while_the_loop_runs(admin: Admin) -> None:
    admin.state = (False, "draining")
    async with admin.client.get("/healthz") as response:
        assert (response.status, await response.text()) == (200, "ok\n")


async def test_readiness_follows_the_gateway(admin: Admin) -> None:
    async with admin.client.get("/readyz") as response:
        assert response.status == 200
        assert await response.json() == {"ready": True, "reason": "serving"}
    admin.state = (False, "draining")
    async with admin.client.get("/readyz") as response:
        assert response.status == 503
        assert await response.json() == {"ready": False, "reason": "draining"}


async def test_metrics_come_in_the_format_asked_for(admin: Admin) -> None:
    admin.observer.begin()
    exchange = Exchange()
    exchange.status = 401
    exchange.reason = "CREDENTIAL_INVALID"
    admin.observer.finish(exchange)
    async with admin.client.get("/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert 'status="401"' in await response.text()
    accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    async with admin.client.get("/metrics", headers={"Accept": accept}) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        text = await response.text()
    families = {family.name: family for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]
    [sample] = families["gateway_requests"].samples
    assert (sample.labels["reason"], sample.value) == ("CREDENTIAL_INVALID", 1)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/nothing-here"])
async def test_no_answer_tells_versions_or_is_cached(admin: Admin, path: str) -> None:
    async with admin.client.get(path) as response:
        assert response.headers["Server"] == "gateway"
        assert response.headers["Cache-Control"] == "no-store"


async def test_probes_and_scrapes_are_not_counted_or_logged(admin: Admin) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        async with admin.client.get(path) as response:
            assert response.status == 200
    async with admin.client.post("/readyz") as response:
        assert response.status == 405
    text = Exposition(admin.observer.snapshot).render("")[0].decode()
    assert "gateway_open_requests 0.0\n" in text
    assert "gateway_requests_total{" not in text
    await admin.observer.close()
    assert admin.log.read_bytes() == b""
