"""A limit that was set holds on every worker within five seconds, and so does its end."""

from __future__ import annotations

import time
from pathlib import Path

from tests.service.rig import ask, running
from tests.service.test_admin_api import CREDENTIALS, EVERYWHERE, TOKEN, manage
from tests.support.gateway import Gateway

WITHIN = 5.0
"""Seconds after the answer, or the end of the command."""


def seen_everywhere(gateway: Gateway, token: str, status: int) -> None:
    """So many connections in a row that each worker has some of them get that answer, in time."""
    deadline = time.monotonic() + WITHIN
    seen = 0
    while seen < EVERYWHERE:
        seen = seen + 1 if ask(gateway.url, token).status == status else 0
        assert seen or time.monotonic() < deadline, "some worker does not know it"


def test_a_limit_set_over_the_api_and_taken_away_by_a_command(tmp_path: Path) -> None:
    settings = {"SERVER__WORKERS": "2", "ADMIN__TOKEN": "env:GATEWAY_ADMIN_TOKEN", "ADMIN_TOKEN": TOKEN}
    with running(tmp_path, **settings) as gateway:
        wanted = {"scopes": ["ai_gateway:invoke"], "principal_type": "user", "name": "limited"}
        _, made = manage(gateway, "POST", CREDENTIALS, wanted)
        token, credential = made["api_token"], made["token_id"]
        seen_everywhere(gateway, token, 200)
        changed = {"requests_per_minute": 1}
        status, limits = manage(gateway, "PATCH", f"{CREDENTIALS}/{credential}/limits", changed)
        assert (status, limits["requests_per_minute"]) == (200, 1)
        seen_everywhere(gateway, token, 429)
        seen_everywhere(gateway, gateway.token, 200)  # it is the other's alone
        gateway.command("limits", "set", "--credential", credential, "--requests-per-minute", "none")
        seen_everywhere(gateway, token, 200)
