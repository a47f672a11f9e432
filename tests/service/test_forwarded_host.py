"""`X-Forwarded-Host`: counts from a trusted proxy, where a host names a branch, and where it is one value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.service.rig import client, request, running

SUFFIX = ".ai.example.com"
BODY = b'{"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}'


async def status(gateway_options: dict[str, str], directory: Path, forwarded: str, host: str = "x") -> int:
    """Of the answer to a good request with that header; `{}` in it stands for the host of branch `main`."""
    with running(directory, **gateway_options) as gateway:
        [main] = json.loads(gateway.command("branches", "list", "--json"))
        own = f"{main['id']}-api{SUFFIX}"
        lines = f"Host: {host.format(own)}\r\nX-Forwarded-Host: {forwarded.format(own)}\r\n".encode()
        async with client(gateway) as raw:
            await raw.send(request(gateway.token, BODY).replace(b"Host: gateway.test\r\n", lines))
            return (await raw.read_response("POST")).status


TRUSTED = {"SERVER__TRUSTED_PROXIES": "127.0.0.0/8"}
SUFFIXES = {"BRANCHES__TRUSTED_SUFFIXES": SUFFIX}


@pytest.mark.parametrize(
    ("options", "forwarded", "host", "expected"),
    [
        (TRUSTED | SUFFIXES, "{}", "elsewhere.test", 200),
        (TRUSTED | SUFFIXES, "elsewhere.test", "{}", 403),
        (TRUSTED | SUFFIXES, "{0}, {0}", "{}", 400),
        (SUFFIXES, "{}", "elsewhere.test", 403),
        (SUFFIXES, "elsewhere.test", "{}", 200),
        (TRUSTED, "a, b", "x", 200),
    ],
)
async def test_it_counts_where_it_should(
    tmp_path: Path, options: dict[str, str], forwarded: str, host: str, expected: int
) -> None:
    assert await status(options, tmp_path, forwarded, host) == expected
