"""The stores of tests/stores, and the folder of a spool."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stores.conftest import place, store

__all__ = ["folder", "place", "store"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a spool may be; it's not there yet."""
    return tmp_path / "state" / "spool"
