"""Where a stack's requests may go: the upstreams of its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway import config
from gateway.secrets import Secret
from gateway.upstreams import Upstream
from gateway.upstreams.opening import open_upstream

UPSTREAM_KEY = "AQ.upstream-key-of-the-tests"


@dataclass(frozen=True)
class Place:
    """One of several upstreams."""

    url: str
    name: str = "studio"
    priority: int = 1
    keys: tuple[str, ...] = (UPSTREAM_KEY,)
    models: tuple[str, ...] = ("*",)
    projects: tuple[str, ...] = ("*",)

    async def opened(
        self, *, kind: config.UpstreamKind, ca_file: Path | None, cooldown: bool, connect: float
    ) -> Upstream:
        """That upstream; `connect` is in seconds."""
        return await open_upstream(
            config.Upstream(
                name=self.name,
                kind=kind,
                base_url=config.BaseUrl(self.url),
                ca_file=ca_file,
                keys=tuple(Secret(key, f"env:TEST_{number}") for number, key in enumerate(self.keys, 1)),
                models=self.models,
                projects=self.projects,
                priority=self.priority,
                cooldown=cooldown,
            ),
            connect,
        )
