"""Every key of the configuration, with its type and its default. `docs/configuration.md` explains them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from gateway.catalog import CatalogSettings
from gateway.config.values import (
    BaseUrl,
    CountersUrl,
    HeaderName,
    HostName,
    HostSuffix,
    Listen,
    Network,
    StoreUrl,
)
from gateway.google_tokens import GoogleCredentials
from gateway.limits import Amount
from gateway.price_settings import PriceSettings
from gateway.secrets import Secret

UpstreamKind = Literal["simulated", "ai-studio", "vertex", "gateway"]
WhenFull = Literal["drop", "refuse"]
WhenUnavailable = Literal["admit", "refuse"]

Count = Annotated[int, msgspec.Meta(ge=1)]
Workers = Annotated[int, msgspec.Meta(ge=1, le=256)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]
SecondsOrNone = Annotated[float, msgspec.Meta(ge=0, le=86400)]
Dollars = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=60000)]
Attempts = Annotated[int, msgspec.Meta(ge=1, le=10)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Days = Annotated[int, msgspec.Meta(ge=1, le=36500)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]
Project = Annotated[str, msgspec.Meta(pattern=r"^([a-z0-9][a-z0-9.:-]{0,62})?\Z")]
ProjectId = Annotated[str, msgspec.Meta(pattern=r"^(\*|pr-[a-z]+-[a-z]+-[a-z0-9]{8})\Z")]
"""Of a project of the gateway's own; `*`: any."""
Location = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,62}\Z")]
BranchName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._/-]{1,128}\Z")]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: it takes its own keys and no others."""


class Server(Section, frozen=True):
    """Where and how the gateway listens, and how it stops."""

    listen: tuple[Listen, ...] = (Listen.parse("127.0.0.1:8080"),)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    admin_listen: Listen = Listen.parse("127.0.0.1:8081")
    workers: Workers = 1
    max_body_bytes: Count = 32 * 1024 * 1024
    max_connections: Count = 20000
    max_open_requests: Count = 10000
    drain_delay_seconds: SecondsOrNone = 0.0
    drain_seconds: SecondsOrNone = 60.0
    trusted_proxies: tuple[Network, ...] = ()
    forward_request_headers: tuple[HeaderName, ...] = ()

    @property
    def scheme(self) -> str:
        """What every address of `listen` speaks."""
        return "https" if self.tls_cert else "http"


class Admin(Section, frozen=True):
    """Who may use the admin API, and under which names its listener is asked."""

    token: Secret | None = None
    """None: the admin API is off."""
    hosts: tuple[HostName, ...] = ()
    """Beside `localhost`, the listener's own name and all IP addresses."""


class StoreSecret(Secret):
    """One that every command needs that opens the store, and not only those that serve."""


class Store(Section, frozen=True):
    """Where projects, branches, credentials, limits and usage are kept."""

    url: StoreUrl
    state_dir: Path
    """A folder for what this machine keeps for itself: usage on its way to the store."""
    password: StoreSecret | None = None
    """PostgreSQL's."""


class Ledger(Section, frozen=True):
    """What was used: how much of it may wait for the store, and how long single attempts are remembered."""

    spool_bytes: Count = 1024 * 1024 * 1024
    when_full: WhenFull = "drop"
    """Lose what can't be kept, or take no more requests."""
    retention_days: Days = 90


class Counters(Section, frozen=True):
    """Where what limits count is kept: by this machine for itself, or by one server for many."""

    url: CountersUrl = CountersUrl("memory://")
    password: Secret | None = None
    """Redis's."""
    when_unavailable: WhenUnavailable = "admit"
    """While that server can't be asked: count on this machine alone, or take no requests."""


class Limits(Section, frozen=True):
    """The limits of a project that has none of its own in the store; 0: none."""

    tokens_per_minute: Amount = 200_000
    requests_per_minute: Amount = 0
    concurrent_requests: Amount = 0
    tokens_per_day: Amount = 0
    spend_per_day_usd: Dollars = 0.0


class Branches(Section, frozen=True):
    """How a host name says which branch it means."""

    default: BranchName = "main"
    trusted_suffixes: tuple[HostSuffix, ...] = ()


class Timeouts(Section, frozen=True):
    """Deadlines in seconds; `first_byte` and `idle` count from the end of the request body."""

    connect: Seconds = 5.0
    first_byte: Seconds = 600.0
    idle: Seconds = 300.0
    write: Seconds = 60.0
    total: Seconds = 1800.0


class Routing(Section, frozen=True):
    """Which of several upstreams and keys that could answer a request does."""

    sticky_seconds: SecondsOrNone = 300.0
    """For how long the requests of a credential for a model go where the first of them went; 0: not."""


class Retries(Section, frozen=True):
    """How often a request may be sent anew before its client has got a byte, and at whose cost."""

    attempts: Attempts = 3
    """1: never."""
    budget: Share = 0.2
    """The share of lately taken requests that may be attempts beyond the first."""
    body_bytes: Count = 64 * 1024
    """A larger body is sent once."""
    body_bytes_together: Count = 256 * 1024 * 1024
    """What all bodies together may take that are kept for it."""


class Upstream(Section, frozen=True):
    """One place that answers requests, and the keys that it takes."""

    name: Name
    kind: UpstreamKind
    base_url: BaseUrl = BaseUrl("")
    """Empty for a simulated one alone."""
    ca_file: Path | None = None
    keys: tuple[Secret, ...] = ()
    """Several are used in turn; only a simulated one and Vertex AI have none."""
    project: Project = ""
    location: Location = "global"
    credentials: GoogleCredentials | None = None
    """Vertex AI's, like the two before it."""
    models: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("*",)
    projects: Annotated[tuple[ProjectId, ...], msgspec.Meta(min_length=1)] = ("*",)
    """Whose requests it may answer: ids, or `*` for everybody."""
    priority: Count = 1
    weight: Count = 1
    cooldown: bool = True
    """Whether it is left alone for a while when it says so, or when it fails again and again."""
    pace: Milliseconds = 0.0
    """Between two pieces of a simulated stream."""

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read when it is opened, besides its keys."""
        return (self.ca_file,) if self.ca_file else ()

    def serves(self, model: str) -> bool:
        """Whether this upstream is one for the model with this short id."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)


class Settings(Section, frozen=True, kw_only=True):
    """The whole file."""

    server: Server = Server()
    admin: Admin = Admin()
    store: Store
    ledger: Ledger = Ledger()
    counters: Counters = Counters()
    limits: Limits = Limits()
    branches: Branches = Branches()
    catalog: CatalogSettings = CatalogSettings()
    prices: PriceSettings = PriceSettings()
    timeouts: Timeouts = Timeouts()
    routing: Routing = Routing()
    retries: Retries = Retries()
    upstreams: tuple[Upstream, ...] = ()
