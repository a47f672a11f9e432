"""The SQLite file itself: making it, telling whose it is, bringing it to this version, and what can be wrong.

All of it blocks, so it runs in a thread of its own, before the store serves anybody.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import closing, suppress
from importlib import resources
from pathlib import Path

from gateway.errors import StoreError, StoreUnavailable
from gateway.stores.ids import new_branch_id, new_project_id
from gateway.stores.rows import DEFAULT_PROJECT, MAIN_BRANCH

BUSY_SECONDS = 5.0
"""How long a change waits for another process's."""
_SMALLEST_PAGE = 512
_DAMAGED = "not an SQLite database, or damaged; left as it is"
_APPLICATION_ID = 0x67656D67


def prepare(file: Path) -> Path:
    """Make the file if need be, bring it to the newest version, and return its absolute path.

    Raises StoreError; a file that is not ours, damaged, or of a newer version, is left as it is. Any number
    of processes may do this at once.
    """
    path = file.absolute()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives the files beside it (-wal, -shm) the same mode. A file that is there is never opened
        # here: closing it would drop the locks that SQLite holds on it elsewhere in this process.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        status = path.stat()
    except FileExistsError as error:
        raise StoreError(f"{path}: {error.filename} is not a folder") from None
    except OSError as error:
        raise StoreError(f"{path}: can't be made ({error.strerror})") from None
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path}: not a regular file")
    if not os.access(path, os.R_OK | os.W_OK):  # SQLite would be content with reading, until the first change
        raise StoreError(f"{path}: this user may not read and write it")
    # SQLite takes what is shorter than the smallest page for empty, and would write over it.
    if 0 < status.st_size < _SMALLEST_PAGE:
        raise StoreError(f"{path}: {_DAMAGED}")
    try:
        _check_form(path)
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
            _check_owner(connection, path)
            _use_wal(connection, path)
            _migrate(connection)
    except sqlite3.Error as error:
        raise fault(error, path) from None
    return path


def fault(error: sqlite3.Error, path: Path) -> StoreUnavailable:
    """What SQLite's error means to an operator, in one line."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says where in SQLite it came up
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StoreUnavailable(f"{path}: {_DAMAGED}")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreUnavailable(f"{path}: locked by another process")
    return StoreUnavailable(f"{path}: {error}")


def _check_form(path: Path) -> None:
    # Opened as usual, a file of something else would first be mended from a log that may lie beside it.
    with closing(sqlite3.connect(path.as_uri() + "?mode=ro&immutable=1", uri=True)) as connection:
        try:
            connection.execute("PRAGMA user_version")
        except sqlite3.DatabaseError as error:
            # Any other fault may come from reading, without a lock, what another process is writing.
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_NOTADB:
                raise


def _check_owner(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN")
    application = _number(connection, "PRAGMA application_id")
    version = _number(connection, "PRAGMA user_version")
    tables = _number(connection, "SELECT count(*) FROM sqlite_schema")
    connection.execute("COMMIT")
    if (version or tables) and application != _APPLICATION_ID:
        raise StoreError(f"{path}: the database of another program; left as it is")
    newest = len(_migrations())
    if version > newest:
        raise StoreError(
            f"{path}: made by a newer gateway (version {version}, this one knows {newest}); left as it is"
        )


def _use_wal(connection: sqlite3.Connection, path: Path) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            # Two that switch a new file at once: SQLite doesn't wait here, whatever its timeout.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    if mode != "wal":
        raise StoreError(f"{path}: this file system can't hold it (no shared memory for SQLite's WAL)")


def _migrate(connection: sqlite3.Connection) -> None:
    for version, script in enumerate(_migrations(), start=1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Asked for inside: another process may have done it meanwhile.
            if _number(connection, "PRAGMA user_version") < version:
                for statement in _statements(script):
                    connection.execute(statement)
                if version == 1:
                    _first_rows(connection)
                connection.execute(f"PRAGMA user_version = {version}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _first_rows(connection: sqlite3.Connection) -> None:
    now, project = int(time.time()), new_project_id()
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute("INSERT INTO projects VALUES (?, ?, ?)", (project, DEFAULT_PROJECT, now))
    connection.execute(
        "INSERT INTO branches (id, project_id, name, created) VALUES (?, ?, ?, ?)",
        (new_branch_id(), project, MAIN_BRANCH, now),
    )


def _migrations() -> list[str]:
    """The scripts in the order of their numbers, which run from 1 without a gap."""
    scripts = [
        f
        for f in resources.files("gateway.stores").iterdir()
        if f.name.startswith("sqlite_") and f.name.endswith(".sql")
    ]
    return [script.read_text("utf-8") for script in sorted(scripts, key=lambda f: f.name)]


def _statements(script: str) -> list[str]:
    """One by one, since executescript would commit in between."""
    statements, begun = [], ""
    for line in script.splitlines(keepends=True):
        begun += line
        if sqlite3.complete_statement(begun):
            statements.append(begun)
            begun = ""
    return statements


def _number(connection: sqlite3.Connection, query: str) -> int:
    (value,) = connection.execute(query).fetchone()
    return int(value)
