"""Who gets past the admin listener's door: with which token, under which names, and what is told of it."""

from __future__ import annotations

import asyncio
import base64
import logging
from pathlib import Path

import pytest

from tests.admin.rig import BRANCHES, TOKEN, AdminClient, running_admin

OPEN = ("/healthz", "/readyz", "/metrics")
CLOSED = (BRANCHES, "/api/v2/openapi.json", "/nothing-here", "/", "/healthz/", "//healthz", "/usage/")
WRONG = {
    "none": [],
    "another": [("Authorization", f"Bearer {TOKEN}x")],
    "the beginning of it": [("Authorization", f"Bearer {TOKEN[:-1]}")],
    "no scheme": [("Authorization", TOKEN)],
    "another scheme": [("Authorization", f"Basic {TOKEN}")],
    "two": [("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")],
    "two in one": [("Authorization", f"Bearer {TOKEN}, Bearer {TOKEN}")],
    "not ASCII": [("Authorization", "Bearer \u00e4\u00f6")],
    "a long one": [("Authorization", "Bearer " + "x" * 7000)],
    "a client's": [("Authorization", f"Bearer nt_live_{'a' * 16}_{'0' * 64}")],
    "the header of clients": [("x-goog-api-key", TOKEN)],
}


@pytest.fixture
async def anonymous(admin: AdminClient) -> AdminClient:
    """Without the token."""
    del admin.session.headers["Authorization"]
    return admin


async def test_without_a_token_configured_health_and_metrics_alone_are_there(tmp_path: Path) -> None:
    async with running_admin(tmp_path, token=None) as admin:
        for path in OPEN:
            assert (await admin.ask("GET", path)).status == 200
        for path in CLOSED:
            for headers in ({}, {"Authorization": f"Bearer {TOKEN}"}, {"Authorization": "Bearer None"}):
                reply = await admin.ask("GET", path, headers=headers)
                assert reply.refusal == (403, "ADMIN_TOKEN_NOT_SET")
                assert "set admin.token" in reply.json["message"]
        before = admin.content()
        reply = await admin.ask("POST", BRANCHES, {"branch": {"name": "x"}})
        assert reply.refusal == (403, "ADMIN_TOKEN_NOT_SET")
        assert admin.content() == before


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_token_opens_nothing(anonymous: AdminClient, wrong: str) -> None:
    for path in OPEN:
        assert (await anonymous.ask("GET", path, headers=WRONG[wrong])).status == 200
    before = anonymous.content()
    for method, path in [*(("GET", path) for path in CLOSED), ("POST", BRANCHES), ("PUT", BRANCHES)]:
        body = {"branch": {"name": "x"}} if method == "POST" else None
        reply = await anonymous.ask(method, path, body, headers=WRONG[wrong])
        assert reply.refusal == (401, "UNAUTHENTICATED")
        assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert anonymous.content() == before


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER  "])
async def test_the_token_opens_all(anonymous: AdminClient, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {TOKEN}"}
    assert (await anonymous.ask("GET", BRANCHES, headers=headers)).status == 200
    assert (await anonymous.ask("GET", "/nothing-here", headers=headers)).refusal == (404, "NOT_FOUND")


def basic(pair: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


@pytest.mark.parametrize("pair", [f":{TOKEN}", f"ann:{TOKEN}", f"\u00e4:{TOKEN}"])
async def test_a_browser_gets_to_the_page_with_the_token_as_password(
    anonymous: AdminClient, pair: str
) -> None:
    for method in ("GET", "HEAD"):
        # Past the guard: this listener has no page.
        assert (await anonymous.ask(method, "/usage", headers=basic(pair))).status == 404
    for method, path in (
        ("POST", "/usage"),
        ("GET", BRANCHES),
        ("GET", "/api/v2/openapi.json"),
        ("GET", "/"),
    ):
        reply = await anonymous.ask(method, path, headers=basic(pair))
        assert reply.refusal == (401, "UNAUTHENTICATED")
        assert reply.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "pair", ["", ":", TOKEN, f"{TOKEN}:", f"{TOKEN}:x", f"ann:{TOKEN}x", f"ann::{TOKEN}"]
)
async def test_a_browser_with_another_password_is_asked_for_it(anonymous: AdminClient, pair: str) -> None:
    for headers in (basic(pair), {"Authorization": "Basic =!"}, {"Authorization": "Basic A"}, {}):
        reply = await anonymous.ask("GET", "/usage", headers=headers)
        assert reply.refusal == (401, "UNAUTHENTICATED")
        assert reply.headers["WWW-Authenticate"] == 'Basic realm="gateway admin", charset="UTF-8"'


@pytest.mark.parametrize("address", ["0.0.0.0:8081", "[::]:8081", "192.0.2.1:8081", "gateway.example:8081"])
async def test_elsewhere_than_on_loopback_nothing_is_open(tmp_path: Path, address: str) -> None:
    async with running_admin(tmp_path, configured=address) as admin:
        for path in OPEN:
            assert (await admin.ask("GET", path)).status == 200
        del admin.session.headers["Authorization"]
        for path in (*OPEN, *CLOSED):
            assert (await admin.ask("GET", path)).refusal == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/admin.sock"])
async def test_on_loopback_health_and_metrics_are_open(tmp_path: Path, address: str) -> None:
    async with running_admin(tmp_path, configured=address) as admin:
        del admin.session.headers["Authorization"]
        for path in OPEN:
            assert (await admin.ask("GET", path)).status == 200
        assert (await admin.ask("GET", BRANCHES)).refusal == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8081", 200),
        ("127.0.0.1:8081", 200),
        ("[::1]", 200),
        ("192.0.2.7:80", 200),
        ("gateway.example:8081", 200),
        ("admin.internal", 200),
        ("Admin.Internal:9", 200),
        ("attacker.example:8081", 403),
        ("admin.internal.attacker.example", 403),
        ("attacker.admin.internal", 403),
        ("localhost.attacker.example", 403),
        ("127.0.0.1.attacker.example", 403),
        ("localhost:8081@attacker.example", 403),
        ("localhost:80:81", 403),
        ("::1", 403),
        ("[admin.internal]", 403),
        ("", 403),
        ("localhost/", 403),
        ("x" * 5000, 403),
    ],
)
async def test_the_listener_answers_under_its_own_names_alone(tmp_path: Path, host: str, status: int) -> None:
    async with running_admin(tmp_path, hosts=["admin.internal"], configured="gateway.example:8081") as admin:
        for path in (*OPEN, BRANCHES):
            reply = await admin.ask("GET", path, headers={"Host": host})
            assert reply.status == status
            if status == 403:
                assert reply.refusal == (403, "HOST_NOT_ALLOWED")


async def raw(admin: AdminClient, request: bytes) -> bytes:
    """All that comes back until the connection ends."""
    host, _, port = admin.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await writer.wait_closed()
    return answer


async def test_who_names_no_host_is_no_browser(admin: AdminClient) -> None:
    assert (await raw(admin, b"GET /healthz HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.0 200 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nAuthorization: Bearer %s\x00\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: %s.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nAuthorization %s\r\n\r\n",
        b"GET / HTTP/1.1\r\nAuth\x01orization: %s\r\n\r\n",
        b"%s\r\n\r\n",
        b"GET /%s HTTP/9\r\n\r\n",
        b"GET /?%s\x00 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s" + b"x" * 9000 + b"\r\n\r\n",
        b"POST /api/v2/projects HTTP/1.1\r\nContent-Length: %s\r\n\r\n",
        b"POST " + BRANCHES.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + TOKEN.encode() + b"\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
    ],
)
async def test_malformed_http_is_refused_without_a_word_of_it(
    admin: AdminClient, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = await raw(admin, request_bytes.replace(b"%s", TOKEN.encode()))
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert TOKEN[:8].encode() not in answer
    assert TOKEN[:8] not in caplog.text


async def test_a_client_that_leaves_in_its_body_is_no_fault_of_ours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_admin(tmp_path) as admin:
        host, _, port = admin.url.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST {BRANCHES} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Content-Type: application/json\r\nContent-Length: 50\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        await asyncio.wait_for(reader.readuntil(b"100 Continue\r\n\r\n"), 20)
        before = admin.content()
        writer.write(b'{"branch": ')
        writer.close()
        await writer.wait_closed()
        assert (await admin.ask("GET", BRANCHES)).status == 200
        assert admin.content() == before
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
