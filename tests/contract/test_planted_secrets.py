"""After a run with every kind of error, no client's token and no key of an upstream is found anywhere.

The operator's own file with the upstream's key is left out of the search. A key given as `env:NAME` stands
in the process's environment, where the operator put it; here it comes from that file, and is not there.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import signal
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.contract import refusals, test_carriers, test_error_table, test_smuggling
from tests.contract.planted import Planted, files, process_traces, processes
from tests.contract.rig import MAX_BODY_BYTES, UNREACHABLE, UPSTREAM_KEY, Rig, running_rig
from tests.support.identity import damaged
from tests.support.raw_client import PeerLeftError, RawClient
from tests.support.script import Script, close, keep_open, response, rst, send

DEBUG = {"PYTHONASYNCIODEBUG": "1", "PYTHONDEVMODE": "1", "PYTHONWARNINGS": "default"}
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
Broken = list[bytes]


def broken_requests(token: str) -> Broken:
    """Requests that no parser takes, or no route, with a token in each place where one could be."""
    raw = token.encode()
    basic = b"Authorization: Basic " + base64.b64encode(b"token:" + raw)
    lines = [
        b"POST /?key=%b&x=\x01 HTTP/1.1",
        b"POST /x?key=%b HTTP/1.1 again",
        b"POST /x?key=%b",
        b"%b / HTTP/1.1",
        b"POST %b HTTP/1.1",
        b"POST http://user:%b@example.com/ HTTP/1.1",
        b"CONNECT %b:443 HTTP/1.1",
        b"POST /x?key=%b\xff HTTP/1.1",
        b"POST /" + b"a" * 17_000 + b"?key=%b HTTP/1.1",
        b"POST /ai-gateway/gemini/v1beta/models/%b:generateContent HTTP/1.1",
        b"POST /ai-gateway/gemini/v1beta/models/gemini-2-5-flash:%b HTTP/1.1",
        b"POST /ai-gateway/gemini/v1beta/models/gemini-2-5-flash:generateContent&key=%b HTTP/1.1",
        b"POST /ai-gateway/gemini/v1beta/models/gemini-2-5-flash:generateContent?alt=sse?key=%b HTTP/1.1",
        b"POST /ai-gateway/gemini/v1beta/models/gemini%%zz%b:generateContent HTTP/1.1",
    ]
    headers = [
        b"x-goog-api-key: %b\x00",
        b"x-goog-api-key: %b\x01",
        b"x-goog-api-key %b",
        b"x-goog-api-key : %b",
        b"%b: x-goog-api-key",
        b"%b",
        b"Authorization: Bearer %b\r\n folded",
        b"Authorization: Bearer \n%b",
        b"Authorization: Bearer %b\r\nAuthorization: Bearer %b",
        b"Cookie: session=%b\r\nX: \x7f",
        b"Content-Length: %b",
        b"Transfer-Encoding: %b",
        b"Host: %b",
        b"Expect: %b\r\nX-Long: " + b"a" * 17_000,
        b"Upgrade: %b\r\nConnection: Upgrade",
        b"X-Forwarded-Host: %b",
        basic + b"\x00",
        basic + b"\r\n folded",
        basic + b"\r\n" + basic,
        basic.replace(b":", b" "),
    ]
    good_line = b"POST /ai-gateway/gemini/v1beta/models/gemini-2-5-flash:generateContent HTTP/1.1"
    made = [line % raw + b"\r\nHost: a\r\n" for line in lines]
    made += [good_line + b"\r\nHost: a\r\n" + header.replace(b"%b", raw) + b"\r\n" for header in headers]
    return [head + b"Content-Length: 0\r\n\r\n" for head in made]


def upstream_faults(key: str = UPSTREAM_KEY) -> Iterator[Script]:
    """What an upstream can do wrong, telling its key wherever it can."""
    googles = [("Content-Type", "application/json"), ("WWW-Authenticate", f'Bearer error="{key}"')]
    for status, reason in (
        (400, "API_KEY_INVALID"),
        (401, "ACCESS_TOKEN_EXPIRED"),
        (403, "CONSUMER_INVALID"),
    ):
        detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}
        message = f"API key not valid: {key}"
        body = json.dumps({"error": {"code": status, "message": message, "details": [detail]}}).encode()
        yield response(status, googles, body)
        yield response(status, googles, b"[" + body + b"]", "chunked")
        yield response(status, [*googles, ("Content-Encoding", "gzip")], gzip.compress(body))
    yield [send(f"HTTP/1.1 200 OK\r\nX: {key}\x00\r\n\r\n".encode()), close()]
    yield [send(f"{key} HTTP/1.1 200 OK\r\n\r\n".encode()), close()]
    yield [send(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {key}\r\n\r\n".encode()), keep_open()]
    yield [send(STREAM + f"zz{key}\r\n".encode()), close()]
    yield [send(STREAM), rst()]
    yield [close()]
    yield [rst()]
    yield [keep_open()]


class Run:
    """One run against a rig of its own, and all that clients were answered."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        known = rig.known
        self.tokens = [
            known.main,
            known.child,
            known.other_project,
            known.without_scope,
            known.expired,
            known.revoked,
            test_error_table.WRONG_TOKEN.replace("0" * 64, "0123456789abcdef" * 4),
        ]
        self.planted = Planted([*self.tokens, UPSTREAM_KEY])
        self.answers: list[bytes] = []

    async def say(self, data: bytes) -> None:
        """Send it and note all that comes back, until there is an answer, or the gateway leaves."""
        async with self.rig.client() as client:
            await client.send(data)
            try:
                answer = await client.read_response()
                self.answers.append(answer.raw_head + answer.body)
            except PeerLeftError as left:
                self.answers.append(str(left).encode())

    async def leave(self, data: bytes, reset: bool) -> None:
        """Send it and leave at once."""
        async with self.rig.client() as client:
            await client.send(data)
            if reset:
                client.reset()

    async def everything(self) -> None:
        rig = self.rig
        for case in (*test_error_table.ANYWHERE.values(), *test_error_table.ELSEWHERE.values()):
            await self.say(rig.request(**case.changes(rig)).encode())
        for token in self.tokens:
            for data in broken_requests(token):
                await self.say(data)
                await self.say(
                    data.replace(b"Host: a\r\n", b"Host: %b\r\n" % rig.known.hosts["main"].encode())
                )
                signed = f"Host: {rig.known.hosts['main']}\r\nx-goog-api-key: {rig.known.main}\r\n"
                await self.say(data.replace(b"Host: a\r\n", signed.encode()))
            for carrier in (*test_carriers.GOOD.values(), *test_carriers.BAD.values()):
                sent = carrier(token)
                await self.say(rig.request(token="", headers=sent.headers, query=sent.query).encode())
        for framing, rest in test_smuggling.AMBIGUOUS.values():
            await self.say(test_smuggling.request(rig, framing, rest))
        for rest in test_smuggling.BROKEN.values():
            await self.say(test_smuggling.request(rig, test_smuggling.TE, rest))
        await self.to_the_wrong_listener()
        await self.upstream_errors()
        await self.clients_that_leave()
        with damaged(rig.gateway.config_path.with_name("gateway.db")):
            for token in self.tokens:
                await self.say(rig.request(token=token[:-8] + "00000000").encode())

    async def to_the_wrong_listener(self) -> None:
        """What the admin listener answers goes to whoever sent it, and may repeat it; its log may not."""
        port = int(self.rig.gateway.admin_url.rpartition(":")[2])
        for data in broken_requests(self.rig.known.main):
            async with RawClient("127.0.0.1", port) as client:
                await client.send(data)
                assert await client.read_some()

    async def upstream_errors(self) -> None:
        rig = self.rig
        for script in upstream_faults():
            with rig.answering(script):
                for action in ("generateContent", "streamGenerateContent"):
                    await self.say(rig.request(action=action, query=f"key={rig.known.main}").encode())
        await self.say(rig.request(model=UNREACHABLE).encode())

    async def clients_that_leave(self) -> None:
        rig = self.rig
        whole = rig.request(query=f"key={rig.known.main}", length=str(MAX_BODY_BYTES)).encode()
        with rig.answering([send(STREAM), keep_open()]):
            for data in (whole[:60], whole[:-20], whole, rig.request().encode()):
                await self.leave(data, reset=True)
                await self.leave(data, reset=False)


def ask_admin(run: Run, token: str) -> Iterator[bytes]:
    """What the admin listener says, asked rightly and wrongly."""
    base = run.rig.gateway.admin_url
    for path in ("/metrics", "/healthz", "/readyz"):
        with urllib.request.urlopen(f"{base}{path}?key={token}", timeout=10) as answer:
            yield str(answer.headers).encode() + answer.read()


@pytest.fixture(scope="module", params=[{}, DEBUG], ids=["as usual", "debugging"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with running_rig(
        tmp_path_factory.mktemp("planted"),
        request.param,
        TIMEOUTS__FIRST_BYTE="0.3",
        SERVER__DRAIN_SECONDS="0.3",
    ) as rig:
        done = Run(rig)
        with asyncio.Runner() as runner:
            runner.run(done.everything())
        yield done


def test_the_search_finds_what_is_there(run: Run) -> None:
    for secret in (*run.tokens, UPSTREAM_KEY):
        half = secret[-len(secret) // 3 :]
        for text in (
            f"x{secret}y",
            f"key={secret.upper()}",
            f'"{half}"'.replace(half, secret[25:57] or secret),
        ):
            assert run.planted.found_in(text.encode()), text
        for user in ("", "a", "ab", "abc"):
            assert run.planted.found_in(base64.b64encode(f"{user}:{secret}".encode()))
    assert not run.planted.found_in(b"nt_live_" + run.tokens[0][8:24].encode() + b"_")


def test_every_kind_of_error_happened(run: Run) -> None:
    reasons = {
        line.partition(b": ")[2] for one in run.answers for line in one.split(b"\r\n") if b"-error: " in line
    }
    everyone = {row.reason.encode() for row in refusals.TABLE}
    assert everyone - reasons == {b"INTERNAL", b"OVERLOADED", b"DRAINING"}


def test_no_answer_tells_a_secret(run: Run) -> None:
    for answer in run.answers:
        assert not run.planted.found_in(answer), answer


def test_the_admin_listener_tells_no_secret(run: Run) -> None:
    for answer in ask_admin(run, run.tokens[0]):
        assert not run.planted.found_in(answer), answer


def test_nothing_went_upstream_but_the_key(run: Run) -> None:
    tokens = Planted(run.tokens)
    assert len(run.rig.upstream.requests) > 50
    for asked in run.rig.upstream.requests:
        assert not tokens.found_in(asked.raw_head + asked.body), asked.raw_head


def test_the_process_shows_no_secret(run: Run) -> None:
    for pid in processes(run.rig.gateway.process.popen.pid):
        for where, trace in process_traces(pid):
            assert not run.planted.found_in(trace), where


def test_the_database_holds_the_ids_and_no_secret(run: Run) -> None:
    directory = run.rig.gateway.config_path.parent
    found = dict(files(directory, [directory / "upstream.key"]))
    assert {"gateway.db", "gateway.db-wal", "gateway.toml"} <= found.keys()
    for name, content in found.items():
        assert not run.planted.found_in(content), name
    with closing(sqlite3.connect(directory / "gateway.db")) as database:
        ids = {row[0] for row in database.execute("SELECT id FROM credentials")}
    assert {token[8:24] for token in run.tokens[:6]} <= ids


def test_the_log_tells_the_ids_and_no_secret_to_its_last_line(run: Run) -> None:
    process = run.rig.gateway.process
    process.popen.send_signal(signal.SIGTERM)
    process.popen.wait(30)
    assert run.rig.gateway.stop() == 0
    log = "\n".join(run.rig.gateway.log_lines()).encode()
    assert run.tokens[0][8:24].encode() in log
    assert log.count(b'"reason":"HTTP_MALFORMED"') > 100
    for line in log.split(b"\n"):
        assert not run.planted.found_in(line), line
