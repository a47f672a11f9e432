"""The page as HTTP answers: its headers, what it refuses, what it never says."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from urllib.parse import quote

import pytest
from aiohttp import ClientResponse, ClientSession

from gateway import tokens
from tests.page.rig import Rig, record
from tests.support.identity import damaged, issue

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(rig: Rig, query: str = "", method: str = "GET") -> tuple[ClientResponse, str]:
    async with ClientSession() as session, session.request(method, f"{rig.url}?{query}") as response:
        return response, await response.text()


async def test_a_browser_may_do_nothing_with_it_but_show_it(rig: Rig) -> None:
    await rig.store.add_usage([await record(rig)])
    for query, status in (("", 200), ("period=1y", 400), ("project=none", 404)):
        response, text = await ask(rig, query)
        assert response.status == status
        policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
        (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
        digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policy == {
            "default-src": "'none'",
            "style-src": f"'sha256-{digest}'",
            "img-src": "data:",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert " style=" not in text
        assert not re.search(
            r"<script|<link(?! rel=\"icon\" href=\"data:)|<img|\bon[a-z]+=|https?:(?!//www\.w3\.org)", text
        )
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("period=1y", "period &#34;1y&#34;: one of 24h, 7d, 30d"),
        ("period=", "period &#34;&#34;: one of 24h, 7d, 30d"),
        ("by=day", "by &#34;day&#34;: one of branch, credential, model, upstream"),
        ("by=%3Cscript%3E", "by &#34;&lt;script&gt;&#34;: one of"),
        ("since=7d", "no parameter &#34;since&#34;: there are project, period and by"),
        ("by=model&by=model", "a parameter was given twice"),
        ("project=", "project &#34;&#34;: neither an id nor a name"),
        ("project=%00", "project &#34;?&#34;: neither an id nor a name"),
        ("project=" + quote("'; DROP TABLE projects; --"), "neither an id nor a name"),
        ("project=" + "a" * 5_000, "neither an id nor a name"),
    ],
)
async def test_bad_input_is_refused_with_a_reason(rig: Rig, query: str, reason: str) -> None:
    response, text = await ask(rig, query)
    assert response.status == 400
    assert reason in text


async def test_a_project_that_is_not_there(rig: Rig) -> None:
    response, text = await ask(rig, "project=elsewhere")
    assert response.status == 404
    assert "there is no project &#34;elsewhere&#34;" in text


async def test_a_project_goes_by_its_name_and_by_its_id(rig: Rig) -> None:
    made = await rig.store.create_project("team/search")
    for reference in (made.id, "team%2Fsearch"):
        response, text = await ask(rig, f"project={reference}")
        assert response.status == 200
        assert "Usage of the project <bdi>team/search</bdi>" in text


async def test_the_store_being_away_is_said(rig: Rig) -> None:
    with damaged(rig.path):
        response, text = await ask(rig)
    assert response.status == 503
    assert response.headers["Retry-After"] == "5"
    assert "Usage can't be shown" in text


async def test_it_can_be_read_and_nothing_else(rig: Rig) -> None:
    response, text = await ask(rig, method="HEAD")
    assert (response.status, text) == (200, "")
    for method in ("POST", "PUT", "DELETE"):
        response, _ = await ask(rig, method=method)
        assert response.status == 405


async def test_it_tells_nothing_of_a_token_but_its_public_id(rig: Rig) -> None:
    token = await issue(rig.store)
    _, text = await ask(rig, "by=credential")
    assert tokens.token_id(token) in text
    assert token.rsplit("_", 1)[1] not in text
    assert tokens.hash_token(token).hex() not in text
    assert str(tokens.hash_token(token)) not in text
