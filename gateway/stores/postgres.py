"""The store in PostgreSQL, for gateways on many machines.

Each store has two pools: one for look-ups alone, so that no request waits behind a change or a report. A
connection on which anything went wrong, a cancelled caller included, is closed and never used again. Nothing
waits for longer than its time, and a server that comes back is found by the next call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from gateway.config.values import StoreUrl
from gateway.errors import StoreError, StoreUnavailable, printable
from gateway.secrets import Secret
from gateway.stores import postgres_schema
from gateway.stores.database import Row
from gateway.stores.sql_store import SqlStore

LOOKUP_SECONDS = 1.5
"""Below the patience of those who ask."""
CHANGE_SECONDS = 10.0
REPORT_SECONDS = 30.0
"""For an addition of usage, too."""
_LOOKUPS, _OTHERS = 4, 3
"""Connections of each process; a server takes 100 unless it is told otherwise."""
_IDLE_SECONDS = 60.0
_CLOSE_SECONDS = 2.0
# In milliseconds. The server gives up by itself what a machine left behind that is gone or stands still.
_SETTINGS = {
    "application_name": "gemini-gateway",
    "search_path": postgres_schema.SCHEMA,
    "statement_timeout": "30000",
    "lock_timeout": "5000",
    "idle_in_transaction_session_timeout": "10000",
}
# asyncpg takes a connection that is cut at an unlucky moment for a mistake of its own.
_FAULTS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class PostgresStore(SqlStore):
    """A `Store`; made by `open`, ended by `close`."""

    @classmethod
    async def open(cls, url: StoreUrl, password: Secret | None, *, prepared: bool = False) -> PostgresStore:
        """The store in that database, its schema made if need be. Raises StoreError.

        prepared: nothing is to be made, and nobody asked before there is a question.
        """
        options = {
            "dsn": str(url),
            "password": password and password.reveal(),
            "server_settings": _SETTINGS,
            "statement_cache_size": 0,  # statements are few and seldom, and plans outlive no migration
        }
        database = PostgresDatabase(url.partition("?")[0], options)
        try:
            await database.begin()
            if not prepared:
                await database.prepare()
        except BaseException:
            await database.close()
            raise
        return cls(database)


class PostgresDatabase:
    """A `Database`. `label` names it in errors; `options` are asyncpg's to connect."""

    def __init__(self, label: str, options: dict[str, Any]) -> None:
        self._label = label
        self._lookups = _pool(options, _LOOKUPS)
        self._others = _pool(options, _OTHERS)

    async def begin(self) -> None:
        """Have the pools ready; they connect when somebody needs it."""
        await self._lookups
        await self._others

    async def prepare(self) -> None:
        """Bring the schema to this version. Raises StoreError."""
        async with self._connection(self._others, CHANGE_SECONDS) as connection:
            await postgres_schema.prepare(connection, self._label)

    async def close(self) -> None:
        await asyncio.gather(_close(self._lookups), _close(self._others))

    async def look_up(self, query: str, *values: object) -> Sequence[Row]:
        async with self._connection(self._lookups, LOOKUP_SECONDS) as connection:
            return list(await connection.fetch(query, *values))

    async def report(self, query: str, *values: object) -> Sequence[Row]:
        async with self._connection(self._others, REPORT_SECONDS) as connection:
            return list(await connection.fetch(query, *values))

    @asynccontextmanager
    async def change(self) -> AsyncIterator[PostgresChange]:
        async with self._connection(self._others, CHANGE_SECONDS) as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", postgres_schema.LOCK)
            yield PostgresChange(connection)

    @asynccontextmanager
    async def addition(self) -> AsyncIterator[PostgresChange]:
        async with self._connection(self._others, REPORT_SECONDS) as connection, connection.transaction():
            yield PostgresChange(connection)

    @asynccontextmanager
    async def _connection(
        self, pool: asyncpg.Pool, seconds: float
    ) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        """A connection for at most so long; every fault becomes StoreUnavailable."""
        try:
            async with asyncio.timeout(seconds):
                connection = await pool.acquire()
                try:
                    yield connection
                except StoreError:  # our own verdict; the transaction has been rolled back
                    raise
                except BaseException:
                    connection.terminate()
                    raise
                finally:
                    await pool.release(connection)
        except TimeoutError:
            raise StoreUnavailable(f"{self._label}: no answer within {seconds:g} s") from None
        except _FAULTS as error:
            raise StoreUnavailable(f"{self._label}: {_words(error)}") from None


class PostgresChange:
    """A `Change`."""

    def __init__(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        self._connection = connection

    async def run(self, query: str, *values: object) -> Sequence[Row]:
        return list(await self._connection.fetch(query, *values))

    async def run_many(self, query: str, rows: Sequence[Row]) -> None:
        await self._connection.executemany(query, rows)

    async def insert(self, statement: str, types: Sequence[str], rows: Sequence[Row]) -> Sequence[Row]:
        columns = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, start=1))
        query = statement.format(rows=f"SELECT * FROM unnest({columns})")  # noqa: S608 - types and numbers
        return list(await self._connection.fetch(query, *zip(*rows, strict=True)))


def _pool(options: dict[str, Any], size: int) -> asyncpg.Pool:
    return asyncpg.create_pool(
        min_size=0, max_size=size, max_inactive_connection_lifetime=_IDLE_SECONDS, reset=_reset, **options
    )


async def _close(pool: asyncpg.Pool) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await pool.close()
    except _FAULTS:
        pool.terminate()


async def _reset(connection: asyncpg.Connection) -> None:
    """Nothing that outlives a transaction is ever changed, so there is nothing to ask the server for."""


def _words(error: BaseException) -> str:
    """One line without what the server quotes as details, which are values of rows."""
    text = str(error.args[0]) if isinstance(error, asyncpg.PostgresError) and error.args else str(error)
    return printable(text.partition("\n")[0]) or type(error).__name__
