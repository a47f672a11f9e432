"""The fixture of an admin listener with a token, on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.admin.rig import AdminClient, running_admin


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[AdminClient]:
    async with running_admin(tmp_path) as client:
        yield client
