"""Where projects, branches, credentials, limits and usage are kept: one Protocol, several databases.

Rows come out of here as plain values, and nothing of the database shows: every fault is a StoreError, the
passing ones StoreUnavailable. What a credential may do is not judged here.
"""

from __future__ import annotations

from gateway.config.values import StoreUrl
from gateway.errors import StoreError, StoreUnavailable
from gateway.secrets import Secret
from gateway.stores.rows import (
    DEFAULT_PROJECT,
    MAIN_BRANCH,
    AuditEntry,
    Branch,
    Credential,
    LimitsTable,
    PrincipalType,
    Project,
    Store,
    UsageBy,
    UsageSum,
)
from gateway.stores.sqlite import SqliteStore

__all__ = [
    "DEFAULT_PROJECT",
    "MAIN_BRANCH",
    "AuditEntry",
    "Branch",
    "Credential",
    "LimitsTable",
    "PrincipalType",
    "Project",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "UsageBy",
    "UsageSum",
    "open_store",
]


async def open_store(url: StoreUrl, password: Secret | None = None, *, prepared: bool = False) -> Store:
    """The store at that address, made if it is not there yet. The caller closes it. Raises StoreError.

    prepared: another process has seen that it is there and of this version; on a server, it may be away now.
    """
    if url.is_sqlite:
        return await SqliteStore.open(url.path)
    from gateway.stores.postgres import PostgresStore  # noqa: PLC0415 - 65 ms and 5 MB, for those who use it

    return await PostgresStore.open(url, password, prepared=prepared)
