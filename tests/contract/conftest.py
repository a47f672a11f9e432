"""Fixtures of the contract's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.rig import Rig, running_rig

pytest.register_assert_rewrite("tests.contract.refusals")


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The rig that most of the contract's tests share: leave its upstream and store as you found them."""
    with running_rig(tmp_path_factory.mktemp("contract")) as running:
        yield running
