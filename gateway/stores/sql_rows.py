"""Rows of projects, branches and credentials: how they are read, and which one a reference means."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import StoreNotFound, printable
from gateway.limits import Level
from gateway.stores.database import Database, Row, Run
from gateway.stores.rows import Branch, Credential, PrincipalType, Project, is_reference

PROJECT = "SELECT id, name, created FROM projects"
BRANCH = "SELECT id, project_id, name, parent_id, created FROM branches"
CREDENTIAL = (
    "SELECT id, token_hash, project_id, branch_id, name, principal_type, scopes, created, expires, revoked "
    "FROM credentials"
)


async def look_up(database: Database, query: str, reference: str, *values: object) -> Sequence[Row]:
    """No query at all for what can be no one's id or name: not every database takes every text."""
    return await database.look_up(query, reference, *values) if is_reference(reference) else ()


async def project(database: Database, reference: str) -> Project:
    """The project with that id or name. Raises StoreNotFound."""
    # Projects are neither deleted nor renamed, so this needs no place in a change.
    found = await look_up(database, f"{PROJECT} WHERE id = $1 OR name = $1", reference)
    if not found:
        raise StoreNotFound(f'no project "{printable(reference)}"')
    return Project(*found[0])


async def branch(run: Run, owner: Project, reference: str) -> Branch:
    """The project's branch with that id or name. Raises StoreNotFound."""
    found = is_reference(reference) and await run(
        f"{BRANCH} WHERE (id = $1 OR name = $1) AND project_id = $2 AND deleted IS NULL", reference, owner.id
    )
    if not found:
        raise StoreNotFound(f'no branch "{printable(reference)}" in project "{owner.name}"')
    return Branch(*found[0])


async def limited(
    run: Run, owner: Project, branch_reference: str | None, credential_id: str | None
) -> tuple[Level, str]:
    """Whom limits are for: the credential, or else the branch, or else the project. Raises StoreNotFound."""
    if credential_id is not None:
        if not is_reference(credential_id) or not await run(
            f"{CREDENTIAL} WHERE id = $1 AND project_id = $2", credential_id, owner.id
        ):
            raise no_credential(credential_id)
        return Level.CREDENTIAL, credential_id
    if branch_reference is not None:
        return Level.BRANCH, (await branch(run, owner, branch_reference)).id
    return Level.PROJECT, owner.id


def no_credential(credential_id: str) -> StoreNotFound:
    """The error that names it."""
    return StoreNotFound(f'no credential "{printable(credential_id)}"')


def credential(row: Row) -> Credential:
    """A row of CREDENTIAL as what it stands for."""
    public_id, token_hash, project_id, branch_id, name, kind, scopes, *times = row
    kind, scopes = PrincipalType(kind), tuple(scopes.split())
    return Credential(public_id, token_hash, project_id, branch_id, name, kind, scopes, *times)
