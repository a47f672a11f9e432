"""What tests of identity and branches set up: a store with credentials, a clock to turn, a fault to cause."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway import tokens
from gateway.http_request import combined
from gateway.identity import SCOPE
from gateway.stores import DEFAULT_PROJECT, MAIN_BRANCH, PrincipalType, Store
from gateway.stores.sqlite import SqliteStore


@dataclass
class Clock:
    """A clock that stands still until it is turned."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def headers(*pairs: tuple[str, str], **values: str) -> dict[bytes, bytes]:
    """Fields as requests have them; `x_goog_api_key` is `x-goog-api-key`."""
    sent = [*pairs, *((name.replace("_", "-"), value) for name, value in values.items())]
    return combined([(name.encode(), value.encode("utf-8", "surrogatepass")) for name, value in sent])


async def issue(
    store: Store,
    branch: str = MAIN_BRANCH,
    *,
    project: str = DEFAULT_PROJECT,
    scopes: Sequence[str] = (SCOPE,),
    lifetime: int | None = None,
) -> str:
    """A new token, recorded in the store."""
    token = tokens.new_token()
    await store.create_credential(
        project,
        branch,
        credential_id=tokens.token_id(token),
        token_hash=tokens.hash_token(token),
        name="",
        principal_type=PrincipalType.SERVICE,
        scopes=scopes,
        lifetime=lifetime,
    )
    return token


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    """The store in a file, closed whatever happens: its threads would keep the test run from ending."""
    store = await SqliteStore.open(path)
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Garbage in place of an SQLite file that is in use; at the end it is as it was."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # or the log would still answer
    good = path.read_bytes()
    _overwrite(path, b"garbage!" * (len(good) // 8))
    try:
        yield
    finally:
        _overwrite(path, good)


def _overwrite(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)
