"""What several tests of upstreams share."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.google import TokenEndpoint
from tests.support.shifted_loop import run_shifted
from tests.upstreams.renewal_rig import Play, Rig


@pytest.fixture
def play(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Play]:
    """Plays a scene with a rig, in a loop whose time can be shifted."""
    caplog.set_level(logging.INFO, "gateway")

    async def within(endpoint: TokenEndpoint, scene: Callable[[Rig], Awaitable[None]]) -> None:
        rig = Rig(endpoint, tmp_path, caplog)
        try:
            await scene(rig)
        finally:
            await rig.renewal.close()

    with TokenEndpoint() as endpoint:
        yield lambda scene: run_shifted(within(endpoint, scene))
