"""`projects`, `branches` and `credentials`, as an operator uses them."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing

import pytest

from gateway import tokens
from gateway.errors import CREDENTIAL_INVALID, GatewayError
from gateway.identity import Identity
from tests.support.identity import Clock, headers, opened
from tests.support.operator import Operator
from tests.support.process import run

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def test_branches_are_made_listed_and_deleted(operator: Operator) -> None:
    code, out, err = operator.run("branches", "create", "preview/x", "--parent", "main")
    branch = out.strip()
    assert (code, len(out.splitlines()), len(err.splitlines())) == (0, 1, 1)
    assert f"{branch}-api" in err
    child = operator.ask("branches", "create", "preview/x/y", "--parent", branch)
    assert (child["parent_id"], child["parent"]) == (branch, "preview/x")
    listed = operator.ask("branches", "list")
    assert [(row["name"], row["parent"]) for row in listed] == [
        ("main", None),
        ("preview/x", "main"),
        ("preview/x/y", "preview/x"),
    ]
    assert listed[2] == child
    assert child["host_label"] == f"{child['id']}-api"
    assert TIME.fullmatch(child["created"])
    code, out, _ = operator.run("branches", "list")
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["ID", "NAME", "PARENT"],
        *[[row["id"], row["name"], row["parent"] or "-"] for row in listed],
    ]
    assert operator.run("branches", "delete", "preview/x") == (
        1,
        "",
        'error: branch "preview/x" has children; delete those first\n',
    )
    assert operator.run("branches", "delete", child["id"])[0] == 0
    assert operator.ask("branches", "delete", "preview/x") == {
        "id": branch,
        "name": "preview/x",
        "deleted": True,
    }
    assert [row["name"] for row in operator.ask("branches", "list")] == ["main"]


def test_a_credential_is_shown_once_and_alone_on_standard_output(operator: Operator) -> None:
    code, out, err = operator.run("credentials", "create", "--branch", "main")
    assert code == 0
    assert re.fullmatch(r"nt_live_[a-z0-9]{16}_[0-9a-f]{64}\n", out)
    token = out.strip()
    assert tokens.token_id(token) in err
    assert token not in err
    listed = operator.run("credentials", "list")[1] + operator.run("credentials", "list", "--json")[1]
    assert tokens.token_id(token) in listed
    assert token[25:] not in listed
    assert token[25:].encode() not in operator.store_path.read_bytes()


def test_a_credential_as_json_has_id_token_and_all_that_was_asked_for(operator: Operator) -> None:
    main_branch = operator.ask("branches", "list")[0]
    made = operator.ask(
        *["credentials", "create", "--branch", main_branch["id"], "--name", "Ann's laptop"],
        *["--scope", "ai_gateway:invoke", "other", "--scope", "third"],
        *["--principal-type", "user", "--expires", "30d"],
    )
    token = made.pop("api_token")
    assert made["id"] == tokens.token_id(token)
    assert operator.ask("credentials", "list") == [made]
    assert TIME.fullmatch(made["created"])
    assert TIME.fullmatch(made["expires"])
    assert {
        key: made[key] for key in ("name", "branch", "branch_id", "principal_type", "scopes", "revoked")
    } == {
        "name": "Ann's laptop",
        "branch": "main",
        "branch_id": main_branch["id"],
        "principal_type": "user",
        "scopes": ["ai_gateway:invoke", "other", "third"],
        "revoked": None,
    }
    with closing(sqlite3.connect(operator.store_path)) as connection:
        assert connection.execute("SELECT expires - created FROM credentials").fetchone() == (30 * 86400,)


def test_a_credential_is_revoked_by_its_id(operator: Operator) -> None:
    made = operator.ask("credentials", "create", "--branch", "main")
    assert made["scopes"] == ["ai_gateway:invoke"]
    code, out, err = operator.run("credentials", "revoke", made["id"])
    assert (code, out) == (0, "")
    assert made["id"] in err
    (listed,) = operator.ask("credentials", "list")
    assert operator.ask("credentials", "revoke", made["id"]) == {
        "id": made["id"],
        "revoked": listed["revoked"],
    }
    assert f"revoked {listed['revoked']}" in operator.run("credentials", "list")[1]
    before = operator.content()
    for wrong in (made["api_token"], "", "X" * 16, "a" * 15, "'; --", "x" * 10_000):
        code, out, err = operator.run("credentials", "revoke", wrong)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert made["api_token"] not in err
    assert operator.run("credentials", "revoke", "a" * 16) == (
        1,
        "",
        'error: no credential "aaaaaaaaaaaaaaaa"\n',
    )
    assert operator.content() == before


def test_projects_are_apart(operator: Operator) -> None:
    code, out, _ = operator.run("projects", "create", "other")
    other = out.strip()
    assert code == 0
    assert [(p["id"], p["name"]) for p in operator.ask("projects", "list")][1:] == [(other, "other")]
    assert operator.run("projects", "list")[1].splitlines()[2].split()[:2] == [other, "other"]
    operator.ask("branches", "create", "staging", "--project", other)
    operator.ask("credentials", "create", "--branch", "staging", "--project", "other")
    assert [row["name"] for row in operator.ask("branches", "list", "--project", "other")] == [
        "main",
        "staging",
    ]
    assert [row["branch"] for row in operator.ask("credentials", "list", "--project", other)] == ["staging"]
    assert len(operator.ask("branches", "list")) == 1
    assert operator.ask("credentials", "list") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["branches", "create", "main"],
        ["branches", "create", ""],
        ["branches", "create", "a\nb"],
        ["branches", "create", "a\x1b[31m"],
        ["branches", "create", "a\udcff"],
        ["branches", "create", "x" * 10_000],
        ["branches", "create", "'; DROP TABLE branches; --"],
        ["branches", "create", "x", "--parent", "nope"],
        ["branches", "create", "x", "--parent", "' OR 1=1 --"],
        ["branches", "create", "x", "--project", "nope"],
        ["branches", "delete", "nope"],
        ["branches", "list", "--project", "\udcff"],
        ["projects", "create", "default"],
        ["projects", "create", "a b"],
        ["credentials", "list", "--project", "nope"],
        ["credentials", "create", "--branch", "nope"],
        ["credentials", "create", "--branch", "x" * 10_000],
        ["credentials", "create", "--branch", "main", "--project", "nope"],
        ["credentials", "create", "--branch", "main", "--name", "x" * 10_000],
        ["credentials", "create", "--branch", "main", "--name", "a\nb"],
        ["credentials", "create", "--branch", "main", "--name", "a\udcff"],
        ["credentials", "create", "--branch", "main", "--scope", "A B"],
        ["credentials", "create", "--branch", "main", "--scope", ""],
        *(
            ["credentials", "create", "--branch", "main", f"--expires={expires}"]
            for expires in (
                "",
                "0d",
                "-1d",
                "30",
                "d",
                "1.5h",
                "3y",
                "٣d",
                "1d\n",
                "36501d",
                "9" * 10_000 + "s",
            )
        ),
    ],
)
def test_bad_input_is_one_clear_line_and_changes_nothing(operator: Operator, arguments: list[str]) -> None:
    operator.ask("branches", "list")
    before = operator.content()
    code, out, err = operator.run(*arguments)
    assert code in (1, 2)
    assert out == ""
    assert re.fullmatch(r"error: [ -~]{10,400}\n", err)
    assert operator.content() == before


@pytest.mark.parametrize("command", [["branches", "list"], ["credentials", "create", "--branch", "main"]])
def test_a_corrupt_store_is_one_clear_line_and_left_as_it_is(operator: Operator, command: list[str]) -> None:
    operator.store_path.write_bytes(b"not a database " * 1000)
    code, out, err = operator.run(*command)
    assert (code, out) == (1, "")
    assert err == f"error: {operator.store_path}: not an SQLite database, or damaged; left as it is\n"
    assert operator.store_path.read_bytes() == b"not a database " * 1000


def test_a_bad_configuration_is_exit_2(operator: Operator) -> None:
    operator.config_path.write_text("[store]\nurl = 'mysql://secret@host/db'\n")
    code, out, err = operator.run("branches", "list")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "store.url" in err
    assert "secret" not in err


async def test_commands_work_while_a_gateway_has_the_store_open(operator: Operator) -> None:
    async def command(*arguments: str) -> str:
        return await asyncio.to_thread(run, [*arguments, "--config", str(operator.config_path)])

    async with opened(operator.store_path) as store:
        clock = Clock()
        identity = Identity(store, clock=clock)
        token = (await command("credentials", "create", "--branch", "main")).strip()
        sent = headers(Authorization=f"Bearer {token}")
        principal = await identity.authenticate(sent, "")
        assert principal.credential_id == tokens.token_id(token)
        await command("credentials", "revoke", principal.credential_id)
        clock.now += 4
        with pytest.raises(GatewayError) as refused:
            await identity.authenticate(sent, "")
        assert refused.value.refusal is CREDENTIAL_INVALID
        await identity.close()
