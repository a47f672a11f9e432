"""Pools of upstreams that need no network, and a clock under the test's control."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway import config
from gateway.catalog import Catalog
from gateway.errors import GatewayError
from gateway.secrets import Secret
from gateway.upstreams import Upstream
from gateway.upstreams.clock import Clock
from gateway.upstreams.cooldowns import Cooldowns
from gateway.upstreams.faults import Cause, Fault
from gateway.upstreams.opening import open_upstream
from gateway.upstreams.pool import Pool
from gateway.upstreams.target import Target

FLASH, PRO = (Catalog.build().resolve(name) for name in ("gemini-2.5-flash", "gemini-2.5-pro"))


class SetClock(Clock):
    """Both clocks, at a moment of the test's choosing."""

    def __init__(self, wall: float = 1_800_000_000.0) -> None:
        self.time = 1000.0
        self.wall_ahead = wall - self.time
        self.monotonic = lambda: self.time
        self.wall = lambda: self.time + self.wall_ahead

    def passes(self, seconds: float) -> None:
        """So much later."""
        self.time += seconds


async def studio(
    name: str = "studio",
    *keys: str,
    priority: int = 1,
    weight: int = 1,
    cooldown: bool = True,
    models: Sequence[str] = ("*",),
    projects: Sequence[str] = ("*",),
) -> Upstream:
    """One of AI Studio's kind, with a key unless others are given."""
    return await open_upstream(
        config.Upstream(
            name=name,
            kind="ai-studio",
            base_url=config.BaseUrl("http://studio.test"),
            keys=tuple(Secret(key, "env:TEST") for key in keys or ("only",)),
            priority=priority,
            weight=weight,
            cooldown=cooldown,
            models=tuple(models),
            projects=tuple(projects),
        ),
        5.0,
    )


class Worker:
    """What one of several processes has: a pool of its own, with upstreams of its own."""

    def __init__(self, upstreams: Sequence[Upstream], clock: Clock, path: Path) -> None:
        self.cooldowns = Cooldowns(path)
        self.upstreams = upstreams
        self.told: list[tuple[str, str]] = []
        self.pool = Pool(upstreams, clock=clock, cooldowns=self.cooldowns)
        self.pool.on_rest = lambda target, rest: self.told.append((target.upstream.name, rest.cause.value))

    def chosen(self) -> Target:
        """Where a request goes."""
        return self.pool.choose(FLASH)


def quota(delay: float | None = None, *, day: bool = False, message: str = "", name: str = "") -> Fault:
    """What says that a quota is used up."""
    return Fault(Cause.QUOTA, delay, day, message, name)


def refusal(pool: Pool) -> tuple[int, str, dict[str, str]]:
    """Status, message and headers of what a client is told."""
    with pytest.raises(GatewayError) as caught:
        pool.choose(FLASH)
    told = caught.value.refusal
    return told.http, told.message, dict(told.headers)


def attempt(target: Target, outcome: Fault | float | None) -> None:
    """One that came to an answer after so many seconds, to a fault, or to nothing that says anything."""
    trial = target.begin()
    if isinstance(outcome, Fault):
        target.failed(outcome)
    elif outcome is not None:
        target.answered(outcome, trial)
    target.end(trial)


def is_ready(pool: Pool) -> bool:
    """Whether a request would be sent."""
    return pool.another(FLASH, "", ()) is not None
