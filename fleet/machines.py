"""What a scenario runs on: PostgreSQL, Redis, the upstream, and gateways with a state folder each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fleet.plan import HEADER
from fleet.upstream import TIED, Upstream
from tests.support.connection_owner import owners
from tests.support.postgres_server import PASSWORD, PostgresServer
from tests.support.process import Process, run
from tests.support.redis_server import RedisServer

MACHINES = 2
_STARTED = re.compile(r"worker (\d+) is process (\d+)$")
_FAULT = re.compile(
    r"Traceback|internal error|exception|worker \d+ ended with|usage .*is (?:being )?lost", re.I
)
"""What no line of a gateway's log may hold, whatever happens around it."""
_CONFIGURATION = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
workers = {workers}
forward_request_headers = ["{header}"]

[store]
url = "{store}"
password = "env:FLEET_POSTGRES_PASSWORD"
state_dir = "{folder}/state"

[counters]
url = "{counters}"

[limits]
tokens_per_minute = {tokens_per_minute}
requests_per_minute = 1_000_000_000
concurrent_requests = 1_000_000

[[upstreams]]
name = "studio"
kind = "ai-studio"
base_url = "http://127.0.0.1:{upstream}"
keys = ["env:FLEET_UPSTREAM_KEY"]
cooldown = false
"""
_ENVIRONMENT = {"FLEET_POSTGRES_PASSWORD": PASSWORD, "FLEET_UPSTREAM_KEY": "AQ.upstream-key-of-the-fleet"}


class Machine:
    """One gateway with several workers, its configuration, and its folder."""

    def __init__(self, folder: Path, configuration: str) -> None:
        self._config = folder / "gateway.toml"
        self._config.write_text(configuration, "utf-8")

    def start(self) -> None:
        """Return when it takes connections."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            self.process = Process(
                ["serve", "--config", str(self._config)], _ENVIRONMENT, stdout=nowhere, prefix=TIED
            )
        finally:
            os.close(nowhere)
        listening = r"^gateway listening on http://127\.0\.0\.1:(\d+)$"
        self.port = int(self.process.wait_for_line(listening)[1])

    def workers(self) -> dict[int, int]:
        """The newest process of each worker, by the worker's number."""
        found = (_STARTED.search(line) for line in self.process.log_lines())
        return {int(match[1]): int(match[2]) for match in found if match}

    def owners(self) -> dict[int, int | None]:
        """The worker's process of each connection of a client that is open, by the client's port."""
        return owners(self.port, self.workers().values())

    def command(self, *arguments: str) -> str:
        """What `python -m gateway` with these arguments prints."""
        return run([*arguments, "--config", str(self._config)], _ENVIRONMENT)

    def stop(self) -> None:
        """SIGTERM, if it still runs, and wait for its end."""
        self.process.stop()


@dataclass
class Fleet:
    """All of it, running."""

    postgres: PostgresServer
    redis: RedisServer
    upstream: Upstream
    machines: list[Machine]

    def stop(self) -> None:
        """End the gateways in an orderly way."""
        for machine in self.machines:
            machine.stop()

    def wrong(self) -> list[str]:
        """What is wrong with how they ended, and with what they logged until then; one line each."""
        codes = [machine.process.popen.returncode for machine in self.machines]
        lines = [line for machine in self.machines for line in machine.process.log_lines()]
        return [f"a gateway ended with exit code {code}" for code in codes if code] + [
            f"the log says: {line}" for line in lines if _FAULT.search(line)
        ]

    def credential(self) -> str:
        """The token of a new one."""
        return self.machines[0].command("credentials", "create", "--branch", "main").strip()


@contextmanager
def fleet(*, workers: int, tokens_per_minute: int) -> Iterator[Fleet]:
    """Start all of it, and end all of it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="gateway-fleet-")))
        postgres = PostgresServer()
        stack.callback(postgres.remove)
        redis = RedisServer()
        stack.callback(redis.stop)
        upstream = Upstream()
        stack.callback(upstream.stop)
        machines = []
        for number in range(MACHINES):
            own = folder / str(number)
            own.mkdir()
            configuration = _CONFIGURATION.format(
                workers=workers,
                header=HEADER,
                store=postgres.url(),
                folder=own,
                counters=redis.url,
                tokens_per_minute=tokens_per_minute,
                upstream=upstream.port,
            )
            machine = Machine(own, configuration)
            machine.start()
            stack.callback(machine.process.kill)
            machines.append(machine)
        yield Fleet(postgres, redis, upstream, machines)
