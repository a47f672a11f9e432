"""How the upstreams are, as the API and the command tell it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.upstreams.target_state import State, TargetState
from tests.admin.rig import TOKEN, running_admin
from tests.support.operator import Operator
from tests.support.ports import refusing_port
from tests.support.raw_upstream import RawUpstream
from tests.support.script import response
from tests.test_target_state import READY

COOLING = replace(
    READY,
    key="2",
    state=State.COOLING,
    cause="quota",
    until=1793534400.5,  # 2026-11-01T12:00:00.5Z
    requests=1234,
    error_share=0.25,
    first_byte_p95=None,
)
TARGETS = [READY, COOLING]
AS_JSON = [
    {
        "upstream": "studio",
        "kind": "ai-studio",
        "key": "1",
        "model": "gemini-2-5-flash",
        "priority": 1,
        "weight": 1,
        "state": "ready",
        "cause": None,
        "until": None,
        "in_flight": 2,
        "requests": 10,
        "error_share": 0.1,
        "first_byte_p50_seconds": 0.5,
        "first_byte_p95_seconds": 2.0,
    },
    {
        "upstream": "studio",
        "kind": "ai-studio",
        "key": "2",
        "model": "gemini-2-5-flash",
        "priority": 1,
        "weight": 1,
        "state": "cooling",
        "cause": "quota",
        "until": "2026-11-01T12:00:00.500000Z",
        "in_flight": 2,
        "requests": 1234,
        "error_share": 0.25,
        "first_byte_p50_seconds": 0.5,
        "first_byte_p95_seconds": None,
    },
]
TABLE = """\
UPSTREAM  KEY  MODEL             PRIORITY  STATE    CAUSE  UNTIL                 IN FLIGHT  REQUESTS  ERRORS     P50     P95
studio    1    gemini-2-5-flash         1  ready    -      -                             2        10   10.0%  0.500s  2.000s
studio    2    gemini-2-5-flash         1  cooling  quota  2026-11-01T12:00:01Z          2     1,234   25.0%  0.500s       -
"""  # noqa: E501 - as it is printed


async def test_the_api_tells_of_each_target(tmp_path: Path) -> None:
    async with running_admin(tmp_path, targets=lambda: TARGETS) as admin:
        assert await admin.get("/api/v2/upstreams") == {"targets": AS_JSON}
        assert (await admin.ask("GET", "/api/v2/upstreams?model=x")).refusal == (400, "BAD_REQUEST")


@pytest.fixture
def there(operator: Operator) -> Operator:
    """Whose configuration has an admin token."""
    token = operator.config_path.parent / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    with operator.config_path.open("a") as file:
        file.write(f'[admin]\ntoken = "file:{token}"\n[server]\nadmin_listen = "127.0.0.1:1"\n')
    return operator


def listens(operator: Operator, address: str) -> None:
    """Have the configuration say that the gateway's admin listener is there."""
    text = operator.config_path.read_text()
    operator.config_path.write_text(text.replace("127.0.0.1:1", address))


async def asked(operator: Operator, *arguments: str) -> tuple[int, str, str]:
    """The command beside the event loop of the gateway that it asks."""
    return await asyncio.to_thread(operator.run, "upstreams", *arguments)


@asynccontextmanager
async def served(operator: Operator, folder: Path, targets: list[TargetState]) -> AsyncIterator[None]:
    """A gateway where the operator's configuration says."""
    async with running_admin(folder, targets=lambda: targets) as admin:
        listens(operator, urlsplit(admin.url).netloc)
        yield


async def test_the_command_prints_the_same(there: Operator, tmp_path: Path) -> None:
    async with served(there, tmp_path, TARGETS):
        code, out, err = await asked(there)
        assert (code, err) == (0, "")
        assert out == TABLE
        code, out, err = await asked(there, "--json")
        assert (code, json.loads(out), err) == (0, AS_JSON, "")


async def test_none_was_asked_yet(there: Operator, tmp_path: Path) -> None:
    async with served(there, tmp_path, []):
        assert await asked(there) == (0, "", "no upstream was asked yet\n")


def test_without_a_token_there_is_none_to_ask(operator: Operator) -> None:
    code, out, err = operator.run("upstreams")
    assert (code, out) == (1, "")
    assert err == "error: admin.token is not set: without one a gateway tells nobody how its upstreams are\n"


def test_where_none_runs(there: Operator) -> None:
    with refusing_port() as port:
        listens(there, f"127.0.0.1:{port}")
        code, out, err = there.run("upstreams")
    assert (code, out) == (1, "")
    assert err == f"error: no gateway answers on 127.0.0.1:{port}: Connection refused\n"


def test_where_no_socket_is(there: Operator, tmp_path: Path) -> None:
    listens(there, f"unix:{tmp_path}/none")
    code, out, err = there.run("upstreams")
    assert (code, out) == (1, "")
    assert err == f"error: no gateway answers on unix:{tmp_path}/none: No such file or directory\n"


def test_which_port_the_system_chose_is_not_known(there: Operator) -> None:
    listens(there, "127.0.0.1:0")
    code, out, err = there.run("upstreams")
    assert (code, out) == (1, "")
    assert err == "error: server.admin_listen is 127.0.0.1:0: which port a running gateway has is not known\n"


async def test_another_token_is_told_apart(there: Operator, tmp_path: Path) -> None:
    async with served(there, tmp_path, TARGETS):
        (there.config_path.parent / "token").write_text("another-admin-token")
        code, out, err = await asked(there)
        assert (code, out) == (1, "")
        assert err.endswith("has another admin.token\n")
        assert "another-admin-token" not in err
        (there.config_path.parent / "token").unlink()
        code, out, err = await asked(there)
        assert (code, out) == (2, "")
        assert err.startswith("error: admin.token: file:")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (response(headers=[("Content-Type", "text/html")], body=b"<p>"), "is no gateway, or one of another"),
        (response(headers=[], body=b'{"targets": [{}]}'), "is no gateway, or one of another version"),
        (response(404, headers=[], body=b""), "does so with status 404"),
    ],
)
def test_something_else_that_answers(there: Operator, answer: object, said: str) -> None:
    with RawUpstream() as other:
        other.answer_always(answer)  # type: ignore[arg-type]
        listens(there, f"127.0.0.1:{other.port}")
        code, out, err = there.run("upstreams")
        assert (code, out) == (1, "")
        assert said in err
