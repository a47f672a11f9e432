"""What the command line refuses: one line that says why, exit code 1 or 2, and nothing changed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.config import load
from gateway.errors import ConfigurationError
from tests.support.operator import Operator

TOKEN = f"nt_live_{'a' * 16}_{'0' * 64}"
BAD = {
    "nothing": "",
    "10 kB": "x" * 10_000,
    "SQL": "'; DROP TABLE branches; --",
    "a line end": "a\nb",
    "a zero byte": "a\x00b",
    "an escape sequence": "a\x1b[31m",
    "half a surrogate pair": "a\udcff",
    "not ASCII": "\u00e9t\u00e9",
    "turned around": "a\u202eb",
    "a negative number": "-1",
    "a huge number": "9" * 5_000,
    "beyond 64 bits": str(2**64),
    "not a number": "nan",
    "infinite": "inf",
    "an id of nobody": "br-winter-pond-a1b2c3d4",
    "a credential of nobody": "a" * 16,
    "a token": TOKEN,
    "a duration that is none": "7x",
    "a space": " ",
    "another script's digit": "\u0667d",
    "a path": "../../etc/passwd",
    "an option": "--nope",
    "a dash": "-",
}
GOOD_NAMES = {
    "beyond 64 bits",
    "not a number",
    "infinite",
    "a credential of nobody",
    "a duration that is none",
}
"""Of branches and projects."""
GOOD_TITLES = set(BAD) - {
    *("10 kB", "a line end", "a zero byte", "an escape sequence", "half a surrogate pair", "turned around"),
    *("a huge number", "a token"),
}
COUNTS = ("requests-per-minute", "tokens-per-minute", "concurrent-requests", "tokens-per-day")
CALLS: dict[str, set[str]] = {
    "branches create @": GOOD_NAMES,
    "branches create new --parent=@": set(),
    "branches create new --project=@": set(),
    "branches list --project=@": set(),
    "branches delete @": set(),
    "branches delete main --project=@": set(),
    "credentials create --branch=@": set(),
    "credentials create --branch main --project=@": set(),
    "credentials create --branch main --name=@": GOOD_TITLES,
    "credentials create --branch main --scope @": GOOD_NAMES | {"an id of nobody"},
    "credentials create --branch main --expires=@": set(),
    "credentials create --branch main --principal-type=@": set(),
    "credentials list --project=@": set(),
    "credentials revoke @": set(),
    "projects create @": GOOD_NAMES,
    "projects list @": set(),
    "limits show --project=@": set(),
    "limits show --branch=@": set(),
    "limits show --credential=@": set(),
    "limits set --tokens-per-day 5 --project=@": set(),
    "limits set --tokens-per-day 5 --branch=@": set(),
    "limits set --tokens-per-day 5 --credential=@": set(),
    **{f"limits set --{name}=@": set() for name in (*COUNTS, "spend-per-day-usd")},
    "usage --since=@": set(),
    "usage --until=@": set(),
    "usage --by=@": set(),
    "usage --project=@": set(),
    "usage --json --csv": set(),
    "models @": set(),
    "check-config @": set(),
    "serve @": set(),
    "serve --listen=@": set(),
    "serve --workers=@": set(),
    "worker @": set(),
    "worker 1 @ 9": set(),
    "@": set(),
    "limits @": set(),
}
"""The bad value stands for each @. What follows is good there, though it would be bad elsewhere."""


def refused(operator: Operator, capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> None:
    """It ends as it should, having changed nothing."""
    before = operator.content()
    try:
        code, out, err = operator.run(*arguments)
    except SystemExit as ended:
        captured = capsys.readouterr()
        code, out, err = int(ended.code or 0), captured.out, captured.err
    shown = [argument[:50] for argument in arguments]
    assert code in (1, 2), shown
    assert (out, err.count("\n"), err[-1:], err[:7]) == ("", 1, "\n", "error: "), (shown, err)
    assert err[:-1].isprintable(), shown
    assert 20 < len(err) < 500, shown
    assert TOKEN[24:] not in err, shown
    assert operator.content() == before, shown


@pytest.mark.parametrize("call", CALLS)
def test_bad_input_is_refused_in_one_line(
    operator: Operator, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    operator.run("projects", "list")  # so that there is a store
    for kind, value in BAD.items():
        if kind not in CALLS[call]:
            refused(operator, capsys, [part.replace("@", value) for part in call.split(" ")])


def test_what_the_table_takes_for_good_is_good(operator: Operator) -> None:
    for kind in GOOD_NAMES:
        assert operator.ask("branches", "create", BAD[kind])["name"] == BAD[kind]
        assert operator.ask("projects", "create", BAD[kind])["name"] == BAD[kind]
    for kind in GOOD_TITLES:
        made = operator.ask("credentials", "create", "--branch", "main", f"--name={BAD[kind]}")
        assert made["name"] == BAD[kind]


@pytest.mark.parametrize("kind", sorted(set(BAD) - {"nothing", "a space"}))
@pytest.mark.parametrize("variable", ["GATEWAY_SERVER__WORKERS", "GATEWAY_LIMITS__TOKENS_PER_DAY"])
def test_bad_numbers_in_the_environment(operator: Operator, variable: str, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{variable}: "):
        load(operator.config_path, {variable: BAD[kind]})


@pytest.mark.parametrize(
    "content", ["n = " + "9" * 5_000, "n = " + "[" * 5_000, "\x00", "[server]\nlisten = 1"]
)
def test_a_file_that_is_none(operator: Operator, capsys: pytest.CaptureFixture[str], content: str) -> None:
    operator.run("projects", "list")
    operator.config_path.write_text(content)
    for call in ("usage", "check-config", "serve", "models"):
        refused(operator, capsys, [call])


def test_whom_a_token_names_is_not_told(operator: Operator, capsys: pytest.CaptureFixture[str]) -> None:
    token = operator.ask("credentials", "create", "--branch", "main")["api_token"]
    before = str(operator.content())
    for call in ("credentials revoke", "branches delete", "usage", "projects create", "branches create"):
        refused(operator, capsys, [*call.split(" "), token])
    assert token[24:] not in before
