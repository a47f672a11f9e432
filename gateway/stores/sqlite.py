"""Projects, branches and credentials in an SQLite file: the embedded default, for one machine.

Any number of processes may have it open (WAL). Each store has two connections, each in a thread of its own:
one that changes, one for look-ups alone, so that no request waits behind a change. The file must not be
replaced while a gateway runs on it: the gateway would go on with the old one.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

import aiosqlite

from gateway.errors import StoreConflict, StoreNotFound, printable
from gateway.stores import rows, sqlite_file
from gateway.stores.ids import new_branch_id, new_project_id
from gateway.stores.rows import DEFAULT_PROJECT, MAIN_BRANCH, Branch, Credential, PrincipalType, Project

_LOOKUP_BUSY_SECONDS = 1.0  # readers seldom wait in WAL; below the patience of those who ask
_PROJECT = "SELECT id, name, created FROM projects"
_BRANCH = "SELECT id, project_id, name, parent_id, created FROM branches"
_INSERT_BRANCH = "INSERT INTO branches (id, project_id, name, parent_id, created) VALUES (?, ?, ?, ?, ?)"
_CREDENTIAL = (
    "SELECT id, token_hash, project_id, branch_id, name, principal_type, scopes, created, expires, revoked "
    "FROM credentials"
)
_INSERT_CREDENTIAL = (
    "INSERT INTO credentials (id, token_hash, project_id, branch_id, name, principal_type, scopes, created, "
    "expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_LINEAGE = """
    WITH RECURSIVE lineage (id, parent_id, depth) AS (
        SELECT id, parent_id, 0 FROM branches WHERE deleted IS NULL AND {start}
        UNION ALL
        SELECT b.id, b.parent_id, depth + 1 FROM branches b JOIN lineage l ON b.id = l.parent_id
    )
    SELECT id FROM lineage ORDER BY depth
"""
_LINEAGE_BY_ID = _LINEAGE.format(start="id = ?1")
_LINEAGE_OF_DEFAULT = _LINEAGE.format(
    start="(id = ?1 OR name = ?1) AND project_id = (SELECT id FROM projects WHERE name = ?2)"
)


class SqliteStore:
    """A `Store`; made by `open`, ended by `close`."""

    def __init__(self, path: Path, writer: aiosqlite.Connection, reader: aiosqlite.Connection) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._changing = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> SqliteStore:
        """The store in that file, made with its folder if need be. Raises StoreError."""
        file = await asyncio.to_thread(sqlite_file.prepare, path)
        uri = file.as_uri() + "?mode=rw"  # not made anew if it vanished meanwhile
        opened: list[aiosqlite.Connection] = []
        try:
            for timeout in (sqlite_file.BUSY_SECONDS, _LOOKUP_BUSY_SECONDS):
                opened.append(await aiosqlite.connect(uri, uri=True, isolation_level=None, timeout=timeout))
            writer, reader = opened
            await writer.execute_fetchall("PRAGMA foreign_keys = ON")
            # A revocation that was confirmed must outlive a power failure; there are few changes.
            await writer.execute_fetchall("PRAGMA synchronous = FULL")
            await reader.execute_fetchall("PRAGMA query_only = ON")
        except BaseException as error:
            for connection in opened:
                await connection.close()
            if isinstance(error, sqlite3.Error):
                raise sqlite_file.fault(error, file) from None
            raise
        return cls(file, writer, reader)

    async def close(self) -> None:
        """Let go of the file."""
        await self._reader.close()
        await self._writer.close()

    async def credential(self, credential_id: str) -> Credential | None:
        found = await self._look_up(f"{_CREDENTIAL} WHERE id = ?", credential_id)
        return _credential(found[0]) if found else None

    async def lineage(self, branch_id: str) -> Sequence[str] | None:
        return tuple(row[0] for row in await self._look_up(_LINEAGE_BY_ID, branch_id)) or None

    async def default_lineage(self, reference: str) -> Sequence[str] | None:
        found = await self._look_up(_LINEAGE_OF_DEFAULT, reference, DEFAULT_PROJECT)
        return tuple(row[0] for row in found) or None

    async def projects(self) -> Sequence[Project]:
        return [Project(*row) for row in await self._look_up(f"{_PROJECT} ORDER BY created, rowid")]

    async def create_project(self, name: str) -> Project:
        rows.check_name(name)
        async with self._change():
            if await self._run(f"{_PROJECT} WHERE name = ?", name):
                raise StoreConflict(f'project "{name}" exists already')
            project = Project(new_project_id(), name, int(time.time()))
            await self._run("INSERT INTO projects (id, name, created) VALUES (?, ?, ?)", *astuple(project))
            main = Branch(new_branch_id(), project.id, MAIN_BRANCH, None, project.created)
            await self._run(_INSERT_BRANCH, *astuple(main))
        return project

    async def branches(self, project: str) -> Sequence[Branch]:
        owner = await self._project(project)
        found = await self._look_up(
            f"{_BRANCH} WHERE project_id = ? AND deleted IS NULL ORDER BY created, rowid", owner.id
        )
        return [Branch(*row) for row in found]

    async def create_branch(self, project: str, name: str, parent: str | None) -> Branch:
        rows.check_name(name)
        async with self._change():
            owner = await self._project(project)
            above = None if parent is None else (await self._branch(owner, parent)).id
            if await self._run(
                f"{_BRANCH} WHERE project_id = ? AND name = ? AND deleted IS NULL", owner.id, name
            ):
                raise StoreConflict(f'branch "{name}" exists already in project "{owner.name}"')
            branch = Branch(new_branch_id(), owner.id, name, above, int(time.time()))
            await self._run(_INSERT_BRANCH, *astuple(branch))
        return branch

    async def delete_branch(self, project: str, branch: str) -> Branch:
        async with self._change():
            doomed = await self._branch(await self._project(project), branch)
            if await self._run(f"{_BRANCH} WHERE parent_id = ? AND deleted IS NULL", doomed.id):
                raise StoreConflict(f'branch "{doomed.name}" has children; delete those first')
            now = int(time.time())
            await self._run("UPDATE branches SET deleted = ? WHERE id = ?", now, doomed.id)
            await self._run(
                "UPDATE credentials SET revoked = ? WHERE branch_id = ? AND revoked IS NULL", now, doomed.id
            )
        return doomed

    async def credentials(self, project: str) -> Sequence[Credential]:
        owner = await self._project(project)
        found = await self._look_up(f"{_CREDENTIAL} WHERE project_id = ? ORDER BY created, rowid", owner.id)
        return [_credential(row) for row in found]

    async def create_credential(
        self,
        project: str,
        branch: str,
        *,
        credential_id: str,
        token_hash: bytes,
        name: str,
        principal_type: PrincipalType,
        scopes: Sequence[str],
        lifetime: int | None,
    ) -> Credential:
        rows.check_title(name)
        rows.check_scopes(scopes)
        async with self._change():
            anchor = await self._branch(await self._project(project), branch)
            now = int(time.time())
            credential = Credential(
                credential_id,
                token_hash,
                anchor.project_id,
                anchor.id,
                name,
                principal_type,
                tuple(dict.fromkeys(scopes)),
                now,
                None if lifetime is None else now + lifetime,
                None,
            )
            await self._run(
                _INSERT_CREDENTIAL,
                credential_id,
                token_hash,
                anchor.project_id,
                anchor.id,
                name,
                principal_type.value,
                " ".join(credential.scopes),
                now,
                credential.expires,
            )
        return credential

    async def revoke_credential(self, credential_id: str, *, cut: bool = False) -> Credential:
        now = int(time.time())
        async with self._change():
            await self._run(
                "UPDATE credentials SET revoked = ? WHERE id = ? AND revoked IS NULL", now, credential_id
            )
            if cut:
                await self._run("UPDATE credentials SET cut = ? WHERE id = ?", now, credential_id)
            found = await self._run(f"{_CREDENTIAL} WHERE id = ?", credential_id)
            if not found:
                raise StoreNotFound(f'no credential "{printable(credential_id)}"')
        return _credential(found[0])

    async def cut_since(self, since: float) -> Sequence[str]:
        found = await self._look_up("SELECT id FROM credentials WHERE cut >= ?", int(since))
        return [row[0] for row in found]

    async def _look_up(self, query: str, *values: object) -> list[Any]:
        try:
            return list(await self._reader.execute_fetchall(query, values))
        except sqlite3.Error as error:
            # Drops the pages read, so that a file that has been mended is seen to be.
            with suppress(sqlite3.Error):
                await self._reader.execute_fetchall("PRAGMA shrink_memory")
            raise sqlite_file.fault(error, self._path) from None

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[None]:
        """One transaction: all of it happens, or nothing."""
        async with self._changing:
            try:
                await self._run("BEGIN IMMEDIATE")
                yield
                await self._run("COMMIT")
            except BaseException as error:
                # In its turn even if this is cancelled again: the connection works through them in order.
                with suppress(sqlite3.Error):
                    await self._run("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise sqlite_file.fault(error, self._path) from None
                raise

    async def _run(self, query: str, *values: object) -> list[Any]:
        # Whole results only: to drop a cursor in this thread would wait for the other thread's statement.
        return list(await self._writer.execute_fetchall(query, values))

    async def _project(self, reference: str) -> Project:
        # Projects are neither deleted nor renamed, so this needs no place in a change.
        found = rows.is_reference(reference) and await self._look_up(
            f"{_PROJECT} WHERE id = ?1 OR name = ?1", reference
        )
        if not found:
            raise StoreNotFound(f'no project "{printable(reference)}"')
        return Project(*found[0])

    async def _branch(self, project: Project, reference: str) -> Branch:
        found = rows.is_reference(reference) and await self._run(
            f"{_BRANCH} WHERE (id = ?1 OR name = ?1) AND project_id = ?2 AND deleted IS NULL",
            reference,
            project.id,
        )
        if not found:
            raise StoreNotFound(f'no branch "{printable(reference)}" in project "{project.name}"')
        return Branch(*found[0])


def _credential(row: Any) -> Credential:
    public_id, token_hash, project_id, branch_id, name, kind, scopes, *times = row
    kind, scopes = PrincipalType(kind), tuple(scopes.split())
    return Credential(public_id, token_hash, project_id, branch_id, name, kind, scopes, *times)
