"""`usage`: what a project used, in groups: as a table with bars, as JSON, as CSV."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Sequence

import msgspec

from gateway.admin.schema import Usage
from gateway.admin.usage import GROUP_FIELDS, moment, usage_of
from gateway.cli import management
from gateway.stores import Store
from gateway.stores.rows import UsageBy

_BAR_WIDTH = 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_MORE = "+"
_SUMS = [field.name for field in msgspec.structs.fields(Usage) if field.required]
_NUMBERS = ("REQUESTS", "INPUT", "OUTPUT", "CACHED", "TOTAL", "COST", "UNKNOWN")


def add(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Register the command; `common` has the options that every command takes."""
    parser = subparsers.add_parser(
        "usage", parents=[common, management.project_option()], help="show what was used and what it cost"
    )
    parser.add_argument(
        "--by",
        choices=[by.value for by in UsageBy],
        default=UsageBy.DAY.value,
        help="what is summed up (default: %(default)s)",
    )
    parser.add_argument(
        "--since", default="7d", metavar="7d", help="so long ago, or a day, or a time (default: %(default)s)"
    )
    parser.add_argument("--until", metavar="2026-11-01", help="likewise, not included (default: now)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON list")
    form.add_argument("--csv", action="store_true", help="print CSV with a head line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the usage. The exit code: 2 where a time is none."""
    now = time.time()
    try:
        since = moment(args.since, now)
        until = now if args.until is None else moment(args.until, now)
    except ValueError as error:
        return management.fail(f"--since or --until: {error}", code=2)

    async def action(store: Store) -> None:
        found = await usage_of(store, args.project, since, until, UsageBy(args.by))
        if args.json:
            management.print_json(msgspec.to_builtins(found))
        elif args.csv:
            _print_csv(found, UsageBy(args.by))
        else:
            _print_table(found, UsageBy(args.by))

    return management.with_store(args, action)


def _print_csv(found: Sequence[Usage], by: UsageBy) -> None:
    fields = [*GROUP_FIELDS[by], *_SUMS]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows([getattr(one, field) for field in fields] for one in found)


def _print_table(found: Sequence[Usage], by: UsageBy) -> None:
    if not found:
        print("nothing was used in that time", file=sys.stderr)
        return
    most = max(one.total_tokens for one in found)
    rows = [[_name(one, by), *_cells(one), _bar(one.total_tokens, most)] for one in found]
    if len(found) > 1:
        rows.append(["total", *_cells(_total(found)), " "])
    management.print_table((by.value.upper(), *_NUMBERS, "TOKENS"), rows, numbers=_NUMBERS)
    if any(one.unknown_usage or one.unpriced for one in found):
        print(
            f"{_MORE}: and what attempts cost whose usage is unknown, or that have no price", file=sys.stderr
        )


def _name(one: Usage, by: UsageBy) -> str:
    """The names that there are: a branch's when it exists, its id otherwise."""
    names = [value for field in GROUP_FIELDS[by] if (value := getattr(one, field))]
    return names[0] if by is UsageBy.BRANCH else " ".join(names)


def _total(found: Sequence[Usage]) -> Usage:
    costs = [one.cost_usd for one in found if one.cost_usd is not None]
    sums = {field: sum(getattr(one, field) for one in found) for field in _SUMS if field != "cost_usd"}
    return Usage(**sums, cost_usd=sum(costs) if costs else None)


def _cells(one: Usage) -> list[str]:
    counts = (one.input_tokens, one.output_tokens, one.cached_tokens, one.total_tokens)
    return [f"{one.requests:,}", *(f"{count:,}" for count in counts), _cost(one), f"{one.unknown_usage:,}"]


def _cost(one: Usage) -> str:
    """To a millionth of a dollar; less than that is not shown as nothing, and nothing known neither."""
    if one.cost_usd is None:
        return "unknown"
    dollars = "<$0.000001" if 0 < one.cost_usd < 1e-6 else f"${one.cost_usd:,.6f}"
    return dollars + (_MORE if one.unknown_usage or one.unpriced else "")


def _bar(tokens: int, most: int) -> str:
    """As long as the share of the most; what is more than nothing shows."""
    eighths = max(round(8 * _BAR_WIDTH * tokens / most), 1) if tokens else 0
    bar = _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8]
    try:
        bar.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return "#" * -(-eighths // 8)
    return bar
