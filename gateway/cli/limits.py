"""`limits show | set`: what a project, a branch or a credential may use."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.admin.limits import limits_answer
from gateway.cli import management
from gateway.config import load
from gateway.errors import printable
from gateway.limits import MOST, Level, Limits
from gateway.stores import Store
from gateway.usage_record import NANOS

_COUNTS = ("requests_per_minute", "tokens_per_minute", "concurrent_requests", "tokens_per_day")
_HEADS = ("LEVEL", "ID", "NAME", "REQUESTS/MIN", "TOKENS/MIN", "CONCURRENT", "TOKENS/DAY", "USD/DAY")
_COUNT = re.compile(r"[0-9]{1,16}")
_DOLLARS = re.compile(r"([0-9]{1,7})(?:\.([0-9]{1,9}))?")


def add(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Register the command; `common` has the options that every command takes."""
    parser = subparsers.add_parser("limits", help="show and set limits")
    actions = parser.add_subparsers(required=True, metavar="show|set")
    parents = [common, management.options(), management.project_option()]
    show = actions.add_parser(
        "show", parents=parents, help="show what is set; in parentheses what the configuration says"
    )
    show.set_defaults(run=_show)
    change = actions.add_parser("set", parents=parents, help="set limits; those not given stay as they are")
    change.set_defaults(run=_set)
    for action in (show, change):
        subject = action.add_mutually_exclusive_group()
        subject.add_argument("--branch", metavar="BRANCH", help="id or name; instead of the project's")
        subject.add_argument("--credential", metavar="ID", help="instead of the project's")
    for name in _COUNTS:
        text = "0: no limit; none: not set here" + (", for each model" if name == "tokens_per_minute" else "")
        change.add_argument(f"--{name.replace('_', '-')}", metavar="N", help=text)
    change.add_argument("--spend-per-day-usd", metavar="X", help="metered token spend, such as 12.50")


def _show(args: argparse.Namespace) -> int:
    defaults = _defaults(args)

    async def action(store: Store) -> None:
        subjects = await _subjects(store, args.project)
        if args.branch is not None or args.credential is not None:
            limits = await store.limits(args.project, branch=args.branch, credential=args.credential)
            shown = [_row(_named(subjects, args), limits)]
        else:
            table = (await store.all_limits()).limits
            shown = [
                _row(subject, table.get((subject.level, subject.id), Limits()))
                for subject in subjects
                if subject.level is Level.PROJECT or (subject.level, subject.id) in table
            ]
        if args.json:
            management.print_json(shown)
        else:
            _print_table(shown, defaults)

    return management.with_store(args, action)


def _set(args: argparse.Namespace) -> int:
    try:
        given = {name: _count(name, text) for name in _COUNTS if (text := getattr(args, name)) is not None}
        if args.spend_per_day_usd is not None:
            given["spend_per_day_nanos"] = _nanos(args.spend_per_day_usd)
    except ValueError as error:
        return management.fail(str(error), code=2)
    if not given:
        return management.fail("no limit was given to set", code=2)
    defaults = _defaults(args)

    async def action(store: Store) -> None:
        subject = {"branch": args.branch, "credential": args.credential}
        limits = msgspec.structs.replace(await store.limits(args.project, **subject), **given)
        await store.set_limits(args.project, limits, **subject, actor=management.actor())
        shown = _row(_named(await _subjects(store, args.project), args), limits)
        if args.json:
            management.print_json(shown)
        else:
            _print_table([shown], defaults)

    return management.with_store(args, action)


@dataclass(frozen=True, slots=True)
class _Subject:
    level: Level
    id: str
    name: str


async def _subjects(store: Store, project: str) -> list[_Subject]:
    """Whoever can have limits in the project, itself first."""
    branches, credentials = await store.branches(project), await store.credentials(project)
    return [
        *(
            _Subject(Level.PROJECT, one.id, one.name)
            for one in await store.projects()
            if project in (one.id, one.name)
        ),
        *(_Subject(Level.BRANCH, one.id, one.name) for one in branches),
        *(_Subject(Level.CREDENTIAL, one.id, one.name) for one in credentials),
    ]


def _named(subjects: Sequence[_Subject], args: argparse.Namespace) -> _Subject:
    """Whom the options mean. The store has found it before."""
    if args.credential is not None:
        return next(one for one in subjects if one.id == args.credential)
    if args.branch is not None:
        return next(
            one for one in subjects if one.level is Level.BRANCH and args.branch in (one.id, one.name)
        )
    return subjects[0]


def _row(subject: _Subject, limits: Limits) -> dict[str, Any]:
    """As JSON."""
    named = {"level": subject.level.value, "id": subject.id, "name": subject.name}
    return named | msgspec.structs.asdict(limits_answer(limits))


def _defaults(args: argparse.Namespace) -> dict[str, Any]:
    """What a project has where none is set: the configuration's, under the same names."""
    return msgspec.structs.asdict(load(args.config, os.environ, serving=False).limits)


def _print_table(rows: Sequence[dict[str, Any]], defaults: dict[str, Any]) -> None:
    cells = [[_cell(name, value, row["level"], defaults) for name, value in row.items()] for row in rows]
    management.print_table(_HEADS, cells, numbers=_HEADS[3:])


def _cell(name: str, value: str | float | None, level: str, defaults: dict[str, Any]) -> str:
    if value is None:
        return f"({_amount(defaults[name])})" if level == Level.PROJECT else ""
    return value if isinstance(value, str) else _amount(value)


def _amount(value: float) -> str:
    return f"{value:,}" if value else "no limit"


def _count(name: str, text: str) -> int | None:
    if text == "none":
        return None
    if not _COUNT.fullmatch(text) or int(text) > MOST:
        raise ValueError(
            f'--{name.replace("_", "-")} "{printable(text)}": a whole number to {MOST}, 0 for no limit, '
            "or none"
        )
    return int(text)


def _nanos(text: str) -> int | None:
    if text == "none":
        return None
    match = _DOLLARS.fullmatch(text)
    nanos = int(match[1]) * NANOS + int((match[2] or "").ljust(9, "0")) if match else -1
    if not 0 <= nanos <= MOST:
        raise ValueError(
            f'--spend-per-day-usd "{printable(text)}": dollars to {MOST // NANOS}, such as 12.50, '
            "0 for no limit, or none"
        )
    return nanos
