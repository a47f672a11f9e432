"""What the commands that manage the store share: opening it, failing in one line, printing."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pwd
import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import NoReturn

from gateway.config import Store as StoreSettings
from gateway.config import load
from gateway.errors import one_line, printable
from gateway.stores import DEFAULT_PROJECT, Store, StoreError, open_store


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a call; `--help` tells the rest."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2."""
        sys.exit(fail(f"{message} (see {self.prog} --help)", code=2))


def options() -> argparse.ArgumentParser:
    """The parent parser of these commands: `--json`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def project_option() -> argparse.ArgumentParser:
    """The parent parser of commands within a project: `--project`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--project", default=DEFAULT_PROJECT, metavar="PROJECT", help="id or name (default: %(default)s)"
    )
    return parser


def with_store(args: argparse.Namespace, action: Callable[[Store], Awaitable[None]]) -> int:
    """Run `action` on the configured store; the exit code. Raises ConfigurationError."""
    config = load(args.config, os.environ, serving=False)
    try:
        asyncio.run(_with_store(config.store, action))
    except StoreError as error:
        return fail(str(error), code=1)
    return 0


async def _with_store(settings: StoreSettings, action: Callable[[Store], Awaitable[None]]) -> None:
    store = await open_store(settings.url, settings.password)
    try:
        await action(store)
    finally:
        await store.close()


def actor() -> str:
    """Whom the audit trail names for what a command changes: `cli:` and the user's name, or number."""
    user = os.geteuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = str(user)
    return f"cli:{printable(name)}"


def fail(message: str, *, code: int) -> int:
    """Say on standard error, in one line, what went wrong; returns the exit code."""
    print(f"error: {one_line(message)}", file=sys.stderr)
    return code


def print_json(value: object) -> None:
    """To standard output."""
    print(json.dumps(value, indent=2))


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Collection[str] = ()
) -> None:
    """To standard output, in columns as wide as their widest cell; an empty cell is shown as `-`.

    `numbers` are the heads of the columns that end at the right.
    """
    lines = [heads, *([cell or "-" for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.rjust(width) if head in numbers else cell.ljust(width)
            for head, cell, width in zip(heads, line, widths, strict=True)
        ]
        print("  ".join(cells).rstrip())


def when(seconds: int) -> str:
    """Seconds since the epoch as `2026-11-30T12:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
