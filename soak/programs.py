"""The programs of a soak: the gateway as an operator runs it, and its upstream, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from soak.asking import MODELS
from soak.plan import HEADER
from soak.unusual import WRITE_SECONDS
from soak.upstream import Report
from tests.support.machine import PROJECT
from tests.support.process import Process, clean_environment, run
from tests.support.tls import TestCertificates

STALL_SECONDS = 5.0
"""How long the gateway waits for its upstream. Also what a busy machine may take for anything."""
_GIVEN_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "16384",
    "MALLOC_TRIM_THRESHOLD_": "16384",
    "MALLOC_TOP_PAD_": "0",
}
"""Makes glibc give freed memory back to the system. By default it keeps what the busiest moment yet needed;
a busier one comes now and then, so that its memory grows for many minutes, as if there were a leak."""
_TIED = ("setpriv", "--pdeathsig", "TERM")
"""Ends a program when the one that started it is gone, however that ended."""
_CONFIGURATION = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
workers = {workers}
drain_seconds = 10
forward_request_headers = ["{header}"]

[store]
url = "sqlite:///{directory}/gateway.db"

# Counted, and never reached.
[limits]
tokens_per_minute = 1_000_000_000_000
requests_per_minute = 1_000_000_000_000
concurrent_requests = 1_000_000_000_000

[timeouts]
first_byte = {stall}
idle = {stall}
write = {write}
"""
_UPSTREAM = """
[[upstreams]]
name = "{name}"
kind = "ai-studio"
base_url = "{url}"
keys = ["env:SOAK_UPSTREAM_KEY"]
cooldown = false
models = ["{model}"]
"""


class Upstream:
    """The upstream's process."""

    def __init__(self, certificates: TestCertificates) -> None:
        server = certificates.server
        self.popen = subprocess.Popen(
            [*_TIED, sys.executable, "-m", "soak.upstream", str(server.certificate), str(server.key)],
            cwd=PROJECT,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ports: dict[str, int] = msgspec.json.decode(self._line())

    def _line(self) -> str:
        assert self.popen.stdout
        return self.popen.stdout.readline()

    def report(self) -> Report:
        """What it has seen until now."""
        assert self.popen.stdin
        self.popen.stdin.write("report\n")
        self.popen.stdin.flush()
        return msgspec.json.decode(self._line(), type=Report)

    def stop(self) -> None:
        """Ends it."""
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            assert pipe
            pipe.close()


class Gateway:
    """The gateway, its command line, and the reading end of its access log."""

    def __init__(
        self, directory: Path, upstream: Upstream, certificates: TestCertificates, workers: int
    ) -> None:
        self._config = directory / "gateway.toml"
        self._config.write_text(_configuration(directory, upstream, certificates, workers), "utf-8")
        self.token = self.command("credentials", "create", "--branch", "main").strip()
        self.log, writing = os.pipe()
        try:
            self.process = Process(
                ["serve", "--config", str(self._config)],
                {"SOAK_UPSTREAM_KEY": "AQ.upstream-key-of-the-soak", **_GIVEN_BACK},
                stdout=writing,
                prefix=_TIED,
            )
        finally:
            os.close(writing)
        try:
            self.port = self._port("gateway")
            self.admin_port = self._port("admin")
        except BaseException:
            self.process.kill()
            raise

    def command(self, *arguments: str) -> str:
        """What `python -m gateway` with these arguments prints."""
        return run([*arguments, "--config", str(self._config)])

    def stop(self) -> None:
        """Ends it, if it still runs."""
        if self.process.popen.poll() is None:
            self.process.stop()

    def _port(self, listener: str) -> int:
        return int(self.process.wait_for_line(rf"^{listener} listening on http://127\.0\.0\.1:(\d+)$")[1])


def _configuration(directory: Path, upstream: Upstream, certificates: TestCertificates, workers: int) -> str:
    parts = [
        _CONFIGURATION.format(
            directory=directory, workers=workers, header=HEADER, stall=STALL_SECONDS, write=WRITE_SECONDS
        )
    ]
    for name, model in MODELS.items():
        scheme = "https" if name == "tls" else "http"
        url = f"{scheme}://localhost:{upstream.ports[name]}"
        parts.append(_UPSTREAM.format(name=name, url=url, model=model.replace(".", "-")))
        if name == "tls":
            parts.append(f'ca_file = "{certificates.ca_file}"\n')
    return "".join(parts)
