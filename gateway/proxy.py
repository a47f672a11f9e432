"""The life of one request, from its head to its line in the log: the one place that knows the order.

Nothing is done here that another room could do; read this file first.
"""

from __future__ import annotations

import asyncio
import logging
import re
from itertools import chain

from aiohttp import web

from gateway.branches import Branches
from gateway.catalog import Catalog
from gateway.client_connection import HEAD_BYTES, Answer, ClientConnection, may_keep
from gateway.dialects import gemini
from gateway.errors import (
    BODY_TOO_LARGE,
    DRAINING,
    HOST_MALFORMED,
    HTTP_HEADER_TOO_LONG,
    HTTP_LINE_TOO_LONG,
    HTTP_MALFORMED,
    INTERNAL,
    METHOD,
    UPSTREAM_TIMEOUT,
    GatewayError,
    printable,
)
from gateway.exchange import Ending, Exchange
from gateway.identity import Identity
from gateway.observe import Observer
from gateway.refusal import refusal_bytes
from gateway.relay import Relay
from gateway.upstreams import Target
from gateway.upstreams.pool import Pool

_log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_HTTP_1_0, _HTTP_1_1 = (1, 0), (1, 1)
_NO_LENGTH = 2**64 - 1  # which the parser can't tell from none, so that it would take the body for a request


class Proxy:
    """Handles every request of the public listener."""

    def __init__(
        self,
        *,
        identity: Identity,
        branches: Branches,
        catalog: Catalog,
        pool: Pool,
        relay: Relay,
        observer: Observer,
    ) -> None:
        self.identity = identity
        self.branches = branches
        self.catalog = catalog
        self.pool = pool
        self.relay = relay
        self.observer = observer
        self.draining = False
        """Set when no new request is taken any more."""
        self.open = 0
        """Requests under way."""
        self._none_open: asyncio.Event = asyncio.Event()
        self._none_open.set()

    async def handle(self, request: web.BaseRequest) -> Answer:
        """One request, answered whatever happens; the bytes of the answer are written when this returns."""
        exchange = Exchange()
        self.observer.begin()
        self.open += 1
        self._none_open.clear()
        try:
            target = await self._admit(request, exchange)
            return await self.relay.run(request, exchange, target)
        except GatewayError as error:
            return self._refuse(request, exchange, error)
        except asyncio.CancelledError:
            if exchange.ending is Ending.REFUSED:
                exchange.ending = Ending.CLIENT_ABORTED
            raise
        except Exception as error:
            _log.error("internal error", exc_info=_without_values(error))
            return self._refuse(request, exchange, GatewayError(INTERNAL))
        finally:
            self.observer.finish(exchange)
            self.open -= 1
            if not self.open:
                self._none_open.set()

    async def drained(self) -> None:
        """Wait until no request is under way."""
        await self._none_open.wait()

    async def _admit(self, request: web.BaseRequest, exchange: Exchange) -> Target:
        """Every check, in the contract's order; the first that fails answers."""
        exchange.client_request_id = _client_request_id(request)
        target = request.raw_path
        exchange.route, route_error = gemini.parse(target)  # pure; what it finds wrong is told further down
        self._check_http(request, exchange.route.action)
        if self.draining:
            raise GatewayError(DRAINING)
        label = self.branches.label(self._host(request))
        exchange.principal = await self.identity.authenticate(request.headers, gemini.query_of(target))
        exchange.branch_id = await self.branches.authorize(exchange.principal, label)
        if route_error and route_error.refusal.http == 404:
            raise route_error
        if request.method != "POST":
            raise GatewayError(METHOD, {"method": request.method})
        if route_error and not exchange.route.model:
            raise route_error
        model = self.catalog.resolve(exchange.route.model)
        exchange.model = model.id
        chosen = self.pool.choose(model)
        if route_error:
            raise route_error
        announced = request.content_length
        if announced is not None and announced > self.relay.rules.max_body_bytes:
            raise GatewayError(BODY_TOO_LARGE, {"contentLength": str(announced)})
        return chosen

    def _check_http(self, request: web.BaseRequest, action: str) -> None:
        """What the HTTP parser lets through, but the contract, or passing it on safely, does not."""
        assert isinstance(request.protocol, ClientConnection)
        line = len(request.method) + len(request.raw_path) + len("  HTTP/1.1\r\n")
        head = line + sum(map(len, chain.from_iterable(request.raw_headers)))
        head += len(": \r\n") * len(request.raw_headers) + len("\r\n")
        if line > HEAD_BYTES:
            raise GatewayError(HTTP_LINE_TOO_LONG)
        if head > HEAD_BYTES:
            raise GatewayError(HTTP_HEADER_TOO_LONG)
        in_form = request.raw_path.startswith("/") or (
            request.raw_path == "*" and request.method == "OPTIONS"
        )
        codings = request.headers.getall("Transfer-Encoding", ())
        if not codings:
            request.protocol.request_bytes = head + (request.content_length or 0)
        if (
            not in_form
            or request.version not in (_HTTP_1_0, _HTTP_1_1)
            or (codings and (request.version == _HTTP_1_0 or [c.lower() for c in codings] != ["chunked"]))
            or (request.version == _HTTP_1_0 and action == gemini.STREAM_ACTION)
            or request.content_length == _NO_LENGTH
        ):
            raise GatewayError(HTTP_MALFORMED)

    def _host(self, request: web.BaseRequest) -> str:
        """The host that the client asked for; a trusted proxy's word for it counts, where it is one word."""
        assert isinstance(request.protocol, ClientConnection)
        if not self.branches.named_by_host:
            return ""
        forwarded = request.headers.getall("X-Forwarded-Host", ())
        if not forwarded or not request.protocol.from_trusted_proxy:
            return request.headers.get("Host", "")
        if len(forwarded) > 1 or "," in forwarded[0]:
            raise GatewayError(HOST_MALFORMED, {"host": printable(", ".join(forwarded))})
        return forwarded[0]

    def _refuse(self, request: web.BaseRequest, exchange: Exchange, error: GatewayError) -> Answer:
        """Tell the client, as long as it has not been sent the head of an answer."""
        client = request.protocol
        assert isinstance(client, ClientConnection)
        if exchange.status:  # a fault in the middle of an answer: it must not look whole
            exchange.ending = Ending.TRUNCATED
            return Answer(client, keep=False)
        if error.refusal is UPSTREAM_TIMEOUT:
            exchange.ending = Ending.DEADLINE
        malformed = error.refusal.reason == HTTP_MALFORMED.reason
        keep = may_keep(request) and request.content.is_eof() and not malformed and not client.draining
        if client.transport:
            client.transport.write(
                refusal_bytes(exchange, error, keep=keep, with_body=request.method != "HEAD")
            )
        return Answer(client, keep=keep)


def _client_request_id(request: web.BaseRequest) -> str:
    given = request.headers.get("x-request-id", "")
    # Whoever puts a token there does not want to find it in a log.
    return given if _REQUEST_ID.fullmatch(given) and printable(given) == given else ""


def _without_values(error: Exception) -> Exception:
    """The error's type and traceback without its text, which may quote the client."""
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)
