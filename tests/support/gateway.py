"""A gateway as an operator runs it: its own process, configuration file, store and ports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import Process, run

SIMULATED = """
[[upstreams]]
name = "simulated"
kind = "simulated"
"""

_CONFIGURATION = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[store]
url = "sqlite:///{store}"

# Tests ask for more in a minute than a project may by default.
[limits]
tokens_per_minute = 0
"""


@dataclass
class Gateway:
    """A gateway that answers, and the credential to ask it with."""

    process: Process
    config_path: Path
    url: str
    """Of the public listener, `http://127.0.0.1:PORT`."""
    admin_url: str
    token: str
    """Good on branch `main`."""

    def log_lines(self) -> list[str]:
        """Every line the process printed so far, oldest first."""
        return self.process.log_lines()

    def command(self, *arguments: str) -> str:
        """What `python -m gateway` with these arguments prints, on this gateway's configuration."""
        return run([*arguments, "--config", str(self.config_path)])

    def credential(self, *arguments: str) -> str:
        """The token of a new credential on branch `main`."""
        return self.command("credentials", "create", "--branch", "main", *arguments).strip()

    def stop(self) -> int:
        """SIGTERM, then the exit code."""
        return self.process.stop()


def start_gateway(
    directory: Path, configuration: str = SIMULATED, environment: Mapping[str, str] | None = None
) -> Gateway:
    """A gateway with its files in the directory, listening on free ports of the loopback interface.

    The configuration is TOML after `[server]` (listen, admin_listen) and `[store]`: further tables.
    """
    config_path = directory / "gateway.toml"
    config_path.write_text(_CONFIGURATION.format(store=directory / "gateway.db") + configuration)
    options = ["--config", str(config_path)]
    token = run(["credentials", "create", "--branch", "main", *options], environment).strip()
    process = Process(["serve", *options], environment)
    try:
        url = process.wait_for_line(r"^gateway listening on (http://\S+)")[1]
        admin_url = process.wait_for_line(r"^admin listening on (http://\S+)")[1]
    except BaseException:
        process.kill()
        raise
    return Gateway(process, config_path, url, admin_url, token)
