"""The admin API of a running gateway, of one process and of two workers: what it changes holds."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.service.rig import DEADLINE, ask, get, running
from tests.support.gateway import Gateway

TOKEN = "an-admin-token-of-the-service-tests"
CREDENTIALS = "/api/v2/projects/default/branches/main/credentials"
REVOKED_WITHIN = 5.0
"""Seconds after the answer, by the contract."""
EVERYWHERE = 20
"""So many connections in a row reach every worker, but for one time in a million."""


@pytest.fixture(scope="module", params=["1", "2"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of so many workers with an admin token."""
    settings = {
        "SERVER__WORKERS": request.param,
        "ADMIN__TOKEN": "env:GATEWAY_ADMIN_TOKEN",
        "ADMIN_TOKEN": TOKEN,
        "LIMITS__TOKENS_PER_MINUTE": "0",  # asked without a pause until a revocation is seen
    }
    with running(tmp_path_factory.mktemp("gateway"), **settings) as started:
        yield started
    assert not any(TOKEN in line for line in started.log_lines())


def manage(gateway: Gateway, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Status and content of the admin API's answer."""
    address = urlsplit(gateway.admin_url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=DEADLINE)
    try:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content else None
    finally:
        connection.close()


def test_a_credential_of_the_api_is_good_until_it_is_revoked_there(gateway: Gateway) -> None:
    wanted = {"scopes": ["ai_gateway:invoke"], "principal_type": "user", "name": "Ann's laptop"}
    status, made = manage(gateway, "POST", CREDENTIALS, wanted)
    assert status == 201
    token = made["api_token"]
    assert [ask(gateway.url, token).status for _ in range(EVERYWHERE)] == [200] * EVERYWHERE
    assert manage(gateway, "DELETE", f"{CREDENTIALS}/{made['token_id']}") == (204, None)
    deadline = time.monotonic() + REVOKED_WITHIN
    refused = 0
    while refused < EVERYWHERE:
        refused = refused + 1 if ask(gateway.url, token).status == 401 else 0
        assert refused or time.monotonic() < deadline, "still good somewhere"
    assert ask(gateway.url, gateway.token).status == 200


def test_the_command_line_sees_what_the_api_changed_and_the_other_way_round(gateway: Gateway) -> None:
    status, changed = manage(gateway, "PATCH", "/api/v2/projects/default/limits", {"tokens_per_day": 123})
    assert (status, changed["tokens_per_day"]) == (200, 123)
    (shown,) = json.loads(gateway.command("limits", "show", "--json"))
    assert {name: shown[name] for name in changed} == changed
    gateway.command("limits", "set", "--tokens-per-day", "none")
    assert manage(gateway, "GET", "/api/v2/projects/default/limits")[1]["tokens_per_day"] is None
    entries = manage(gateway, "GET", "/api/v2/projects/default/audit")[1]["audit"]
    by_command, by_api = (entry for entry in entries if entry["action"] == "limits.set")
    assert by_command["actor"].startswith("cli:")
    assert by_api["actor"] == "admin"


def test_health_and_metrics_stay_open_on_loopback(gateway: Gateway) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert get(gateway.admin_url, path).status == 200
    assert get(gateway.admin_url, CREDENTIALS).status == 401
