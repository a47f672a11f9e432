"""No access token, private key or bearer is found anywhere after a run over `vertex` and `gateway` upstreams.

Their places do all wrong that they can, telling what they were asked with wherever they can.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.contract.planted import Planted, files, process_traces, processes
from tests.contract.test_planted_secrets import DEBUG, upstream_faults
from tests.support.eventually import eventually
from tests.support.gateway import Gateway, start_gateway
from tests.support.google import SUBJECT_TOKEN, TokenEndpoint, private_key, service_account, workload_identity
from tests.support.raw_client import PeerLeftError, RawClient
from tests.support.raw_upstream import RawUpstream

BEARER = "dapi-planted-bearer-9sXq4Lm7Vt2Rk8Zb5Wc1Ny6Jh3"
ADMIN = "planted-admin-token-0wE7uR4tY9iP2oA5sD8fG1hJ6kL3"
CONFIGURATION = """
[admin]
token = "file:{folder}/admin"

[timeouts]
first_byte = 0.3

[[upstreams]]
name = "account"
kind = "vertex"
project = "p-1"
base_url = "{upstream}"
credentials = "{account}"
models = ["gemini-2-5-flash"]

[[upstreams]]
name = "identity"
kind = "vertex"
project = "p-1"
base_url = "{upstream}"
credentials = "{identity}"
models = ["gemini-3-flash"]

[[upstreams]]
name = "other"
kind = "gateway"
base_url = "{upstream}"
keys = ["file:{folder}/bearer"]
models = ["gemini-2-5-pro"]
"""
FAILS = " gets no new access token: "
RECOVERED = " has a new access token, "
MODELS = ("gemini-2-5-flash", "gemini-3-flash", "gemini-2-5-pro")


@dataclass
class Run:
    """One run, and all that clients and operators were answered."""

    gateway: Gateway
    upstream: RawUpstream
    endpoint: TokenEndpoint
    folder: Path
    """Of the credentials."""
    answers: list[bytes] = field(default_factory=list)

    @property
    def planted(self) -> Planted:
        """All that must not be found."""
        key = [line for line in private_key().splitlines() if len(line) == 64]
        signed = [request.body.decode().partition("assertion=")[2] for request in self.endpoint.requests]
        assertions = [one.partition("&")[0] for one in signed if one]
        return Planted([BEARER, ADMIN, SUBJECT_TOKEN, *key, *self.endpoint.issued, *assertions])

    async def everything(self) -> None:
        """Each kind's upstream faults, with a token endpoint that works, and while one refuses and echoes."""
        for told in (BEARER, *self.endpoint.issued):
            for script in upstream_faults(told):
                self.upstream.answer_always(script)
                await asyncio.gather(*map(self.ask, MODELS))
        sent = self.endpoint.requests[0].body.decode()
        for echoed in (sent, private_key(), f"{self.endpoint.issued[0]} {SUBJECT_TOKEN}"):
            self.endpoint.refuses("invalid_grant", f"no: {echoed} (sent: {sent})")
            await self.reread()
            await self.recover()
        self.endpoint.answers(json.dumps({"id_token": SUBJECT_TOKEN, "key": private_key()}).encode())
        await self.reread()
        await self.recover()
        for name in ("admin", "bearer", "account.json", "identity.json"):
            kept = (self.folder / name).read_text()
            (self.folder / name).write_text(f"{private_key()}\n{BEARER}\n")
            await self.hang_up("the configuration stays as it was: ")
            (self.folder / name).write_text(kept)

    async def ask(self, model: str) -> None:
        port = int(self.gateway.url.rpartition(":")[2])
        async with RawClient("127.0.0.1", port) as client:
            line = f"POST /ai-gateway/gemini/v1beta/models/{model}:streamGenerateContent?alt=sse HTTP/1.1\r\n"
            head = f"Host: a\r\nx-goog-api-key: {self.gateway.token}\r\nContent-Length: 2\r\n\r\n{{}}"
            await client.send((line + head).encode())
            try:
                answer = await client.read_response()
                self.answers.append(answer.raw_head + answer.body)
            except PeerLeftError as left:
                self.answers.append(str(left).encode())

    async def reread(self) -> None:
        """Have both credentials asked for tokens anew, in vain: the files are others, if only by a word."""
        failures = self.count(FAILS)
        for name in ("account.json", "identity.json"):
            file = self.folder / name
            file.write_text(json.dumps(json.loads(file.read_text()) | {"word": secrets.token_hex(8)}))
        await self.hang_up("the configuration was read again: ")
        await eventually("two failures", lambda: self.count(FAILS) == failures + 2)

    async def recover(self) -> None:
        """Only the first of several failures is told."""
        self.endpoint.works()
        await eventually("an end of both", lambda: self.count(RECOVERED) == self.count(FAILS))

    async def hang_up(self, told: str) -> None:
        before = self.count(told)
        self.gateway.process.popen.send_signal(signal.SIGHUP)
        await eventually(told, lambda: self.count(told) > before)

    def count(self, told: str) -> int:
        return sum(told in line for line in self.gateway.log_lines())


@pytest.fixture(scope="module", params=[{}, DEBUG], ids=["as usual", "debugging"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("credentials")
    (folder / "admin").write_text(ADMIN)
    (folder / "bearer").write_text(BEARER)
    with RawUpstream() as upstream, TokenEndpoint() as endpoint:
        configuration = CONFIGURATION.format(
            folder=folder,
            upstream=upstream.url,
            account=service_account(folder / "account.json", endpoint.token_uri),
            identity=workload_identity(folder / "identity.json", endpoint),
        )
        gateway = start_gateway(tmp_path_factory.mktemp("gateway"), configuration, request.param)
        try:
            done = Run(gateway, upstream, endpoint, folder)
            with asyncio.Runner() as runner:
                runner.run(done.everything())
            yield done
        finally:
            code = gateway.stop()
        assert code == 0, gateway.log_lines()


def test_the_faults_happened(run: Run) -> None:
    log = "\n".join(run.gateway.log_lines())
    for name in ("account", "identity", "other"):
        assert f"upstream {name} refuses the gateway's key" in log
    for name in ("account", "identity"):
        assert f"upstream {name} gets no new access token: it is refused: " in log
        assert f"upstream {name} has a new access token" in log
    assert len(run.endpoint.issued) >= 4
    carried = {value for one in run.upstream.requests for value in one.header("authorization")}
    assert {f"Bearer {BEARER}", *(f"Bearer {token}" for token in run.endpoint.issued[:2])} <= carried


def test_no_answer_tells_a_secret(run: Run) -> None:
    assert len(run.answers) > 100
    planted = run.planted
    for answer in run.answers:
        assert not planted.found_in(answer), answer


def test_the_operator_is_told_no_secret(run: Run) -> None:
    planted = run.planted
    base = run.gateway.admin_url
    for path in ("/metrics", "/healthz", "/readyz", "/usage", "/api/v2/upstreams", "/api/v2/openapi.json"):
        asked = urllib.request.Request(base + path, headers={"Authorization": f"Bearer {ADMIN}"})
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                told = str(answer.headers).encode() + answer.read()
        except urllib.error.HTTPError as refused:
            told = str(refused.headers).encode() + refused.read()
        assert not planted.found_in(told), path
    for command in (["check-config"], ["check-config", "--json"]):
        assert not planted.found_in(run.gateway.command(*command).encode()), command


def test_nothing_secret_is_in_a_url(run: Run) -> None:
    planted = run.planted
    for asked in (*run.upstream.requests, *run.endpoint.requests):
        assert not planted.found_in(asked.target.encode()), asked.target


def test_the_process_shows_no_secret(run: Run) -> None:
    planted = run.planted
    for pid in processes(run.gateway.process.popen.pid):
        for where, trace in process_traces(pid):
            assert not planted.found_in(trace), where


def test_no_file_and_no_line_of_the_log_holds_a_secret(run: Run) -> None:
    assert run.gateway.stop() == 0
    planted = run.planted
    found = dict(files(run.gateway.config_path.parent, []))
    assert {"gateway.db", "gateway.toml"} <= found.keys()
    for name, content in found.items():
        assert not planted.found_in(content), name
    for line in run.gateway.log_lines():
        assert not planted.found_in(line.encode()), line
