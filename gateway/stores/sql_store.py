"""A store in SQL: projects, branches, credentials, limits and the audit trail, the same in every database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import astuple

from msgspec import to_builtins

from gateway.errors import StoreConflict
from gateway.limits import Limits
from gateway.stores import rows, sql_audit, sql_limits, sql_rows, sql_usage
from gateway.stores.database import Database
from gateway.stores.ids import new_branch_id, new_project_id
from gateway.stores.rows import (
    DEFAULT_PROJECT,
    ITSELF,
    MAIN_BRANCH,
    AuditEntry,
    Branch,
    Credential,
    LimitsTable,
    PrincipalType,
    Project,
    UsageBy,
    UsageSum,
)
from gateway.usage_record import UsageRecord

_INSERT_BRANCH = "INSERT INTO branches (id, project_id, name, parent_id, created) VALUES ($1, $2, $3, $4, $5)"
_INSERT_CREDENTIAL = (
    "INSERT INTO credentials (id, token_hash, project_id, branch_id, name, principal_type, scopes, created, "
    "expires) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
)
_LINEAGE = """
    WITH RECURSIVE lineage (id, parent_id, depth) AS (
        SELECT id, parent_id, 0 FROM branches WHERE deleted IS NULL AND {start}
        UNION ALL
        SELECT b.id, b.parent_id, depth + 1 FROM branches b JOIN lineage l ON b.id = l.parent_id
    )
    SELECT id FROM lineage ORDER BY depth
"""
_LINEAGE_BY_ID = _LINEAGE.format(start="id = $1")
_LINEAGE_OF_DEFAULT = _LINEAGE.format(
    start="(id = $1 OR name = $1) AND project_id = (SELECT id FROM projects WHERE name = $2)"
)


class SqlStore:
    """A `Store`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def close(self) -> None:
        await self.database.close()

    async def credential(self, credential_id: str) -> Credential | None:
        found = await sql_rows.look_up(self.database, f"{sql_rows.CREDENTIAL} WHERE id = $1", credential_id)
        return sql_rows.credential(found[0]) if found else None

    async def lineage(self, branch_id: str) -> Sequence[str] | None:
        return (
            tuple(row[0] for row in await sql_rows.look_up(self.database, _LINEAGE_BY_ID, branch_id)) or None
        )

    async def default_lineage(self, reference: str) -> Sequence[str] | None:
        found = await sql_rows.look_up(self.database, _LINEAGE_OF_DEFAULT, reference, DEFAULT_PROJECT)
        return tuple(row[0] for row in found) or None

    async def projects(self) -> Sequence[Project]:
        return [
            Project(*row)
            for row in await self.database.look_up(f"{sql_rows.PROJECT} ORDER BY created, rowid")
        ]

    async def create_project(self, name: str, *, actor: str = ITSELF) -> Project:
        rows.check_name(name)
        async with self.database.change() as change:
            if await change.run(f"{sql_rows.PROJECT} WHERE name = $1", name):
                raise StoreConflict(f'project "{name}" exists already')
            project = Project(new_project_id(), name, int(time.time()))
            await change.run(
                "INSERT INTO projects (id, name, created) VALUES ($1, $2, $3)", *astuple(project)
            )
            main = Branch(new_branch_id(), project.id, MAIN_BRANCH, None, project.created)
            await change.run(_INSERT_BRANCH, *astuple(main))
            await sql_audit.record(change, actor, "project.create", project.id, project.id, name=name)
        return project

    async def branches(self, project: str) -> Sequence[Branch]:
        owner = await sql_rows.project(self.database, project)
        found = await self.database.look_up(
            f"{sql_rows.BRANCH} WHERE project_id = $1 AND deleted IS NULL ORDER BY created, rowid", owner.id
        )
        return [Branch(*row) for row in found]

    async def create_branch(
        self, project: str, name: str, parent: str | None, *, actor: str = ITSELF
    ) -> Branch:
        rows.check_name(name)
        owner = await sql_rows.project(self.database, project)
        async with self.database.change() as change:
            above = None if parent is None else (await sql_rows.branch(change.run, owner, parent)).id
            if await change.run(
                f"{sql_rows.BRANCH} WHERE project_id = $1 AND name = $2 AND deleted IS NULL", owner.id, name
            ):
                raise StoreConflict(f'branch "{name}" exists already in project "{owner.name}"')
            branch = Branch(new_branch_id(), owner.id, name, above, int(time.time()))
            await change.run(_INSERT_BRANCH, *astuple(branch))
            await sql_audit.record(
                change, actor, "branch.create", owner.id, branch.id, name=name, parent=above
            )
        return branch

    async def delete_branch(self, project: str, branch: str, *, actor: str = ITSELF) -> Branch:
        owner = await sql_rows.project(self.database, project)
        async with self.database.change() as change:
            doomed = await sql_rows.branch(change.run, owner, branch)
            if await change.run(f"{sql_rows.BRANCH} WHERE parent_id = $1 AND deleted IS NULL", doomed.id):
                raise StoreConflict(f'branch "{doomed.name}" has children; delete those first')
            now = int(time.time())
            await change.run("UPDATE branches SET deleted = $1 WHERE id = $2", now, doomed.id)
            revoked = await change.run(
                "UPDATE credentials SET revoked = $1 WHERE branch_id = $2 AND revoked IS NULL RETURNING id",
                now,
                doomed.id,
            )
            await sql_audit.record(
                change, actor, "branch.delete", owner.id, doomed.id, name=doomed.name, revoked=len(revoked)
            )
        return doomed

    async def credentials(self, project: str) -> Sequence[Credential]:
        owner = await sql_rows.project(self.database, project)
        found = await self.database.look_up(
            f"{sql_rows.CREDENTIAL} WHERE project_id = $1 ORDER BY created, rowid", owner.id
        )
        return [sql_rows.credential(row) for row in found]

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
        actor: str = ITSELF,
    ) -> Credential:
        rows.check_title(name)
        rows.check_scopes(scopes)
        owner = await sql_rows.project(self.database, project)
        async with self.database.change() as change:
            anchor = await sql_rows.branch(change.run, owner, branch)
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
            await change.run(
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
            await sql_audit.record(
                change,
                actor,
                "credential.create",
                owner.id,
                credential_id,
                branch=anchor.id,
                name=name,
                principal_type=principal_type.value,
                scopes=credential.scopes,
                expires=credential.expires,
            )
        return credential

    async def revoke_credential(
        self, credential_id: str, *, cut: bool = False, actor: str = ITSELF
    ) -> Credential:
        if not rows.is_reference(credential_id):
            raise sql_rows.no_credential(credential_id)
        now = int(time.time())
        async with self.database.change() as change:
            newly = await change.run(
                "UPDATE credentials SET revoked = $1 WHERE id = $2 AND revoked IS NULL RETURNING id",
                now,
                credential_id,
            )
            if cut:
                await change.run("UPDATE credentials SET cut = $1 WHERE id = $2", now, credential_id)
            found = await change.run(f"{sql_rows.CREDENTIAL} WHERE id = $1", credential_id)
            if not found:
                raise sql_rows.no_credential(credential_id)
            credential = sql_rows.credential(found[0])
            if newly or cut:
                await sql_audit.record(
                    change, actor, "credential.revoke", credential.project_id, credential_id, cut=cut
                )
        return credential

    async def cut_since(self, since: float) -> Sequence[str]:
        found = await self.database.look_up("SELECT id FROM credentials WHERE cut >= $1", int(since))
        return [row[0] for row in found]

    async def limits(
        self, project: str, *, branch: str | None = None, credential: str | None = None
    ) -> Limits:
        owner = await sql_rows.project(self.database, project)
        run = self.database.look_up
        return await sql_limits.read(run, *await sql_rows.limited(run, owner, branch, credential))

    async def set_limits(
        self,
        project: str,
        limits: Limits,
        *,
        branch: str | None = None,
        credential: str | None = None,
        actor: str = ITSELF,
    ) -> None:
        sql_limits.check(limits)
        owner = await sql_rows.project(self.database, project)
        async with self.database.change() as change:
            level, subject = await sql_rows.limited(change.run, owner, branch, credential)
            await sql_limits.write(change, level, subject, limits)
            await sql_audit.record(
                change, actor, "limits.set", owner.id, subject, level=level.value, limits=to_builtins(limits)
            )

    async def limits_version(self) -> int:
        return await sql_limits.version(self.database)

    async def all_limits(self) -> LimitsTable:
        return await sql_limits.table(self.database)

    async def audit_trail(
        self, project: str | None = None, *, before: int | None = None, most: int = 100
    ) -> Sequence[AuditEntry]:
        owner = None if project is None else (await sql_rows.project(self.database, project)).id
        return await sql_audit.entries(self.database, owner, before, most)

    async def add_usage(self, records: Sequence[UsageRecord]) -> int:
        async with self.database.addition() as addition:
            return await sql_usage.add(addition, records)

    async def usage(
        self, project: str, since: float, until: float, by: Sequence[UsageBy] = ()
    ) -> Sequence[UsageSum]:
        owner = await sql_rows.project(self.database, project)
        return await sql_usage.sums(self.database, owner.id, since, until, by)

    async def drop_usage(self, before: float, most: int = 10_000) -> int:
        async with self.database.change() as change:
            return await sql_usage.drop(change, before, most)
