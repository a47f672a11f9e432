"""Upstreams: where requests go. One small file a kind, each satisfying `Kind`; `pool` chooses among them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Protocol

from gateway.exchange import Route
from gateway.secrets import Secret
from gateway.upstreams.connector import Connector

KNOWN_HEADS = 32
"""How many request heads a target remembers: clients may spell a query in many ways."""


class Kind(Protocol):
    """What differs between kinds of upstream: the path of a model's action and the credential's form."""

    KIND: str

    def path(self, route: Route, model: str) -> str:
        """The absolute path, without a query, for the upstream's own name of the model."""

    def authorization(self, key: Secret) -> bytes:
        """The header line that carries the upstream's key."""


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
    keys: tuple[Secret, ...]
    serves: Callable[[str], bool]
    """Whether it is one for the model with that short id."""
    priority: int
    """Lower is asked first."""
    life: AsyncExitStack = field(default_factory=AsyncExitStack)
    """What ends with it, beside its connections: tasks that renew its keys, a server of its own."""

    async def close(self) -> None:
        """Close its connections, whatever they are doing, and end what belongs to it."""
        self.connector.close()
        await self.life.aclose()


class Target:
    """Where requests go: an upstream, the key it is asked with, and its own name of the model."""

    __slots__ = ("_heads", "_key", "model", "upstream")

    def __init__(self, upstream: Upstream, key: Secret | None, model: str) -> None:
        self.upstream = upstream
        self.model = model
        self._key = key
        self._heads: dict[tuple[str, str, str], bytes] = {}
        """Request heads by what they depend on: most requests have one of a few."""

    def request_head(self, route: Route) -> bytes:
        """Request line, Host and credential, each with its line end."""
        known = (route.version, route.action, route.query)
        head = self._heads.get(known)
        if head is None:
            if len(self._heads) >= KNOWN_HEADS:
                self._heads.clear()
            head = self._heads[known] = self._head(route)
        return head

    def _head(self, route: Route) -> bytes:
        upstream = self.upstream
        query = f"?{route.query}" if route.query else ""
        path = f"{upstream.path_prefix}{upstream.kind.path(route, self.model)}{query}"
        head = b"POST %b HTTP/1.1\r\nHost: %b\r\n" % (path.encode("ascii"), upstream.host)
        return b"%b%b\r\n" % (head, upstream.kind.authorization(self._key)) if self._key else head
