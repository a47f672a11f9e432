"""The page behind the admin listener's door, as a browser gets in: with the token as a password."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession, encode_basic_auth
from playwright.async_api import Browser

from gateway.admin import create_admin_app, serve_admin
from gateway.config import Admin
from gateway.counters.memory import MemoryCounters
from gateway.exposition import Exposition
from gateway.metrics import Snapshot
from gateway.page import add_usage_page
from gateway.secrets import Secret
from tests.admin.rig import BEARER, BRANCHES, LOOPBACK, TOKEN
from tests.page.rig import DEFAULTS, MODELS
from tests.support.identity import opened

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """Of an admin listener with the page."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(opened(tmp_path / "gateway.db"))
        counters = MemoryCounters(tmp_path / "counters")
        stack.push_async_callback(counters.close)
        app = create_admin_app(
            ready=lambda: (True, "serving"),
            exposition=Exposition(Snapshot),
            store=store,
            targets=list,
            settings=Admin(token=Secret(TOKEN, "env:TEST")),
            listen=LOOPBACK,
        )
        add_usage_page(
            app,
            store=store,
            snapshot=Snapshot,
            counters=counters,
            targets=list,
            defaults=DEFAULTS,
            models=MODELS,
        )
        yield await serve_admin(stack, LOOPBACK, app)


async def test_a_browser_gets_in_with_the_token_as_password(url: str, browser: Browser) -> None:
    for password, status in ((TOKEN, 200), (TOKEN + "x", 401)):
        context = await browser.new_context(http_credentials={"username": "any", "password": password})
        page = await context.new_page()
        response = await page.goto(f"{url}/usage")
        assert response is not None
        assert response.status == status
        if status == 200:
            await page.get_by_role("link", name="30 days").click()
            assert await page.get_by_role("heading", level=1).inner_text() == "Usage of the project default"
            # It says what the browser sends by itself from now on; a page elsewhere could have it sent.
            assert (await page.goto(f"{url}{BRANCHES}")).status == 401  # type: ignore[union-attr]
        await context.close()


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic",
        "Basic " + b64encode(TOKEN.encode()).decode(),
        "Basic " + b64encode(f"{TOKEN}:".encode()).decode(),
        "Basic " + b64encode(f"a:{TOKEN}:".encode()).decode(),
        "Basic " + b64encode(f"a:{TOKEN}".encode()).decode()[:-3],
        "Basic " + b64encode("a:\u00e4".encode()).decode(),
        "Basic =====",
        f"Basic a:{TOKEN}",
    ],
)
async def test_what_is_no_password_opens_nothing(url: str, authorization: str) -> None:
    async with (
        ClientSession(headers={"Authorization": authorization}) as session,
        session.get(f"{url}/usage") as response,
    ):
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic realm=")
        assert not re.search("[<>]", await response.text())


async def test_a_password_opens_nothing_but_the_page(url: str) -> None:
    basic = {"Authorization": encode_basic_auth("any", TOKEN)}
    async with ClientSession() as session:
        for method in ("GET", "HEAD"):
            async with session.request(method, f"{url}/usage", headers=basic) as response:
                assert response.status == 200
        async with session.get(f"{url}/usage", headers=BEARER) as response:
            assert response.status == 200
        for method, path in (("POST", "/usage"), ("GET", "/usage/"), ("GET", BRANCHES), ("POST", BRANCHES)):
            async with session.request(method, f"{url}{path}", headers=basic) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
