"""What the tests of the admin listener share: one that runs over a store of its own, and a client for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession
from multidict import CIMultiDict
from yarl import URL

from gateway.admin import create_admin_app, serve_admin
from gateway.admin.app import IDLE_SECONDS
from gateway.admin.operation import BODY_SECONDS, Targets
from gateway.config import Admin, HostName, Listen, StoreUrl
from gateway.exposition import Exposition
from gateway.metrics import Snapshot
from gateway.secrets import Secret
from gateway.stores import Store, open_store
from tests.support.operator import rows

TOKEN = "the-admin-token-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
BRANCHES = "/api/v2/projects/default/branches"
CREDENTIALS = f"{BRANCHES}/main/credentials"
LOOPBACK = Listen.parse("127.0.0.1:0")


@dataclass(frozen=True)
class Reply:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def refusal(self) -> tuple[int, str]:
        """Status and code of an error, which is checked to have its form."""
        error = self.json
        assert set(error) == {"code", "message"}
        assert error["message"].isprintable()
        assert 5 < len(error["message"]) < 400
        return self.status, error["code"]


@dataclass
class AdminClient:
    """Asks a running admin listener; its requests carry the token unless they say otherwise."""

    url: str
    store: Store
    store_path: Path
    session: ClientSession

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    ) -> Reply:
        """The answer. `path` goes out as it is; bytes as the body, too, anything else as JSON."""
        sent = CIMultiDict(headers)
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(
            method, URL(self.url + path, encoded=True), data=content, headers=sent
        ) as response:
            return Reply(response.status, response.headers, await response.read())

    async def get(self, path: str) -> Any:
        """What a GET that succeeds returns."""
        reply = await self.ask("GET", path)
        assert reply.status == 200, reply
        return reply.json

    async def credential(self, **fields: object) -> Any:
        """A new credential on `main`, as the API told of it."""
        wanted = {"scopes": ["ai_gateway:invoke"], "principal_type": "user"} | fields
        reply = await self.ask("POST", CREDENTIALS, wanted)
        assert reply.status == 201, reply
        return reply.json

    def content(self) -> dict[str, list[Any]]:
        """Every row of the store."""
        return rows(self.store_path)


@asynccontextmanager
async def running_admin(
    directory: Path,
    *,
    token: str | None = TOKEN,
    hosts: Sequence[str] = (),
    configured: str = "127.0.0.1:0",
    ready: Callable[[], tuple[bool, str]] = lambda: (True, "serving"),
    snapshot: Callable[[], Snapshot] = Snapshot,
    targets: Targets = list,
    body_seconds: float = BODY_SECONDS,
    idle_seconds: float = IDLE_SECONDS,
) -> AsyncIterator[AdminClient]:
    """An admin listener on loopback, which thinks that it is where it was `configured` to be."""
    store_path = directory / "gateway.db"
    async with AsyncExitStack() as stack:
        store = await open_store(StoreUrl.parse(f"sqlite:///{store_path}"))
        stack.push_async_callback(store.close)
        app = create_admin_app(
            ready=ready,
            exposition=Exposition(snapshot),
            store=store,
            targets=targets,
            settings=Admin(
                token=None if token is None else Secret(token, "env:TEST"),
                hosts=tuple(map(HostName.parse, hosts)),
            ),
            listen=Listen.parse(configured),
            body_seconds=body_seconds,
        )
        url = await serve_admin(stack, LOOPBACK, app, idle_seconds=idle_seconds)
        session = await stack.enter_async_context(ClientSession(headers={} if token is None else BEARER))
        yield AdminClient(url, store, store_path, session)
