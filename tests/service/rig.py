"""What the tests of the service share: running it in many ways, asking it, reading what it logged."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.gateway import SIMULATED, Gateway, start_gateway
from tests.support.machine import PROJECT
from tests.support.process import START_SECONDS, clean_environment
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream
from tests.support.script import LAST_CHUNK, Script, chunk, send, wait_for

DEADLINE = 20.0
"""Seconds that a healthy process never needs, even on a loaded machine."""
UPSTREAM_KEY = "AQ.key-of-the-service-tests"
GENERATE = "/ai-gateway/gemini/v1beta/models/gemini-2-5-flash:generateContent"
EVENTS = (
    b'data: {"candidates": [{"content": {"parts": [{"text": "one"}]}}]}\n\n',
    b'data: {"candidates": [{"content": {"parts": [{"text": "two"}]}, "finishReason": "STOP"}], '
    b'"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}}\n\n',
)
SLOW_STREAM: Script = [
    send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"),
    send(chunk(EVENTS[0])),
    wait_for("go"),
    send(chunk(EVENTS[1]) + LAST_CHUNK),
]
"""A stream whose second half comes when the test sets the event `go`."""


@dataclass(frozen=True)
class Reply:
    """An answer as it came."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """That of an error in the gateway's envelope."""
        return str(self.json["error"]["message"])


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=DEADLINE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def get(url: str, path: str) -> Reply:
    """One GET over a connection of its own."""
    return _reply(_connection(url, None), "GET", path, {})


def metric(admin_url: str, name: str) -> float:
    """Its value now."""
    text = get(admin_url, "/metrics").body.decode()
    match = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert match, text
    return float(match[1])


def ask(url: str, token: str, *, host: str = "gateway.test", tls: ssl.SSLContext | None = None) -> Reply:
    """One good unary request over a connection of its own; `url` as the gateway announces it."""
    headers = {"Host": host, "x-goog-api-key": token, "Content-Type": "application/json"}
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]})
    return _reply(_connection(url, tls), "POST", GENERATE, headers, body)


def _connection(url: str, tls: ssl.SSLContext | None) -> HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme.endswith("+unix"):
        return _UnixConnection(parts.path)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return HTTPSConnection(host, parts.port, timeout=DEADLINE, context=tls)
    return HTTPConnection(host, parts.port, timeout=DEADLINE)


def _reply(
    connection: HTTPConnection, method: str, path: str, headers: Mapping[str, str], body: str | None = None
) -> Reply:
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())
    finally:
        connection.close()


def port_of(url: str) -> int:
    """The port in an address that the gateway announced."""
    port = urlsplit(url).port
    assert port
    return port


def client(gateway: Gateway, *, receive_buffer: int | None = None) -> RawClient:
    """A connection to the public listener, to be opened with `async with`."""
    return RawClient("127.0.0.1", port_of(gateway.url), receive_buffer=receive_buffer, deadline=DEADLINE)


def accepts(url: str) -> bool:
    """Whether anybody takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port_of(url)), timeout=DEADLINE).close()
    except ConnectionRefusedError:
        return False
    return True


def request(token: str, body: bytes = b"{}", *, action: str = "streamGenerateContent?alt=sse") -> bytes:
    """A good request as bytes."""
    head = (
        f"POST /ai-gateway/gemini/v1beta/models/gemini-2-5-flash:{action} HTTP/1.1\r\n"
        f"Host: gateway.test\r\nx-goog-api-key: {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def running(
    directory: Path,
    upstream: RawUpstream | str | None = None,
    environment: Mapping[str, str] | None = None,
    /,
    **settings: str,
) -> Iterator[Gateway]:
    """A gateway over that upstream, those of that text or the simulated one; it has to end with exit code 0.

    `settings` are environment variables without their `GATEWAY_`: `SERVER__DRAIN_SECONDS="1"`.
    """
    environment = {**(environment or {}), **{f"GATEWAY_{name}": value for name, value in settings.items()}}
    environment["SERVICE_UPSTREAM_KEY"] = UPSTREAM_KEY
    if isinstance(upstream, RawUpstream):
        upstream = over(upstream)
    gateway = start_gateway(directory, upstream or SIMULATED, environment)
    try:
        yield gateway
    except BaseException:
        gateway.process.kill()
        raise
    code = gateway.stop()
    assert code == 0, gateway.log_lines()


def over(upstream: RawUpstream, key: str = "env:SERVICE_UPSTREAM_KEY") -> str:
    """The configuration of that upstream, with a reference to its key."""
    return (
        f'[[upstreams]]\nname = "studio"\nkind = "ai-studio"\nbase_url = "{upstream.url}"\nkeys = ["{key}"]\n'
    )


def access_lines(lines: Sequence[str]) -> list[dict[str, Any]]:
    """Those of the access log among all that a process printed."""
    return [json.loads(line) for line in lines if line.startswith("{")]


@dataclass(frozen=True)
class Ended:
    """A process that ran to its end."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one line it printed, all else being a fault."""
        assert self.stdout == ""
        [line] = self.stderr.splitlines()
        return line


def serve_to_its_end(
    *arguments: str, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> Ended:
    """`python -m gateway serve` where it can't start; `prefix` is a program that runs it."""
    finished = subprocess.run(
        [*prefix, sys.executable, "-m", "gateway", "serve", *arguments],
        cwd=PROJECT,
        env=clean_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    return Ended(finished.returncode, finished.stdout, finished.stderr)


def at_home(home: Path, **settings: str) -> dict[str, str]:
    """The environment of someone without a configuration; listening on free ports."""
    free = {"SERVER__LISTEN": "127.0.0.1:0", "SERVER__ADMIN_LISTEN": "127.0.0.1:0"}
    return {"HOME": str(home)} | {f"GATEWAY_{name}": value for name, value in (free | settings).items()}


def files_below(directory: Path) -> list[str]:
    """Every file in the directory and its folders, by its path from there."""
    return sorted(
        os.path.relpath(Path(folder, file), directory)
        for folder, _, files in os.walk(directory)
        for file in files
    )
