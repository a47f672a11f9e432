"""The OpenAPI document says what the API does: a running gateway is asked what it allows, and what not."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, settings

from gateway.admin.app import OPERATIONS
from gateway.admin.openapi import document
from gateway.stores import PrincipalType
from tests.admin.rig import BEARER, TOKEN
from tests.support.gateway import SIMULATED, Gateway, start_gateway
from tests.support.identity import opened
from tests.support.machine import PROJECT
from tests.support.operator import rows

CREDENTIAL = "credential000001"
THERE = {"project": "default", "branch": "main", "credential": CREDENTIAL}


@dataclass
class Rig:
    """A running gateway whose `main` has a child, so that it can't be deleted, and a credential."""

    gateway: Gateway
    store_path: Path


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    directory = tmp_path_factory.mktemp("gateway")
    asyncio.run(_populate(directory / "gateway.db"))
    admin = '[admin]\ntoken = "env:ADMIN_TOKEN"\n'
    gateway = start_gateway(directory, admin + SIMULATED, {"ADMIN_TOKEN": TOKEN})
    try:
        yield Rig(gateway, directory / "gateway.db")
    finally:
        code = gateway.stop()
    assert code == 0
    assert [
        line for line in gateway.log_lines() if "ERROR" in line or "Traceback" in line or TOKEN in line
    ] == []


async def _populate(path: Path) -> None:
    async with opened(path) as store:
        await store.create_branch("default", "child", "main")
        await store.create_credential(
            "default",
            "main",
            credential_id=CREDENTIAL,
            token_hash=bytes(32),
            name="",
            principal_type=PrincipalType.USER,
            scopes=["ai_gateway:invoke"],
            lifetime=None,
        )


def _of_what_is_there() -> Any:
    """The document of a gateway on whose paths nothing is but `THERE`: random names would all be 404."""
    described = deepcopy(document(OPERATIONS))
    for path in described["paths"].values():
        for operation in path.values():
            for parameter in operation["parameters"]:
                if parameter["in"] == "path":
                    parameter["schema"] = {"enum": [THERE[parameter["name"]]]}
    return described


anywhere = schemathesis.openapi.from_dict(document(OPERATIONS))
there = schemathesis.openapi.from_dict(_of_what_is_there())
few = settings(max_examples=8, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


def has_whole_floats(value: object) -> bool:
    """Whether a `7.0` is in it: an integer to JSON Schema, which the API refuses where it counts."""
    if isinstance(value, dict):
        return any(map(has_whole_floats, value.values()))
    if isinstance(value, list):
        return any(map(has_whole_floats, value))
    return isinstance(value, float) and value.is_integer()


def ask(rig: Rig, case: schemathesis.Case[Any]) -> None:
    """Send it: the answer must be one of the document's, and what was refused must have changed nothing."""
    assume(not has_whole_floats(case.body))
    before = rows(rig.store_path)
    response = case.call(base_url=rig.gateway.admin_url, headers=BEARER)
    after = rows(rig.store_path)
    if response.status_code >= 400:
        assert after == before
    case.validate_response(response, headers=BEARER)
    assert rows(rig.store_path) == after


@anywhere.parametrize()
@few
def test_whatever_is_asked_for(rig: Rig, case: schemathesis.Case[Any]) -> None:
    ask(rig, case)


@there.parametrize()
@few
def test_of_what_is_there_whatever_is_asked_for(rig: Rig, case: schemathesis.Case[Any]) -> None:
    assume(case.path_parameters.items() <= THERE.items())  # those made here are there as well
    ask(rig, case)


def test_the_gateway_serves_its_document(rig: Rig) -> None:
    with urlopen(
        Request(rig.gateway.admin_url + "/api/v2/openapi.json", headers=BEARER), timeout=20
    ) as answer:
        served = json.load(answer)
    assert served == json.loads(json.dumps(document(OPERATIONS)))
    anywhere.validate()


def test_every_operation_has_its_line_in_the_manual_and_every_line_its_operation() -> None:
    manual = (PROJECT / "docs" / "admin-api.md").read_text()
    lines = re.findall(r"^\| `([A-Z]+ /api/\S+)` \|", manual, re.MULTILINE)
    assert lines == [f"{operation.method} {operation.path}" for operation in OPERATIONS]
