"""The store in an SQLite file: the embedded default, for one machine.

Any number of processes may have it open (WAL). Each store has three connections, each in a thread of its own:
one that changes, one for look-ups alone, so that no request waits behind a change, and one for reports. The
file must not be replaced while a gateway runs on it: the gateway would go on with the old one.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiosqlite

from gateway.stores import sqlite_file
from gateway.stores.database import Row
from gateway.stores.sql_store import SqlStore

_LOOKUP_BUSY_SECONDS = 1.0  # readers seldom wait in WAL; below the patience of those who ask


class SqliteStore(SqlStore):
    """A `Store`; made by `open`, ended by `close`."""

    database: SqliteDatabase

    @classmethod
    async def open(cls, path: Path) -> SqliteStore:
        """The store in that file, made with its folder if need be. Raises StoreError."""
        file = await asyncio.to_thread(sqlite_file.prepare, path)
        uri = file.as_uri() + "?mode=rw"  # not made anew if it vanished meanwhile
        opened: list[aiosqlite.Connection] = []
        try:
            for timeout in (sqlite_file.BUSY_SECONDS, _LOOKUP_BUSY_SECONDS, sqlite_file.BUSY_SECONDS):
                opened.append(await aiosqlite.connect(uri, uri=True, isolation_level=None, timeout=timeout))
            writer, *readers = opened
            await writer.execute_fetchall("PRAGMA foreign_keys = ON")
            # A revocation that was confirmed must outlive a power failure, and so must usage, whose spool is
            # then deleted. There are few changes.
            await writer.execute_fetchall("PRAGMA synchronous = FULL")
            for reader in readers:
                await reader.execute_fetchall("PRAGMA query_only = ON")
        except BaseException as error:
            for connection in opened:
                await connection.close()
            if isinstance(error, sqlite3.Error):
                raise sqlite_file.fault(error, file) from None
            raise
        return cls(SqliteDatabase(file, *opened))


class SqliteDatabase:
    """A `Database`, which is its own `Change`: one connection changes, and one change is made at a time."""

    def __init__(
        self,
        path: Path,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        reporter: aiosqlite.Connection,
    ) -> None:
        self.writer = writer
        self.reader = reader
        self.reporter = reporter
        self._path = path
        self._changing = asyncio.Lock()

    async def close(self) -> None:
        for connection in (self.reader, self.reporter, self.writer):
            await connection.close()

    async def look_up(self, query: str, *values: object) -> Sequence[Row]:
        return await self._read(self.reader, query, values)

    async def report(self, query: str, *values: object) -> Sequence[Row]:
        return await self._read(self.reporter, query, values)

    @asynccontextmanager
    async def change(self) -> AsyncIterator[SqliteDatabase]:
        async with self._changing:
            try:
                await self.run("BEGIN IMMEDIATE")
                yield self
                await self.run("COMMIT")
            except BaseException as error:
                # In its turn even if this is cancelled again: the connection works through them in order.
                with suppress(sqlite3.Error):
                    await self.run("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise sqlite_file.fault(error, self._path) from None
                raise

    addition = change

    async def run(self, query: str, *values: object) -> Sequence[Row]:
        # Whole results only: to drop a cursor in this thread would wait for the other thread's statement.
        return list(await self.writer.execute_fetchall(_numbered(query), values))

    async def run_many(self, query: str, rows: Sequence[Row]) -> None:
        await (await self.writer.executemany(_numbered(query), rows)).close()

    async def insert(self, statement: str, types: Sequence[str], rows: Sequence[Row]) -> Sequence[Row]:
        # One statement for all rows: with one for each, the threads would take the interpreter from each
        # other twice for each row, which costs whoever serves requests meanwhile more than the rows do.
        marks = "(" + ", ".join("?" * len(types)) + ")"
        query = statement.format(rows="VALUES " + ", ".join([marks] * len(rows)))
        return list(await self.writer.execute_fetchall(query, [value for row in rows for value in row]))

    async def _read(
        self, connection: aiosqlite.Connection, query: str, values: Sequence[object]
    ) -> Sequence[Row]:
        try:
            return list(await connection.execute_fetchall(_numbered(query), values))
        except sqlite3.Error as error:
            # Drops the pages read, so that a file that has been mended is seen to be.
            with suppress(sqlite3.Error):
                await connection.execute_fetchall("PRAGMA shrink_memory")
            raise sqlite_file.fault(error, self._path) from None


def _numbered(query: str) -> str:
    """SQLite takes `$1` for a name; its numbers are written `?1`."""
    return query.replace("$", "?")
