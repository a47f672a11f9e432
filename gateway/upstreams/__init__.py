"""Upstreams: where requests go. One small file a kind, each satisfying `Kind`; `pool` chooses among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.exchange import Route
from gateway.secrets import Secret
from gateway.upstreams.connector import Connector


class Kind(Protocol):
    """What differs between kinds of upstream: the path of a model's action and the credential's form."""

    KIND: str

    def path(self, route: Route, model: str) -> str:
        """The absolute path, without a query, for the upstream's own name of the model."""

    def authorization(self, key: Secret) -> bytes:
        """The header line that carries the upstream's key."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """One configured upstream, everything built."""

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


@dataclass(frozen=True, slots=True)
class Target:
    """Where one request goes: an upstream, the key it is asked with, and its own name of the model."""

    upstream: Upstream
    key: Secret | None
    model: str

    def request_head(self, route: Route) -> bytes:
        """Request line, Host and credential, without the end of the last line."""
        upstream = self.upstream
        query = f"?{route.query}" if route.query else ""
        path = f"{upstream.path_prefix}{upstream.kind.path(route, self.model)}{query}"
        head = b"POST %b HTTP/1.1\r\nHost: %b" % (path.encode("ascii"), upstream.host)
        return b"%b\r\n%b" % (head, upstream.kind.authorization(self.key)) if self.key else head
