"""Where projects, branches, credentials, limits and usage are kept: one Protocol, a file for each kind of database.

Rows come out of here as plain values, and nothing of the database shows: every fault is a StoreError, the
passing ones StoreUnavailable. What a credential may do is not judged here.
"""

from __future__ import annotations

from gateway.config.values import StoreUrl
from gateway.errors import StoreError, StoreUnavailable
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


async def open_store(url: StoreUrl) -> Store:
    """The store at that address, made if it is not there yet. The caller closes it. Raises StoreError."""
    return await SqliteStore.open(url.path)
