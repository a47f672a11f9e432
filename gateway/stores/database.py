"""What a database must offer to be a store: SQL that SQLite and PostgreSQL both know, with `$1` for values.

Every fault of the database comes out of it as StoreUnavailable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Row = Sequence[Any]
Run = Callable[..., Awaitable[Sequence[Row]]]
"""Of a query and its values, the rows."""


class Change(Protocol):
    """A transaction under way, which sees what it has written."""

    async def run(self, query: str, *values: object) -> Sequence[Row]:
        """The rows that a statement gives."""

    async def run_many(self, query: str, rows: Sequence[Row]) -> None:
        """A statement once for each row of values."""

    async def insert(self, statement: str, types: Sequence[str], rows: Sequence[Row]) -> Sequence[Row]:
        """The rows that an INSERT of many rows gives: the statement has `{rows}` where they come in.

        `types` are PostgreSQL's, in the order of the values.
        """


class Database(Protocol):
    """Connections to a database whose schema is up to date."""

    async def close(self) -> None:
        """Let go of it; nothing else may be called after."""

    async def look_up(self, query: str, *values: object) -> Sequence[Row]:
        """A short query that a request waits for: it never waits behind a change or a report."""

    async def report(self, query: str, *values: object) -> Sequence[Row]:
        """A query that may take its time."""

    def change(self) -> AbstractAsyncContextManager[Change]:
        """A transaction, all of which happens, or nothing. One runs at a time, over all processes."""

    def addition(self) -> AbstractAsyncContextManager[Change]:
        """The same for rows that are only added or added to: it may run beside others."""
