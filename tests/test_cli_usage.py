"""`usage`, as an operator asks for it, and the audit trail that commands leave."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import pwd
import re
import time

import pytest

from gateway.usage_record import UsageRecord, UsageSource
from tests.support.identity import opened
from tests.support.operator import Operator
from tests.support.process import run

DAY = 86400
NOON = 1793534400.0  # 2026-11-01T12:00:00Z
RANGE = ["--since", "2026-11-01", "--until", "2026-11-03"]
COUNTS = (
    *("requests", "attempts", "input_tokens", "output_tokens", "cached_tokens", "total_tokens", "cost_usd"),
    *("unknown_usage", "unpriced"),
)


@pytest.fixture
def used(operator: Operator) -> Operator:
    """Ten tokens on a first day and a hundred on a second; something unknown and something unpriced."""
    credential = operator.ask("credentials", "create", "--branch", "main", "--name", "Ann's laptop")

    def record(number: int, at: float, **fields: object) -> UsageRecord:
        values = {"model": "gemini-3-pro", "usage_source": UsageSource.REPORTED} | fields
        return UsageRecord(
            request_id=f"r{number}",
            time=at,
            project=credential["project_id"],
            branch=credential["branch_id"],
            credential=credential["id"],
            upstream="studio",
            action="generateContent",
            ending="complete",
            **values,  # type: ignore[arg-type]
        )

    async def add() -> None:
        small = {"prompt_tokens": 8, "candidates_tokens": 2, "total_tokens": 10, "cost_nanos": 400}
        large = {"prompt_tokens": 9_000, "candidates_tokens": 1_000, "total_tokens": 10_000}
        async with opened(operator.store_path) as store:
            await store.add_usage(
                [
                    record(1, NOON, **small),
                    record(2, NOON + DAY, **large, cost_nanos=12_345_678_901),
                    record(
                        3, NOON + DAY, model="gemini-9", unpriced=("model",), prompt_tokens=1, total_tokens=1
                    ),
                    record(4, NOON + DAY, model="gemini-10", usage_source=UsageSource.UNKNOWN),
                    record(5, time.time() - 2 * DAY, model="lately", **small),
                ]
            )

    asyncio.run(add())
    return operator


def test_json_is_a_list_of_groups(used: Operator) -> None:
    assert used.ask("usage", *RANGE, "--by", "model") == [
        {"model": "gemini-10"}
        | dict.fromkeys(COUNTS, 0)
        | {"requests": 1, "attempts": 1, "cost_usd": None, "unknown_usage": 1},
        {
            "model": "gemini-3-pro",
            "requests": 2,
            "attempts": 2,
            "input_tokens": 9_008,
            "output_tokens": 1_002,
            "cached_tokens": 0,
            "total_tokens": 10_010,
            "cost_usd": 12.345679301,
            "unknown_usage": 0,
            "unpriced": 0,
        },
        {"model": "gemini-9"}
        | dict.fromkeys(COUNTS, 0)
        | {
            "requests": 1,
            "attempts": 1,
            "input_tokens": 1,
            "total_tokens": 1,
            "cost_usd": None,
            "unpriced": 1,
        },
    ]
    assert [group["day"] for group in used.ask("usage", *RANGE)] == ["2026-11-01", "2026-11-02"]
    (group,) = used.ask("usage", *RANGE, "--by", "branch")
    assert (group["branch"], group["branch_id"][:3]) == ("main", "br-")
    (group,) = used.ask("usage", *RANGE, "--by", "credential")
    assert (len(group["credential"]), group["credential_name"]) == (16, "Ann's laptop")
    assert [group["upstream"] for group in used.ask("usage", *RANGE, "--by", "upstream")] == ["studio"]


def test_the_last_seven_days_unless_asked_otherwise(used: Operator) -> None:
    assert [group["model"] for group in used.ask("usage", "--by", "model")] == ["lately"]
    assert used.ask("usage", "--since", "1d") == []
    assert used.ask("usage", "--until", "3d") == []
    used.ask("projects", "create", "other")
    assert used.ask("usage", *RANGE, "--project", "other") == []


def test_the_table_has_bars_and_says_what_it_does_not_know(used: Operator) -> None:
    code, out, err = used.run("usage", *RANGE)
    assert code == 0
    rows = [re.split(r" {2,}", line.strip()) for line in out.splitlines()]
    assert rows == [
        ["DAY", "REQUESTS", "INPUT", "OUTPUT", "CACHED", "TOTAL", "COST", "UNKNOWN", "TOKENS"],
        ["2026-11-01", "1", "8", "2", "0", "10", "<$0.000001", "0", "▏"],
        ["2026-11-02", "3", "9,001", "1,000", "0", "10,001", "$12.345679+", "1", "█" * 20],
        ["total", "4", "9,009", "1,002", "0", "10,011", "$12.345679+", "1"],
    ]
    assert re.fullmatch(r"\+: [ -~]+\n", err)
    out = used.run("usage", *RANGE, "--by", "model")[1]
    costs = [re.split(r" {2,}", line)[6].strip() for line in out.splitlines()[1:]]
    assert costs == ["unknown", "$12.345679", "unknown", "$12.345679+"]
    code, out, err = used.run("usage", "--by", "credential")
    assert out.splitlines()[1].split()[1:3] == ["Ann's", "laptop"]
    assert len(out.splitlines()) == 2
    assert err == ""


def test_numbers_end_below_each_other(used: Operator) -> None:
    lines = used.run("usage", *RANGE)[1].splitlines()
    end = lines[0].index("TOTAL") + len("TOTAL")
    assert [line[:end].split()[-1] for line in lines[1:]] == ["10", "10,001", "10,011"]


def test_bars_are_plain_where_the_terminal_knows_no_others(used: Operator) -> None:
    plain = {"PYTHONIOENCODING": "ascii"}
    out = run(["usage", *RANGE, "--config", str(used.config_path)], plain)
    assert [line.split()[-1] for line in out.splitlines()[1:3]] == ["#", "#" * 20]


def test_nothing_used_is_said(operator: Operator) -> None:
    assert operator.run("usage") == (0, "", "nothing was used in that time\n")
    assert operator.run("usage", "--csv")[1].count("\n") == 1


def test_csv_has_the_fields_of_json(used: Operator) -> None:
    for by in ("day", "branch", "credential", "model", "upstream"):
        code, out, err = used.run("usage", *RANGE, "--by", by, "--csv")
        assert (code, err) == (0, "")
        groups = used.ask("usage", *RANGE, "--by", by)
        read = list(csv.DictReader(io.StringIO(out)))
        assert [list(row) for row in read] == [list(group) for group in groups]
        assert read == [
            {key: "" if value is None else str(value) for key, value in group.items()} for group in groups
        ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--since", "yesterday"],
        ["--since", ""],
        ["--since", "0d"],
        ["--since=-1d"],
        ["--since", "2026-13-01"],
        ["--since", "2026-02-30"],
        ["--since", "9" * 10_000 + "d"],
        ["--since", "7d\n"],
        ["--since", "\u0667d"],
        ["--until", "2026-11-01T25:00:00Z"],
        ["--until", "'; DROP TABLE usage; --"],
        ["--project", "nope"],
        ["--project", "x" * 10_000],
        ["--project", "\udcff"],
    ],
)
def test_bad_input_is_one_clear_line(used: Operator, arguments: list[str]) -> None:
    before = used.content()
    code, out, err = used.run("usage", *arguments)
    assert code in (1, 2)
    assert out == ""
    assert re.fullmatch(r"error: [ -~]{10,400}\n", err)
    assert used.content() == before


def test_commands_are_in_the_audit_trail_under_their_users_name(operator: Operator) -> None:
    project = operator.ask("projects", "create", "other")["id"]
    branch = operator.ask("branches", "create", "x", "--project", "other")["id"]
    credential = operator.ask("credentials", "create", "--branch", "x", "--project", "other")["id"]
    operator.ask("limits", "set", "--tokens-per-day", "7", "--branch", "x", "--project", "other")
    operator.ask("credentials", "revoke", credential)
    operator.ask("branches", "delete", "x", "--project", "other")
    operator.ask("limits", "show", "--project", "other")
    operator.ask("usage", "--project", "other")

    async def trail() -> list[tuple[str, str, str]]:
        async with opened(operator.store_path) as store:
            return [
                (one.actor, one.action, one.subject) for one in reversed(await store.audit_trail(project))
            ]

    who = f"cli:{pwd.getpwuid(os.geteuid()).pw_name}"
    assert asyncio.run(trail()) == [
        (who, "project.create", project),
        (who, "branch.create", branch),
        (who, "credential.create", credential),
        (who, "limits.set", branch),
        (who, "credential.revoke", credential),
        (who, "branch.delete", branch),
    ]
