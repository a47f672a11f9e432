"""The schema in PostgreSQL: made, or brought to this version, by whoever comes first."""

from __future__ import annotations

import time
from importlib import resources

import asyncpg

from gateway.errors import StoreError
from gateway.stores.ids import new_branch_id, new_project_id
from gateway.stores.rows import DEFAULT_PROJECT, MAIN_BRANCH

SCHEMA = "gemini_gateway"
"""All tables are in it, so that the database may hold others' too."""
LOCK = 0x67656D67
"""The advisory lock of whoever changes something; it ends with the transaction."""


async def prepare(connection: asyncpg.Connection, label: str) -> None:
    """Bring the schema to the newest version, in one transaction. Raises StoreError and what asyncpg raises.

    Any number of processes and machines may do this at once. `label` names the database in errors.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        if await connection.fetchval("SHOW server_encoding") != "UTF8":
            raise StoreError(f"{label}: the database's encoding is not UTF8")
        if not await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", SCHEMA):
            await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{SCHEMA}.schema_version"):
            await connection.execute("CREATE TABLE schema_version (version BIGINT NOT NULL)")
            await connection.execute("INSERT INTO schema_version (version) VALUES (0)")
        version = await connection.fetchval("SELECT version FROM schema_version")
        scripts = _migrations()
        if version > len(scripts):
            raise StoreError(
                f"{label}: made by a newer gateway (version {version}, this one knows {len(scripts)}); "
                "left as it is"
            )
        for script in scripts[version:]:
            await connection.execute(script)
        if version == 0:
            await _first_rows(connection)
        if version < len(scripts):
            await connection.execute("UPDATE schema_version SET version = $1", len(scripts))


async def _first_rows(connection: asyncpg.Connection) -> None:
    now, project = int(time.time()), new_project_id()
    await connection.execute(
        "INSERT INTO projects (id, name, created) VALUES ($1, $2, $3)", project, DEFAULT_PROJECT, now
    )
    await connection.execute(
        "INSERT INTO branches (id, project_id, name, created) VALUES ($1, $2, $3, $4)",
        new_branch_id(),
        project,
        MAIN_BRANCH,
        now,
    )


def _migrations() -> list[str]:
    """The scripts in the order of their numbers, which run from 1 without a gap."""
    files = resources.files("gateway.stores").iterdir()
    scripts = [f for f in files if f.name.startswith("postgres_") and f.name.endswith(".sql")]
    return [script.read_text("utf-8") for script in sorted(scripts, key=lambda f: f.name)]
