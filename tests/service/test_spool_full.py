"""As much usage waits as may, for the store is away: requests are refused, or go on, as a setting says."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.service.rig import Reply, ask, metric, running
from tests.support.eventually import eventually


@pytest.mark.parametrize("when_full", ["drop", "refuse"])
async def test_a_full_spool(tmp_path: Path, when_full: str) -> None:
    served = 0
    with running(tmp_path, LEDGER__SPOOL_BYTES="1", LEDGER__WHEN_FULL=when_full) as gateway:

        def asked() -> Reply:
            nonlocal served
            reply = ask(gateway.url, gateway.token)
            served += reply.status == 200
            return reply

        def full() -> bool:
            asked()
            return metric(gateway.admin_url, "gateway_spool_full") == 1

        assert asked().status == 200
        with closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # whoever wants to write has to wait
            await eventually("the spool is full", full)
            reply = asked()
            if when_full == "drop":
                assert reply.status == 200
            else:
                assert (reply.status, reply.message) == (503, "gateway overloaded")
                assert reply.headers["Retry-After"] == "1"
            other.execute("COMMIT")
        await eventually("there is room again", lambda: asked().status == 200 and not full())
        await eventually(
            "every request is in the store",
            lambda: metric(gateway.admin_url, "gateway_usage_records_stored_total") == served,
        )
        assert metric(gateway.admin_url, "gateway_usage_records_lost_total") == 0
