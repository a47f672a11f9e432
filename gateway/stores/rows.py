"""What is kept: projects, branches, credentials, limits, usage, as values; and what every store can do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from gateway.errors import StoreError, holds_token, printable
from gateway.limits import Level, Limits
from gateway.usage_record import UsageRecord

DEFAULT_PROJECT = "default"
MAIN_BRANCH = "main"
"""The branch that every project begins with."""
ITSELF = "gateway"
"""The actor of what nobody asked for, such as the first credential."""

NAME = r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}"
"""What a project or a branch can be called."""
SCOPE = r"[a-z0-9][a-z0-9_.:-]{0,127}"
TITLE_LENGTH = 128
SCOPES = 32
"""The most that one credential can have."""

_NAME = re.compile(NAME)
_ID_FORM = re.compile(r"(?:br|pr)-[a-z]+-[a-z]+-[a-z0-9]{8}")
_SCOPE = re.compile(SCOPE)


class PrincipalType(StrEnum):
    """Whom a credential stands for."""

    USER = "user"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Project:
    """What branches and limits belong to. Times, here and below, are whole seconds since the epoch, UTC."""

    id: str
    name: str
    """Unique among projects."""
    created: int


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch that exists. Its id is a DNS label, unique over all projects."""

    id: str
    project_id: str
    name: str
    """Unique among the project's branches that exist."""
    parent_id: str | None
    """None for a root."""
    created: int


@dataclass(frozen=True, slots=True)
class Credential:
    """A token's record. The token itself is kept nowhere."""

    id: str
    """The public 16 characters of the token."""
    token_hash: bytes = field(repr=False)
    """SHA-256 of the whole token."""
    project_id: str
    branch_id: str
    name: str
    principal_type: PrincipalType
    scopes: tuple[str, ...]
    created: int
    expires: int | None
    revoked: int | None


@dataclass(frozen=True, slots=True)
class LimitsTable:
    """All limits that are set, as they were together at one moment."""

    version: int
    """Grows with every change of a limit."""
    limits: Mapping[tuple[Level, str], Limits]
    """By level and id. Not those of the configuration, which count where a project has none of its own."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change that was made. Entries are never changed and never deleted."""

    number: int
    """From 1; a later entry has a larger one."""
    time: int
    actor: str
    """Who: `admin` (the admin API's token), `cli:<user>`, `gateway`."""
    action: str
    """What: `project.create`, `branch.create`, `branch.delete`, `credential.create`, `credential.revoke`,
    `limits.set`."""
    project_id: str
    subject: str
    """The id of what was changed."""
    details: Mapping[str, object]
    """What was asked for: plain JSON values, no secret."""


class UsageBy(StrEnum):
    """What usage can be grouped by."""

    BRANCH = "branch"
    CREDENTIAL = "credential"
    MODEL = "model"
    DAY = "day"
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True)
class UsageSum:
    """What one group of attempts used. Tokens and cost are sums of what is known."""

    group: Mapping[UsageBy, str]
    """Ids of branch and credential, the model's short id, the upstream's name, the day (UTC): 2026-11-01."""
    requests: int
    """Counted where their first attempt went."""
    attempts: int
    input_tokens: int
    """Prompt and tool-use prompt."""
    output_tokens: int
    """Candidates and thoughts."""
    cached_tokens: int
    """Part of the input."""
    total_tokens: int
    cost_nanos: int
    """Billionths of a US dollar."""
    unknown_usage: int
    """Attempts of which no usage is known."""
    unpriced: int
    """Attempts that used something without a price."""


class Store(Protocol):
    """The embedded default is SQLite. A project or branch is referred to by id or name.

    Every change by an `actor` leaves an entry in the audit trail, in the same transaction.

    All methods may raise StoreUnavailable; those that change something, or name what must exist, raise
    StoreError where it can't be done, and then nothing was changed: StoreNotFound and StoreConflict tell two
    reasons apart, any other is bad input.
    """

    async def close(self) -> None:
        """Let go of the database; nothing else may be called after."""

    async def credential(self, credential_id: str) -> Credential | None:
        """The credential with that public id, revoked and expired ones included."""

    async def lineage(self, branch_id: str) -> Sequence[str] | None:
        """The ids of a branch, its parent, and so on up to the root; None if there is no such branch."""

    async def default_lineage(self, reference: str) -> Sequence[str] | None:
        """The same for a branch of the project `default`, by id or name."""

    async def projects(self) -> Sequence[Project]:
        """All projects, the oldest first."""

    async def create_project(self, name: str, *, actor: str = ITSELF) -> Project:
        """A new project, with a branch `main`."""

    async def branches(self, project: str) -> Sequence[Branch]:
        """The project's branches, the oldest first."""

    async def create_branch(
        self, project: str, name: str, parent: str | None, *, actor: str = ITSELF
    ) -> Branch:
        """A new branch; without a parent, a root."""

    async def delete_branch(self, project: str, branch: str, *, actor: str = ITSELF) -> Branch:
        """Delete a branch that has no children, and revoke its credentials. Returns what it was."""

    async def credentials(self, project: str) -> Sequence[Credential]:
        """The project's credentials, the oldest first, revoked and expired ones included."""

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
        """Record a token made by `gateway.tokens`. `lifetime` in seconds; None: until it is revoked."""

    async def revoke_credential(
        self, credential_id: str, *, cut: bool = False, actor: str = ITSELF
    ) -> Credential:
        """Make a credential worthless from now on; one revoked before keeps its time.

        `cut`: its streams under way are to be ended too.
        """

    async def cut_since(self, since: float) -> Sequence[str]:
        """The ids of the credentials whose streams were to be ended since then (seconds since the epoch)."""

    async def limits(
        self, project: str, *, branch: str | None = None, credential: str | None = None
    ) -> Limits:
        """What is set for that branch or credential (by its public id) of the project, or for the project."""

    async def set_limits(
        self,
        project: str,
        limits: Limits,
        *,
        branch: str | None = None,
        credential: str | None = None,
        actor: str = ITSELF,
    ) -> None:
        """Put these, all of them, in the place of what `limits` returned."""

    async def limits_version(self) -> int:
        """The version of `all_limits` by now: cheap, to be asked every few seconds."""

    async def all_limits(self) -> LimitsTable:
        """The limits of all projects, branches and credentials that have any."""

    async def audit_trail(
        self, project: str | None = None, *, before: int | None = None, most: int = 100
    ) -> Sequence[AuditEntry]:
        """What was changed, the newest first: of one project or of all, with numbers below `before`."""

    async def add_usage(self, records: Sequence[UsageRecord]) -> int:
        """Keep these, all or none; one that is kept already (request id and attempt) counts no second time.

        Returns how many were new. A few thousand at once are the cheapest.
        """

    async def usage(
        self, project: str, since: float, until: float, by: Sequence[UsageBy] = ()
    ) -> Sequence[UsageSum]:
        """The sums of what began from `since` to before `until` (seconds since the epoch), by those groups.

        In the groups' order; without groups one sum, and none where nothing was used. Of days whose records
        are no longer kept (`drop_usage`), those count that lie wholly in that time.
        """

    async def drop_usage(self, before: float, most: int = 10_000) -> int:
        """Delete the oldest records that began before then; their sums by day stay. Returns how many."""


def check_name(name: str) -> None:
    """Raise StoreError unless this can name a project or a branch."""
    if not _NAME.fullmatch(name):
        raise StoreError(
            f'name "{printable(name)}": at most 128 letters, digits and . _ - /, beginning with a letter '
            "or digit"
        )
    if holds_token(name):
        raise StoreError("a name holds a token, which nobody but its client should have")
    if _ID_FORM.fullmatch(name):
        raise StoreError(f'name "{name}": has the form of an id, and would be taken for one')


def check_title(title: str) -> None:
    """Raise StoreError unless this can be the name of a credential, which is free text and may be empty."""
    if len(title) > TITLE_LENGTH or not title.isprintable():
        raise StoreError(f"name of a credential: at most {TITLE_LENGTH} characters, all printable")
    if holds_token(title):
        raise StoreError("name of a credential: holds a token, which nobody but its client should have")


def check_scopes(scopes: Sequence[str]) -> None:
    """Raise StoreError unless these are scopes, such as `ai_gateway:invoke`."""
    if not 1 <= len(scopes) <= SCOPES:
        raise StoreError(f"scopes: from 1 to {SCOPES}")
    for scope in scopes:
        if not _SCOPE.fullmatch(scope) or holds_token(scope):
            raise StoreError(f'scope "{printable(scope)}": at most 128 of a-z, 0-9 and _ . : -')


def is_reference(text: str) -> bool:
    """Whether this may be the id or name of a project or branch; what isn't need not be looked for."""
    return _NAME.fullmatch(text) is not None
