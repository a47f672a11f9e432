"""What the admin API takes and gives, as JSON: in the public API's names wherever it has one.

Source: Neon's API v2 (`branch.parent_id`, `token_id`, `api_token`, `created_at`, errors with `code` and
`message`); the rest is this gateway's own.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway import durations
from gateway.config.schema import Dollars
from gateway.limits import Amount
from gateway.stores import MAIN_BRANCH, PrincipalType
from gateway.stores.rows import NAME, SCOPE, SCOPES, TITLE_LENGTH, UsageBy
from gateway.upstreams.target_state import State

_LONGEST_SECONDS = 36500 * 86400

Name = Annotated[str, Meta(pattern=f"^{NAME}$")]
CredentialId = Annotated[str, Meta(pattern="^[a-z0-9]{16}$")]
Scope = Annotated[str, Meta(pattern=f"^{SCOPE}$", examples=["ai_gateway:invoke"])]
Title = Annotated[
    str,
    Meta(
        max_length=TITLE_LENGTH,
        description="Free text of printable characters.",
        extra_json_schema={"pattern": r"^[\p{L}\p{M}\p{N}\p{P}\p{S} ]*$"},
    ),
]
Time = Annotated[datetime, Meta(tz=True)]
NewAmount = Amount | UnsetType | None
Moment = Annotated[
    str,
    Meta(
        description="A time (UTC where it names no zone), the begin of a day (UTC), or so long ago.",
        examples=["2026-11-01T12:00:00Z", "2026-11-01", "7d"],
        extra_json_schema={
            "anyOf": [{"format": "date-time"}, {"format": "date"}, {"pattern": f"^{durations.FORM}$"}]
        },
    ),
]


class Request(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is sent here: it has its own fields and no others."""


class Answer(Struct, frozen=True, kw_only=True):
    """What is sent back."""


class Error(Struct, frozen=True):
    """Why a request was refused, and changed nothing."""

    code: Annotated[str, Meta(description="For programs.", examples=["NOT_FOUND"])]
    message: Annotated[str, Meta(description="For people.")]


class NewBranch(Request, frozen=True):
    """A branch to be made."""

    name: Annotated[Name, Meta(description="Unique in its project.")]
    parent_id: Annotated[
        Name | UnsetType | None,
        Meta(description=f"An id or a name; `{MAIN_BRANCH}` where it is left out, null for a root."),
    ] = UNSET


class CreateBranch(Request, frozen=True):
    """As the public API wraps it."""

    branch: NewBranch


class Branch(Answer, frozen=True):
    """A branch that exists."""

    id: str
    project_id: str
    parent_id: str | None
    name: str
    host_label: Annotated[str, Meta(description="The first label of the hosts that name it.")]
    created_at: Time


class BranchAnswer(Answer, frozen=True):
    """One branch."""

    branch: Branch


class BranchesAnswer(Answer, frozen=True):
    """All branches of a project, the oldest first."""

    branches: list[Branch]


class CreateCredential(Request, frozen=True):
    """A credential to be made."""

    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=SCOPES, description="Fixed for life.")]
    principal_type: Annotated[PrincipalType, Meta(description="Whom it stands for.")]
    name: Title = ""
    expires_in_seconds: Annotated[
        Annotated[int, Meta(ge=1, le=_LONGEST_SECONDS)] | None,
        Meta(description="From now on; without it the credential is good until it is revoked."),
    ] = None


class Credential(Answer, frozen=True):
    """A credential without its token, which is kept nowhere."""

    id: Annotated[str, Meta(description="The token's public part.")]
    token_id: Annotated[str, Meta(description="The same, in the public API's words.")]
    project_id: str
    branch_id: Annotated[str, Meta(description="Its anchor: it is good there and on the branches below.")]
    name: str
    principal_type: PrincipalType
    scopes: list[str]
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None


class CreatedCredential(Credential, frozen=True):
    """A credential, with its token this once."""

    api_token: str


class CredentialsAnswer(Answer, frozen=True):
    """All credentials of a branch, the oldest first, revoked and expired ones included."""

    credentials: list[Credential]


class NoQuery(Request, frozen=True):
    """No parameter."""


class RevokeQuery(Request, frozen=True):
    """How a credential is revoked."""

    now: Annotated[bool, Meta(description="End its streams under way, too.")] = False


class LimitsAnswer(Answer, frozen=True):
    """The limits that are set here; null: none is set here, 0: there is no limit."""

    requests_per_minute: Amount | None
    tokens_per_minute: Annotated[Amount | None, Meta(description="Input and output, for each model.")]
    concurrent_requests: Amount | None
    tokens_per_day: Annotated[Amount | None, Meta(description="Input and output, all models together.")]
    spend_per_day_usd: Annotated[Dollars | None, Meta(description="Metered token spend.")]


class ChangeLimits(Request, frozen=True):
    """What is left out stays as it is; null takes a limit away from here; 0: no limit."""

    requests_per_minute: NewAmount = UNSET
    tokens_per_minute: NewAmount = UNSET
    concurrent_requests: NewAmount = UNSET
    tokens_per_day: NewAmount = UNSET
    spend_per_day_usd: Dollars | UnsetType | None = UNSET


class UsageQuery(Request, frozen=True):
    """Which usage, and grouped by what."""

    by: UsageBy = UsageBy.DAY
    since: Moment = "7d"
    until: Annotated[Moment | None, Meta(description="Not included; now where it is left out.")] = None


class Usage(Answer, frozen=True, kw_only=True):
    """What one group used; it is named by the fields that go with what was grouped by."""

    day: str | UnsetType = UNSET
    branch: Annotated[str | UnsetType | None, Meta(description="Null when it was deleted.")] = UNSET
    branch_id: str | UnsetType = UNSET
    credential: Annotated[str | UnsetType, Meta(description="Its id.")] = UNSET
    credential_name: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    upstream: str | UnsetType = UNSET
    requests: int
    attempts: Annotated[int, Meta(description="At an upstream, of these requests.")]
    input_tokens: int
    output_tokens: int
    cached_tokens: Annotated[int, Meta(description="Part of the input.")]
    total_tokens: int
    cost_usd: Annotated[
        float | None,
        Meta(description="Metered token spend, of what is known and has a price; null where nothing is."),
    ]
    unknown_usage: Annotated[int, Meta(description="Attempts of which no usage is known.")]
    unpriced: Annotated[int, Meta(description="Attempts that used something without a price.")]


class UsageAnswer(Answer, frozen=True):
    """One object for each group, in the groups' order."""

    usage: list[Usage]


class Target(Answer, frozen=True):
    """An upstream, one of its keys and a model: how it has been of late, in all processes together."""

    upstream: str
    kind: str
    key: Annotated[str, Meta(description="Its place in the upstream's list, from 1.")]
    model: str
    priority: int
    weight: int
    state: State
    cause: Annotated[
        str | None,
        Meta(
            description="Why it is not ready: a quota's name, or one of these.",
            examples=["quota", "overload", "key"],
        ),
    ]
    until: Annotated[Time | None, Meta(description="It is not asked before then.")]
    in_flight: Annotated[int, Meta(description="Requests that it has not answered whole.")]
    requests: Annotated[int, Meta(description="Recent ones, which the rest is about.")]
    error_share: Annotated[float, Meta(description="Of them, those that spoke against it: 0 to 1.")]
    first_byte_p50_seconds: float | None
    first_byte_p95_seconds: float | None


class TargetsAnswer(Answer, frozen=True):
    """All targets that were asked lately, in order of upstream, key and model."""

    targets: list[Target]


class AuditQuery(Request, frozen=True):
    """Which part of the audit trail."""

    before: Annotated[
        Annotated[int, Meta(ge=1, le=2**63 - 1)] | None, Meta(description="Entries with smaller numbers.")
    ] = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class AuditEntry(Answer, frozen=True):
    """One change that was made."""

    number: Annotated[int, Meta(description="Later entries have larger ones.")]
    time: Time
    actor: Annotated[str, Meta(examples=["admin", "cli:ann", "gateway"])]
    action: Annotated[str, Meta(examples=["credential.create"])]
    project_id: str
    subject: Annotated[str, Meta(description="The id of what was changed.")]
    details: dict[str, Any]


class AuditAnswer(Answer, frozen=True):
    """A part of the audit trail, the newest entry first."""

    audit: list[AuditEntry]


def at(seconds: float) -> datetime:
    """Seconds since the epoch as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
