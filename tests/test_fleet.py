"""Two machines: what the scenarios find wrong in figures that are, and short runs, which go well."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence

import pytest

from fleet import chaos, limit, revoke
from fleet.books import Books, Row, of_books
from fleet.clients import CUT, LEFT, WHOLE, Asked
from fleet.faults import Kill
from fleet.plan import Plan
from fleet.upstream import Served
from fleet.windows import heaviest, most_at_once
from tests.support.machine import PROJECT

RUN_SECONDS = 180.0
"""A deadline for a loaded machine."""


@pytest.mark.parametrize(
    ("events", "most"),
    [
        ([], 0),
        ([(0.0, 5), (59.9, 7)], 12),
        ([(0.0, 5), (60.0, 7)], 7),
        ([(60.0, 7), (0.0, 5), (30.0, 1)], 8),
        ([(0.0, 9), (100.0, 1), (110.0, 2), (120.0, 3), (161.0, 4)], 9),
    ],
)
def test_the_fullest_minute(events: list[tuple[float, int]], most: int) -> None:
    assert heaviest(events, 60.0) == most


def test_the_most_at_once() -> None:
    assert most_at_once([(0.0, 2.0, 5), (1.0, 3.0, 7), (2.5, 4.0, 9)]) == 16
    assert most_at_once([(0.0, 1.0, 5), (1.0, 2.0, 7)]) == 12


def plan(number: int) -> Plan:
    return Plan(number, 10, 20)


def served(number: int, *, began: float = 10.0, port: int = 1, whole: bool = True) -> Served:
    return Served(number, port, began, began + 0.1, int(whole), whole, 30 * whole)


def row(number: int, tokens: int | None = 30, source: str = "reported", attempt: int = 1) -> Row:
    return Row(f"id-{number}", attempt, number, "complete", source, tokens)


def kept(*rows: Row) -> Books:
    return Books(rows, sum(one.tokens or 0 for one in rows), len(rows))


def asked(number: int, outcome: str = WHOLE, *, ended: float = 10.2, port: int = 5) -> Asked:
    return Asked(plan(number), 0, 10.0, None, port, ended, outcome)


def test_books_that_agree() -> None:
    assert of_books(kept(row(1), row(2)), [served(1), served(2)]) == []
    assert of_books(kept(row(1)), [served(1), served(2)], lost=frozenset({2})) == []
    cut = row(1, None, "unknown"), row(2, 12, "partial")
    assert of_books(kept(*cut), [served(1, whole=False), served(2)]) == []


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ((row(1),), "request 2: 0 records of 1 attempts"),
        ((row(1), row(2), row(2, attempt=2)), "request 2: 2 records of 1 attempts"),
        ((row(1), row(2), row(2)), "('id-2', 1) is in the ledger 2 times"),
        ((row(1), row(2, 29)), "has reported [30]"),
        ((row(1), row(2, 31, "partial")), "no more than [30]"),
    ],
)
def test_books_that_differ(rows: Sequence[Row], told: str) -> None:
    assert told in "\n".join(of_books(kept(*rows), [served(1), served(2)]))


def test_sums_that_differ_from_their_records() -> None:
    [found] = of_books(Books([row(1)], 29, 1), [served(1)])
    assert "29 tokens of 1 attempts, the records 30 of 1" in found


KILL = Kill(machine=0, process=9, at=10.3, clients=frozenset({5}), upstream=frozenset({1}))


def chaotic(one: Asked, *rows: Row, port: int = 2) -> chaos.Outcome:
    return chaos.Outcome([one], [served(1, port=port)], kept(*rows), [KILL], 1.0)


def test_what_a_kill_explains() -> None:
    # Answered 0.1 s before: its record may be lost.
    assert chaotic(asked(1)).wrong() == []
    assert chaotic(asked(1, port=6), port=1).wrong() == []
    assert chaotic(asked(1, LEFT, port=6)).wrong() == []
    assert chaotic(asked(1, CUT, ended=10.4)).wrong() == []


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (chaotic(asked(1, port=6)), "0 records"),  # another worker's
        (chaotic(asked(1, CUT, ended=10.2), row(1)), "cut off though its worker lived"),
        (chaotic(asked(1, CUT, ended=10.4, port=6), row(1)), "cut off though its worker lived"),
        (chaotic(asked(1, ended=31.0), row(1)), "ended late"),
    ],
)
def test_what_no_kill_explains(outcome: chaos.Outcome, told: str) -> None:
    [found] = outcome.wrong()
    assert told in found


def test_a_record_that_was_older_than_may_be_lost() -> None:
    early = chaos.Outcome([asked(1, ended=10.04)], [served(1, began=9.9)], kept(), [KILL], 1.0)
    [found] = early.wrong()
    assert "0 records" in found


def test_a_limit_that_let_too_much_through() -> None:
    many = [asked(number) for number in range(4)]
    rows = [row(number) for number in range(4)]
    once = [served(number, began=10.0) for number in range(4)]
    assert limit.Outcome(100, many, once, kept(*rows)).wrong() == []
    for number, one in enumerate(many):
        one.began, one.ended = 10.0 + number, 10.5 + number
    assert limit.Outcome(80, many, once, kept(*rows)).wrong() == [
        "more was admitted in a minute than the limit and what was in flight"
    ]
    assert limit.Outcome(1000, many, once, kept(*rows)).wrong() == [
        "the limit was never reached: the run shows nothing"
    ]


def test_a_revocation_that_took_too_long() -> None:
    assert revoke.Outcome(2, [[1.0, 5.4]], [[0.5, 4.9]], 0).wrong() == []
    assert revoke.Outcome(2, [[1.0, 5.6]], [[0.5, 5.1]], 1).wrong() == [
        "a worker refuses after 5.10 s",
        "1 requests were answered after every worker had refused",
    ]
    assert revoke.Outcome(2, [[1.0]], [[0.5]], 0).wrong() == ["only 1 workers were asked"]


@pytest.mark.parametrize(
    ("arguments", "figure"),
    [
        (("limit", "--requests=300", "--rate=150", "--tokens-per-minute=3000"), "tokens were served"),
        (("chaos", "--requests=400", "--rate=80"), "workers were killed"),
    ],
)
def test_a_short_run(arguments: Sequence[str], figure: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "fleet", *arguments, "--workers=2"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, ""), finished.stdout
    assert finished.stdout.endswith("all is well\n")
    assert re.search(rf"^ *[1-9][\d,]*  {figure}", finished.stdout, re.MULTILINE)
