"""One operation of the admin API: what it takes and gives, and how a request becomes its call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.admin.refusals import Handler, Refused
from gateway.admin.schema import Answer, NoQuery, Request
from gateway.errors import printable
from gateway.stores import Store
from gateway.upstreams.target_state import TargetState

PROJECT = "/api/v2/projects/{project}"
ACTOR = "admin"
"""Who the audit trail says made a change: whoever has the token."""
BODY_BYTES = 64 * 1024
"""The largest body that is read."""
BODY_SECONDS = 10.0
"""How long that may take."""

Targets = Callable[[], Sequence[TargetState]]
"""How all targets are now, each once."""
Query = TypeVar("Query", bound=Request)
Body = TypeVar("Body", bound=Request | None)


@dataclass(frozen=True, slots=True)
class Call(Generic[Query, Body]):
    """One request for an operation: everything of it has the form that the operation wants."""

    store: Store
    targets: Targets
    changing: asyncio.Lock
    """Held by what reads what it is about to change."""
    path: Mapping[str, str]
    """The path's variable parts, decoded; what they name need not be there."""
    query: Query
    body: Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What `routes` and the OpenAPI document are made from."""

    id: str
    summary: str
    method: str
    path: str
    """With its variable parts in braces."""
    run: Callable[[Call[Any, Any]], Awaitable[Answer | None]]
    query: type[Request] = NoQuery
    body: type[Request] | None = None
    answer: type[Answer] | None = None
    """None: there is nothing to say but that it is done."""
    status: int = 200
    conflicts: bool = False
    """Whether it can go against what is there."""


def answering(
    operation: Operation, store: Store, targets: Targets, changing: asyncio.Lock, body_seconds: float
) -> Handler:
    """What answers requests for the operation. Raises Refused and StoreError."""

    async def handle(request: web.Request) -> web.Response:
        query = _query(request, operation.query)
        body = await _body(request, operation.body, body_seconds)
        answer = await operation.run(Call(store, targets, changing, request.match_info, query, body))
        if answer is None:
            return web.Response(status=operation.status)
        return web.Response(
            status=operation.status, body=msgspec.json.encode(answer), content_type="application/json"
        )

    return handle


def _query(request: web.Request, kind: type[Struct]) -> Struct:
    if len(request.query) != len(set(request.query)):
        raise Refused(400, "BAD_REQUEST", "a query parameter was given twice")
    try:
        return msgspec.convert(dict(request.query), kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(400, "BAD_REQUEST", f"query: {printable(str(error))}") from None


async def _body(request: web.Request, kind: type[Request] | None, seconds: float) -> Request | None:
    if kind is None:
        return None
    if request.content_type != "application/json" or "Content-Encoding" in request.headers:
        raise Refused(415, "UNSUPPORTED_MEDIA_TYPE", "the body is not announced as plain application/json")
    try:
        async with asyncio.timeout(seconds):
            content = await request.read()
    except TimeoutError:
        raise Refused(408, "REQUEST_TIMEOUT", f"the body did not come within {seconds:g} s") from None
    except web.HTTPRequestEntityTooLarge:
        raise Refused(413, "BODY_TOO_LARGE", f"the body is larger than {BODY_BYTES} bytes") from None
    except (web.RequestPayloadError, ConnectionError):
        raise Refused(400, "BAD_REQUEST", "the body did not come whole") from None
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, "BAD_REQUEST", f"body: {printable(str(error))}") from None
