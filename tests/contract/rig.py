"""A gateway process over a raw upstream, with branches and credentials of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.stores.sqlite import SqliteStore
from tests.contract.asking import Request
from tests.support.gateway import Gateway, start_gateway
from tests.support.identity import issue
from tests.support.ports import refusing_port
from tests.support.raw_client import RawClient, RawResponse
from tests.support.raw_upstream import RawUpstream
from tests.support.script import Script, response

SUFFIX = ".gw.example.com"
UPSTREAM_KEY = "AQ.Ab8RN6Ksecret-of-the-upstream-7QxW2mZp4TfVh9LbYc3"
MAX_BODY_BYTES = 65536
SERVED, UNREACHABLE, UNSERVED = "gemini-2-5-flash", "gemini-3-flash", "gemini-3-1-pro"
"""Models: of the raw upstream, of one that refuses connections, of none."""

_CONFIGURATION = """
[branches]
trusted_suffixes = ["{suffix}"]

[[upstreams]]
name = "studio"
kind = "ai-studio"
base_url = "{url}"
keys = ["{key}"]
cooldown = false
models = ["gemini-2-5-*"]

[[upstreams]]
name = "unreachable"
kind = "ai-studio"
base_url = "http://127.0.0.1:{refusing}"
keys = ["{key}"]
cooldown = false
models = ["gemini-3-flash"]
"""


@dataclass
class Identities:
    """Tokens and branch hosts. `main` is the parent of `child` and `sibling`; `other main` has other ids."""

    main: str = ""
    child: str = ""
    other_project: str = ""
    without_scope: str = ""
    expired: str = ""
    """It lacks the scope, too."""
    revoked: str = ""
    hosts: dict[str, str] = field(default_factory=dict)
    """Host names by the branch's name."""
    ids: dict[str, str] = field(default_factory=dict)
    """Branch ids by the branch's name."""


@dataclass
class Rig:
    """What a test of the contract needs: a running gateway and everything around it."""

    gateway: Gateway
    upstream: RawUpstream
    known: Identities
    port: int

    def request(self, **changes: Any) -> Request:
        """A good request to branch `main`, but for the changes."""
        return replace(Request(self.known.hosts["main"], self.known.main), **changes)

    def client(self, deadline: float = 10.0) -> RawClient:
        """A connection to the public listener, to be opened with `async with`."""
        return RawClient("127.0.0.1", self.port, deadline=deadline)

    @contextmanager
    def answering(self, script: Script, *, after_body: bool = True) -> Iterator[None]:
        """The upstream does that with every request while the context lasts."""
        self.upstream.answer_always(script, after_body=after_body)
        try:
            yield
        finally:
            self.upstream.answer_always(GOOD_ANSWER)

    async def ask(self, request: Request) -> RawResponse:
        """One request over a connection of its own, and its whole answer."""
        async with self.client() as client:
            await client.send(request.encode())
            return await client.read_response(request.method)


GOOD_ANSWER: Script = response(
    headers=[("Content-Type", "application/json")],
    body=b'{"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"totalTokenCount": 3}}',
)


@contextmanager
def running_rig(
    directory: Path, environment: Mapping[str, str] | None = None, **settings: str
) -> Iterator[Rig]:
    """A rig of its own; `settings` are environment variables without their `GATEWAY_`."""
    key_file = directory / "upstream.key"
    key_file.write_text(UPSTREAM_KEY)
    environment = {
        **(environment or {}),
        "GATEWAY_SERVER__MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        **{f"GATEWAY_{name}": value for name, value in settings.items()},
    }
    with RawUpstream() as upstream, refusing_port() as refusing:
        upstream.answer_always(GOOD_ANSWER)
        configuration = _CONFIGURATION.format(
            suffix=SUFFIX, url=upstream.url, refusing=refusing, key=f"file:{key_file}"
        )
        gateway = start_gateway(directory, configuration, environment)
        try:
            with ThreadPoolExecutor(1) as thread:  # the test may have a loop running in this one
                known = thread.submit(asyncio.run, _identities(directory / "gateway.db")).result()
            known.main = gateway.token
            yield Rig(gateway, upstream, known, int(gateway.url.rpartition(":")[2]))
        finally:
            code = gateway.stop()
        assert code == 0, gateway.log_lines()


async def _identities(database: Path) -> Identities:
    """Made beside the running gateway, as the command line does."""
    store = await SqliteStore.open(database)
    try:
        await store.create_branch("default", "child", "main")
        await store.create_branch("default", "sibling", "main")
        await store.create_project("other")
        known = Identities(
            child=await issue(store, "child"),
            other_project=await issue(store, project="other"),
            without_scope=await issue(store, scopes=("projects:read",)),
            expired=await issue(store, scopes=("projects:read",), lifetime=0),
            revoked=await issue(store),
        )
        await store.revoke_credential(known.revoked[8:24])
        known.ids = {branch.name: branch.id for branch in await store.branches("default")}
        known.ids["other main"] = (await store.branches("other"))[0].id
        known.hosts = {name: f"{identifier}-api{SUFFIX}" for name, identifier in known.ids.items()}
    finally:
        await store.close()
    return known
