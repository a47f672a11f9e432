"""`limits show | set`, as an operator uses them."""

from __future__ import annotations

import re

import pytest

from gateway.limits import MOST
from tests.support.operator import Operator

NONE = {
    "requests_per_minute": None,
    "tokens_per_minute": None,
    "concurrent_requests": None,
    "tokens_per_day": None,
    "spend_per_day_usd": None,
}
EVERY = dict(zip(NONE, (1, 2, 3, 4, 12.5), strict=True))
EVERY_OPTION = [
    *("--requests-per-minute", "1", "--tokens-per-minute", "2", "--concurrent-requests", "3"),
    *("--tokens-per-day", "4", "--spend-per-day-usd", "12.50"),
]


def test_what_is_given_is_set_and_the_rest_stays(operator: Operator) -> None:
    project = operator.ask("projects", "list")[0]["id"]
    named = {"level": "project", "id": project, "name": "default"}
    assert operator.ask("limits", "show") == [named | NONE]
    assert operator.ask("limits", "set", *EVERY_OPTION) == named | EVERY
    changed = operator.ask("limits", "set", "--tokens-per-minute", "0", "--spend-per-day-usd", "none")
    assert changed == named | EVERY | {"tokens_per_minute": 0, "spend_per_day_usd": None}
    assert operator.ask("limits", "show") == [changed]
    assert operator.ask("limits", "show", "--project", project) == [changed]


def test_projects_branches_and_credentials_each_have_their_own(operator: Operator) -> None:
    child = operator.ask("branches", "create", "child", "--parent", "main")
    credential = operator.ask("credentials", "create", "--branch", "child", "--name", "Ann's laptop")
    operator.ask("projects", "create", "other")
    for_branch = ["--branch", "child"]
    for_credential = ["--credential", credential["id"]]
    assert operator.ask("limits", "show", *for_branch) == [
        {"level": "branch", "id": child["id"], "name": "child"} | NONE
    ]
    on_branch = operator.ask("limits", "set", "--tokens-per-day", "7", *for_branch)
    on_credential = operator.ask("limits", "set", "--concurrent-requests", "8", *for_credential)
    elsewhere = operator.ask("limits", "set", "--tokens-per-day", "9", "--project", "other")
    assert (on_branch["level"], on_branch["id"], on_branch["tokens_per_day"]) == ("branch", child["id"], 7)
    assert (on_credential["level"], on_credential["name"]) == ("credential", "Ann's laptop")
    shown = operator.ask("limits", "show")
    assert shown[0]["level"] == "project"
    assert shown[1:] == [on_branch, on_credential]
    assert operator.ask("limits", "show", "--branch", child["id"]) == [on_branch]
    assert operator.ask("limits", "show", *for_credential) == [on_credential]
    assert operator.ask("limits", "show", "--project", "other") == [elsewhere]


def test_the_table_tells_no_limit_from_none_set(operator: Operator) -> None:
    with operator.config_path.open("a") as file:
        file.write("[limits]\ntokens_per_day = 5000\n")
    operator.ask("limits", "set", "--branch", "main", "--tokens-per-day", "7")
    code, out, err = operator.run(
        *["limits", "set", "--tokens-per-minute", "100000", "--requests-per-minute", "0"],
        *["--spend-per-day-usd", "12.5"],
    )
    assert (code, err) == (0, "")
    out = operator.run("limits", "show")[1]
    head, row, branch = (re.split(r" {2,}", line.strip()) for line in out.splitlines())
    assert branch[2:] == ["main", "-", "-", "-", "7", "-"]
    assert dict(zip(head, row, strict=True)) == {
        "LEVEL": "project",
        "ID": operator.ask("projects", "list")[0]["id"],
        "NAME": "default",
        "REQUESTS/MIN": "no limit",
        "TOKENS/MIN": "100,000",
        "CONCURRENT": "(no limit)",
        "TOKENS/DAY": "(5,000)",
        "USD/DAY": "12.5",
    }


@pytest.mark.parametrize(
    ("text", "dollars"), [("0", 0), ("0.1", 0.1), ("0.000000001", 1e-9), ("1000000", 1e6)]
)
def test_spend_is_in_dollars(operator: Operator, text: str, dollars: float) -> None:
    assert operator.ask("limits", "set", "--spend-per-day-usd", text)["spend_per_day_usd"] == dollars


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--tokens-per-day", ""],
        ["--tokens-per-day", "-1"],
        ["--tokens-per-day", "+1"],
        ["--tokens-per-day", "1.5"],
        ["--tokens-per-day", "1e3"],
        ["--tokens-per-day", "1_000"],
        ["--tokens-per-day", "None"],
        ["--tokens-per-day", str(MOST + 1)],
        ["--tokens-per-day", "9" * 10_000],
        ["--tokens-per-day", "\u0663"],
        ["--tokens-per-day", "7\n"],
        ["--tokens-per-day", "x\x1b[31m"],
        ["--tokens-per-day", "'; DROP TABLE limits; --"],
        ["--tokens-per-day", "7", "--requests-per-minute", "x"],
        ["--spend-per-day-usd", ""],
        ["--spend-per-day-usd", "-0.5"],
        ["--spend-per-day-usd", "nan"],
        ["--spend-per-day-usd", "inf"],
        ["--spend-per-day-usd", "1e3"],
        ["--spend-per-day-usd", "$5"],
        ["--spend-per-day-usd", "1,50"],
        ["--spend-per-day-usd", ".5"],
        ["--spend-per-day-usd", "0.0000000001"],
        ["--spend-per-day-usd", "1000000.000000001"],
        ["--tokens-per-day", "7", "--branch", "nope"],
        ["--tokens-per-day", "7", "--branch", "x" * 10_000],
        ["--tokens-per-day", "7", "--branch", "' OR 1=1 --"],
        ["--tokens-per-day", "7", "--branch", ""],
        ["--tokens-per-day", "7", "--credential", "a" * 16],
        ["--tokens-per-day", "7", "--credential", ""],
        ["--tokens-per-day", "7", "--credential", "a\nb"],
        ["--tokens-per-day", "7", "--project", "nope"],
        ["--tokens-per-day", "7", "--project", "\udcff"],
    ],
)
def test_bad_input_is_one_clear_line_and_changes_nothing(operator: Operator, arguments: list[str]) -> None:
    operator.ask("limits", "set", "--tokens-per-day", "5")
    before = operator.content()
    code, out, err = operator.run("limits", "set", *arguments)
    assert code in (1, 2)
    assert out == ""
    assert re.fullmatch(r"error: [ -~]{10,400}\n", err)
    assert operator.content() == before


@pytest.mark.parametrize(
    "arguments", [["--branch", "nope"], ["--branch", ""], ["--credential", "a" * 16], ["--project", "nope"]]
)
def test_who_is_not_there_has_no_limits(operator: Operator, arguments: list[str]) -> None:
    code, out, err = operator.run("limits", "show", *arguments)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"error: no [ -~]{5,100}\n", err)


def test_a_token_in_the_place_of_an_id_is_not_told_again(operator: Operator) -> None:
    token = operator.ask("credentials", "create", "--branch", "main")["api_token"]
    code, _, err = operator.run("limits", "show", "--credential", token)
    assert code == 1
    assert token[25:] not in err


def test_another_projects_branch_and_credential_are_not_there(operator: Operator) -> None:
    operator.ask("projects", "create", "other")
    credential = operator.ask("credentials", "create", "--branch", "main")["id"]
    branch = operator.ask("branches", "list")[0]["id"]
    before = operator.content()
    for subject in (["--branch", branch], ["--credential", credential]):
        code, _, err = operator.run("limits", "set", "--tokens-per-day", "7", "--project", "other", *subject)
        assert (code, err[:10]) == (1, "error: no ")
    assert operator.content() == before
