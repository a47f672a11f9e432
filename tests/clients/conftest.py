"""Fixtures of the client tests."""

from __future__ import annotations

import pytest

from tests.clients.playing import Play, player
from tests.support.gateway import Gateway


@pytest.fixture(scope="session")
def play(gateway: Gateway, token_without_scope: str) -> Play:
    """Plays drivers against the shared gateway."""
    return player(gateway, token_without_scope)
