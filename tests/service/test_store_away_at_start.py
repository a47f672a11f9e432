"""Workers killed while PostgreSQL is away are replaced: the new ones say so, and serve when it is back."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.service.rig import ask, running
from tests.service.worker_rig import processes
from tests.support.eventually import eventually
from tests.support.postgres_server import PASSWORD, PostgresServer
from tests.support.process import run

UNAVAILABLE = (503, "authorization temporarily unavailable")


async def test_workers_killed_while_the_store_is_away_are_replaced(
    tmp_path: Path, postgres: Callable[[], PostgresServer]
) -> None:
    server = postgres()
    settings = {
        "SERVER__WORKERS": "2",
        "STORE__URL": await server.empty_database(),
        "STORE__STATE_DIR": str(tmp_path / "state"),
        "STORE__PASSWORD": "env:GATEWAY_POSTGRES_PASSWORD",
        "POSTGRES_PASSWORD": PASSWORD,
    }
    environment = {f"GATEWAY_{name}": value for name, value in settings.items()}
    with running(tmp_path, **settings) as gateway:
        config = ("--config", str(gateway.config_path))
        made = json.loads(run(["credentials", "create", "--branch", "main", "--json", *config], environment))
        run(["limits", "set", "--credential", made["id"], "--requests-per-minute", "1", *config], environment)
        limited = made["api_token"]
        await eventually("the limit counts", lambda: ask(gateway.url, limited).status == 429)
        killed = processes(gateway)
        server.stop()
        try:
            for process in killed.values():
                os.kill(process, signal.SIGKILL)
            for _ in range(10):
                reply = ask(gateway.url, gateway.token)  # which waits for the new worker
                assert (reply.status, reply.message) == UNAVAILABLE
            started = processes(gateway)
        finally:
            server.start()
        # No worker admits anybody before it knows what limits there are.
        seen: list[int] = []
        while not seen or seen[-1] == 503:
            seen.append(ask(gateway.url, limited).status)
        assert seen[-1] == 429
        await eventually(
            "both serve", lambda: {ask(gateway.url, gateway.token).status for _ in range(10)} == {200}
        )
        assert {ask(gateway.url, limited).status for _ in range(10)} == {429}
        assert processes(gateway) == started
