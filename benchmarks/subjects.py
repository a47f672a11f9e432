"""What is measured: the stub asked directly, nginx, and the gateway, each in front of the same stub."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks import programs
from benchmarks.programs import BenchmarkError, Cores, Program
from gateway import COMPILED

Upstream = Literal["plain", "tls"]
UPSTREAMS: tuple[Upstream, ...] = ("plain", "tls")

PROJECT = Path(__file__).parents[1]
MODEL = "gemini-2.5-flash"
UPSTREAM_KEY = "benchmark-upstream-key"


@dataclass(frozen=True)
class Machine:
    """What every subject needs to know: where the stub is, where files go, which core is whose."""

    directory: Path
    cores: Cores
    stub: Program
    stub_ports: dict[Upstream, int]
    certificate: Path
    """The stub's own, which is its own authority too."""

    def base_url(self, upstream: Upstream) -> str:
        """Where the stub is asked."""
        return f"{'https' if upstream == 'tls' else 'http'}://localhost:{self.stub_ports[upstream]}"


@dataclass(frozen=True)
class Subject:
    """One running subject, ready to be asked."""

    name: str
    upstream: Upstream
    port: int
    path: str
    """Before the action: ends with the model."""
    headers: tuple[str, ...]
    program: Program | None
    """None for the stub itself."""
    chat: bool = False
    """It is asked in OpenAI's form, and converts: only small unary answers, their length unchecked."""
    server: Program | None = None
    """One that it needs, and that is not measured."""

    def stop(self) -> None:
        """Ends it, unless it is the stub."""
        for program in (self.program, self.server):
            if program:
                program.stop()


Start = Callable[[Machine, Upstream], Subject]
"""Starts a subject anew and returns when it can be asked. Raises BenchmarkError."""

_PATH = f"/ai-gateway/gemini/v1beta/models/{MODEL}"


def start_machine(directory: Path, binaries: Path) -> Machine:
    """Makes a certificate and starts the stub. Raises BenchmarkError."""
    cores = Cores.of_this_machine()
    certificate, key = directory / "stub.pem", directory / "stub.key"
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    command = [str(binaries / "stub"), str(certificate), str(key)]
    stub = programs.start("stub", command, directory, core=cores.helpers)
    ports: dict[Upstream, int] = {}
    for upstream in UPSTREAMS:
        ports[upstream] = int(stub.wait_for_line(rf"^{upstream} (\d+)$")[1])
    return Machine(directory, cores, stub, ports, certificate)


def start_direct(machine: Machine, upstream: Upstream) -> Subject:
    """The stub without anything in front of it, always over plain TCP: what the others are compared to."""
    return Subject("direct", upstream, machine.stub_ports["plain"], _PATH, (), None)


_NGINX = """
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 10000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
    uwsgi_temp_path {directory}; scgi_temp_path {directory};
    upstream stub {{
        server 127.0.0.1:{stub_port};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        client_max_body_size 0;
        location / {{
            proxy_pass {scheme}://stub;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_set_header Connection "";
            proxy_set_header Host localhost;
            proxy_set_header Authorization "";
            proxy_set_header x-goog-api-key {key};
            proxy_ssl_name localhost;
            proxy_ssl_server_name on;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {certificate};
        }}
    }}
}}
"""


def start_nginx(machine: Machine, upstream: Upstream) -> Subject:
    """One worker, connections to the stub kept open, nothing held back, no access log."""
    directory = machine.directory / f"nginx-{upstream}"
    directory.mkdir(exist_ok=True)
    port = programs.free_port()
    configuration = directory / "nginx.conf"
    configuration.write_text(
        _NGINX.format(
            user="user root;" if os.geteuid() == 0 else "",
            directory=directory,
            stub_port=machine.stub_ports[upstream],
            port=port,
            scheme="https" if upstream == "tls" else "http",
            key=UPSTREAM_KEY,
            certificate=machine.certificate,
        )
    )
    program = programs.start(
        "nginx", ["nginx", "-c", str(configuration)], machine.directory, core=machine.cores.subject
    )
    program.wait_for_port(port)
    return Subject("nginx", upstream, port, _PATH, ("Authorization: Bearer unused",), program)


def start_forwarder(machine: Machine, upstream: Upstream) -> Subject:
    """See `benchmarks.forwarder`; over plain TCP only."""
    program = programs.start(
        "forwarder",
        [sys.executable, "-m", "benchmarks.forwarder", str(machine.stub_ports["plain"])],
        machine.directory,
        core=machine.cores.subject,
        environment={"PYTHONPATH": str(PROJECT)},
    )
    port = int(program.wait_for_line(r"^forwarding from (\d+)$")[1])
    return Subject("forwarder", upstream, port, _PATH, ("Authorization: Bearer unused",), program)


_GATEWAY = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[store]
url = "sqlite:///{directory}/gateway.db"

# The limit that a project has by default, out of reach.
[limits]
tokens_per_minute = 1_000_000_000_000

[[upstreams]]
name = "stub"
kind = "ai-studio"
base_url = "{base_url}"
keys = ["env:BENCHMARK_UPSTREAM_KEY"]
"""


def start_gateway(machine: Machine, upstream: Upstream) -> Subject:
    """As an operator runs it, its access log into a pipe that is read."""
    return _start_gateway(machine, upstream, "gateway")


def start_unaccounted(machine: Machine, upstream: Upstream) -> Subject:
    """The gateway without limits and without usage; see `benchmarks.unaccounted`."""
    return _start_gateway(machine, upstream, "unaccounted", module="benchmarks.unaccounted")


def start_on_redis(machine: Machine, upstream: Upstream) -> Subject:
    """The gateway with its limits counted by a Redis server, which runs on the core of the helpers."""
    port = programs.free_port()
    command = f"redis-server --bind 127.0.0.1 --port {port} --save".split()
    server = programs.start("redis-server", [*command, ""], machine.directory, core=machine.cores.helpers)
    server.wait_for_port(port)
    counters = f'\n[counters]\nurl = "redis://127.0.0.1:{port}"\n'
    return _start_gateway(machine, upstream, "redis", more=counters, server=server)


def _start_gateway(
    machine: Machine,
    upstream: Upstream,
    name: str,
    *,
    module: str = "gateway",
    more: str = "",
    server: Program | None = None,
) -> Subject:
    """module: what is run to serve. more: tables at the end of the configuration."""
    directory = machine.directory / f"{name}-{upstream}"
    configuration, token = directory / "gateway.toml", directory / "token"
    command = [sys.executable, "-m", "gateway"]
    environment = {"BENCHMARK_UPSTREAM_KEY": UPSTREAM_KEY, "PYTHONPATH": str(PROJECT)}
    if not directory.exists():
        directory.mkdir()
        text = _GATEWAY.format(directory=directory, base_url=machine.base_url(upstream))
        ca_file = f'ca_file = "{machine.certificate}"\n' if upstream == "tls" else ""
        configuration.write_text(text + ca_file + more)
        made = subprocess.run(
            [*command, "credentials", "create", "--branch", "main", "--config", str(configuration)],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise BenchmarkError(f"{name}: no credential: {made.stderr}")
        token.write_text(made.stdout.strip())
    program = programs.start(
        name,
        [sys.executable, "-m", module, "serve", "--config", str(configuration)],
        machine.directory,
        core=machine.cores.subject,
        environment=environment,
        drain_to=machine.cores.helpers,
    )
    port = int(program.wait_for_line(r"^gateway listening on http://127\.0\.0\.1:(\d+)$")[1])
    header = f"Authorization: Bearer {token.read_text()}"
    return Subject(name, upstream, port, _PATH, (header,), program, server=server)


def versions() -> dict[str, str]:
    """What was compared, for the report."""
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr
    commit = subprocess.run(
        ["git", "-C", str(PROJECT), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    found = re.search(r"nginx/(\S+)", nginx)
    return {
        "nginx": found[1] if found else "unknown",
        "gateway": f"{commit.strip() or 'unknown'}, {'compiled' if COMPILED else 'interpreted'}",
        "python": sys.version.split()[0],
    }
