"""Upstreams: where requests go. One small file a kind, each satisfying `Kind`; `pool` chooses among them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gateway.exchange import Route
from gateway.upstreams.connector import Connector
from gateway.upstreams.rest import Rest

if TYPE_CHECKING:
    from gateway.upstreams.renewal import Renewal


class Kind(Protocol):
    """What differs between kinds of upstream: the path of a model's action and the credential's form."""

    KIND: str

    def path(self, route: Route, model: str) -> str:
        """The absolute path, without a query, for the upstream's own name of the model."""

    def authorization(self, credential: str) -> bytes:
        """The header line that carries a key or token of the upstream's, with its line end."""


class Key:
    """What an upstream is asked with. It may be renewed at any time, and counts from the next request on."""

    __slots__ = ("available", "failing_since", "line", "name", "rest")

    def __init__(self, name: str, line: bytes = b"") -> None:
        """Without a line it is one that no credential belongs to; see `lack` where one is still to come."""
        self.name = name
        """Its place in the upstream's list, from "1": no part of the secret, which may be told."""
        self.line = line
        """The whole header line that carries it, with its line end. Secret."""
        self.available = True
        """Whether the upstream may be asked with it."""
        self.failing_since: float | None = None
        """Since when (Unix seconds) renewing it has failed, though the old one may still serve."""
        self.rest: Rest | None = None
        """Since it was refused."""

    def renew(self, line: bytes) -> None:
        """Ask with this from now on."""
        self.line = line
        self.available = True

    def lack(self) -> None:
        """There is nothing to ask with until it is renewed."""
        self.line = b""
        self.available = False

    def __repr__(self) -> str:
        return f"<Key {self.name}{'' if self.available else ' lacking'}>"


@dataclass(slots=True, eq=False)
class Upstream:
    """One configured upstream, everything built. Made, changed and closed by `opening`."""

    name: str
    kind: Kind
    connector: Connector
    host: bytes
    """The value of the Host header."""
    path_prefix: str
    """The path of the configured base URL, without a trailing slash."""
    keys: tuple[Key, ...]
    """At least one."""
    serves: Callable[[str], bool]
    """Whether it is one for the model with that short id."""
    projects: frozenset[str] | None
    """The ids of those whose requests it may answer; None: all."""
    priority: int
    """Lower is asked first."""
    weight: int
    """Its share among those of one priority."""
    cooldown: bool
    """Whether it is left alone when it fails."""
    renewal: Renewal | None = None
    """What keeps its key supplied, where that is a token of short life."""
    life: AsyncExitStack = field(default_factory=AsyncExitStack)
    """What ends with it, beside its connections: tasks that renew its keys, a server of its own."""

    async def close(self) -> None:
        """Close its connections, whatever they are doing, and end what belongs to it."""
        self.connector.close()
        await self.life.aclose()
