"""What the admin API says when it can't: the store away, a fault of ours. Health and metrics go on."""

from __future__ import annotations

import logging

import pytest

from tests.admin.rig import BRANCHES, CREDENTIALS, AdminClient
from tests.support.identity import damaged

WANTED = {"scopes": ["ai_gateway:invoke"], "principal_type": "user"}
ASKED = [
    ("GET", BRANCHES, None),
    ("POST", BRANCHES, {"branch": {"name": "x"}}),
    ("POST", CREDENTIALS, WANTED),
    ("GET", "/api/v2/projects/default/limits", None),
    ("PATCH", "/api/v2/projects/default/limits", {"tokens_per_day": 1}),
    ("GET", "/api/v2/projects/default/usage", None),
    ("GET", "/api/v2/projects/default/audit", None),
]


async def test_the_store_is_away_for_a_while(admin: AdminClient) -> None:
    before = admin.content()
    with damaged(admin.store_path):
        for method, path, body in ASKED:
            reply = await admin.ask(method, path, body)
            assert reply.refusal == (503, "STORE_UNAVAILABLE")
            assert int(reply.headers["Retry-After"]) > 0
        for path in ("/healthz", "/readyz", "/metrics", "/api/v2/openapi.json"):
            assert (await admin.ask("GET", path)).status == 200
    assert admin.content() == before
    assert (await admin.ask("GET", BRANCHES)).status == 200
    assert (await admin.ask("POST", BRANCHES, {"branch": {"name": "x"}})).status == 201


async def test_a_fault_of_ours_tells_the_client_nothing(
    admin: AdminClient, caplog: pytest.LogCaptureFixture
) -> None:
    await admin.store.close()  # which nothing else would do before the listener ends
    for method, path, body in ASKED:
        reply = await admin.ask(method, path, body)
        assert reply.refusal == (500, "INTERNAL")
        assert reply.json["message"] == "internal error"
    faults = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(faults) == len(ASKED)
    assert faults[0].startswith("GET /api/v2/projects/{project}/branches: ")
    assert "Traceback" not in caplog.text
