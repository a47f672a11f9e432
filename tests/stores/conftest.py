"""The databases that every store test runs over: an SQLite file and a PostgreSQL server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.config.values import StoreUrl
from gateway.secrets import Secret
from gateway.stores import Store, open_store
from tests.support.postgres_server import PostgresServer


@dataclass(frozen=True)
class Place:
    """A database that was empty when the test began."""

    url: StoreUrl
    password: Secret | None

    @classmethod
    def sqlite(cls, path: Path) -> Place:
        """An SQLite file."""
        return cls(StoreUrl.parse(f"sqlite:///{path}"), None)

    async def open(self) -> Store:
        """One more store on it; the caller closes it."""
        return await open_store(self.url, self.password)


@pytest.fixture(params=["sqlite", "postgres"])
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: Callable[[], PostgresServer]
) -> Place:
    """Each kind of database in turn."""
    if request.param == "sqlite":
        return Place.sqlite(tmp_path / "gateway.db")
    server = postgres()
    return Place(await server.empty_database(), server.password)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[Store]:
    """A new store."""
    store = await place.open()
    yield store
    await store.close()
