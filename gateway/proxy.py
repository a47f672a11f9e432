"""The life of one request, from its head to its line in the log: the one place that knows the order.

Nothing is done here that another room could do; read this file first. A request is handled within the event
that brought its head, unless the store has to be asked first who the client is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import TypeVar

from gateway.accounting import Accounting
from gateway.asking import Asking, who_asks
from gateway.branches import Branches
from gateway.catalog import Catalog, Model
from gateway.client_connection import ClientConnection
from gateway.dialects import gemini
from gateway.errors import (
    BODY_TOO_LARGE,
    DRAINING,
    HTTP_MALFORMED,
    INTERNAL,
    METHOD,
    MODEL_NOT_ON_ENDPOINT,
    OVERLOADED,
    UPSTREAM_FAILED,
    UPSTREAM_TIMEOUT,
    GatewayError,
    described,
)
from gateway.exchange import Ending, Exchange, Principal
from gateway.identity import Identity
from gateway.limiter import Limiter
from gateway.refusal import refusal_bytes
from gateway.relay import Relay
from gateway.request_checks import check_http, client_request_id, host_asked_for
from gateway.upstreams.pool import Pool
from gateway.upstreams.target import Target

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Proxy:
    """Handles every request of the public listener; what it relays tells it how it ended."""

    def __init__(
        self,
        *,
        identity: Identity,
        branches: Branches,
        catalog: Catalog,
        pool: Pool,
        relay: Relay,
        limiter: Limiter,
        accounting: Accounting,
        max_open: int,
    ) -> None:
        """max_open: how many requests may be under way at once."""
        self.identity = identity
        self.branches = branches
        self.catalog = catalog
        self.pool = pool
        self.relay = relay
        self.limiter = limiter
        self.accounting = accounting
        self.max_open = max_open
        self.draining = False
        """Set when no new request is taken any more."""
        self.open = 0
        """Requests under way."""
        self.none_open = asyncio.Event()
        """Set when there are none."""
        self.none_open.set()

    def handle(self, client: ClientConnection) -> None:
        """Take the request that the client's connection holds: it is answered whatever happens."""
        exchange = Exchange()
        self.accounting.begin()
        self.open += 1
        if self.open == 1:
            self.none_open.clear()
        try:
            self._admit(client, exchange)
        except Exception as error:
            self._failed(client, exchange, error)

    # The checks, in the contract's order; the first that fails answers

    def _admit(self, client: ClientConnection, exchange: Exchange) -> None:
        request = client.request
        target = request.target
        exchange.client_request_id = client_request_id(request)
        exchange.route, route_error = gemini.parse(target)  # pure; what it finds wrong is told further down
        check_http(request, exchange.route.action)
        if self.draining:
            raise GatewayError(DRAINING)
        if self.open > self.max_open or self.accounting.closed:
            raise GatewayError(OVERLOADED)
        label = self.branches.label(host_asked_for(client)) if self.branches.named_by_host else ""
        principal = self.identity.remembered(request.fields, gemini.query_of(target))
        branch_id = self.branches.remembered(principal, label) if principal else None
        if principal and branch_id:
            exchange.principal = principal
            exchange.branch_id = branch_id
            self._send(client, exchange, route_error)
        else:
            self._wait(
                client,
                exchange,
                partial(who_asks, self.identity, self.branches, request, label),
                partial(self._known, client, exchange, route_error),
            )

    def _known(
        self,
        client: ClientConnection,
        exchange: Exchange,
        route_error: GatewayError | None,
        asker: tuple[Principal, str],
    ) -> None:
        exchange.principal, exchange.branch_id = asker
        self._send(client, exchange, route_error)

    def _send(self, client: ClientConnection, exchange: Exchange, route_error: GatewayError | None) -> None:
        """What is asked for may be asked for: pass it on."""
        if route_error and route_error.refusal.http == 404:
            raise route_error
        if client.request.method != "POST":
            raise GatewayError(METHOD, {"method": client.request.method})
        if route_error and not exchange.route.model:
            raise route_error
        model = self.catalog.resolve(exchange.route.model)
        exchange.model = model.id
        self.pool.check(model, _asker(exchange).project_id)
        if route_error:
            raise route_error
        announced = client.request.content_length
        if announced is not None and announced > self.relay.rules.max_body_bytes:
            raise GatewayError(BODY_TOO_LARGE, {"contentLength": str(announced)})
        counting = self.limiter.admit(exchange, announced)
        if counting is None:
            self._start(client, exchange, model)
        else:
            self._wait(client, exchange, lambda: counting, lambda _: self._start(client, exchange, model))

    def _start(self, client: ClientConnection, exchange: Exchange, model: Model) -> None:
        self.relay.start(client, exchange, self._choose(exchange, model), self)

    def _choose(self, exchange: Exchange, model: Model) -> Target:
        asker = _asker(exchange)
        try:
            return self.pool.choose(model, asker.credential_id, asker.project_id)
        except GatewayError as error:
            if not model.fallback or error.refusal is MODEL_NOT_ON_ENDPOINT:
                raise
            fallback = self._fall_back(exchange, model, ())
            if fallback is None:
                raise
            return fallback

    def another(self, exchange: Exchange, tried: Collection[Target]) -> Target | None:
        """See `Owner`."""
        model = self.catalog.resolve(exchange.route.model)
        asker = _asker(exchange)
        target = self.pool.another(model, asker.credential_id, tried, asker.project_id)
        return target or self._fall_back(exchange, model, tried)

    def none_left(self, exchange: Exchange) -> GatewayError:
        """See `Owner`."""
        try:
            self._choose(exchange, self.catalog.resolve(exchange.route.model))
        except GatewayError as error:
            return error
        return GatewayError(UPSTREAM_FAILED)  # there is somebody to ask, who was asked in vain

    def _fall_back(self, exchange: Exchange, model: Model, tried: Collection[Target]) -> Target | None:
        """Where the first of the models is served that the operator names in its place."""
        asker = _asker(exchange)
        for name in model.fallback:
            fallback = self.catalog.resolve(name)
            if target := self.pool.another(fallback, asker.credential_id, tried, asker.project_id):
                return target
        return None

    def _wait(
        self,
        client: ClientConnection,
        exchange: Exchange,
        ask: Callable[[], Awaitable[T]],
        then: Callable[[T], None],
    ) -> None:
        """Go on when that is known, and take no more of the body meanwhile."""
        if not client.request.body_whole:
            client.pause_reading()
        client.passage = Asking(
            ask, then, partial(self._failed, client, exchange), partial(self._left_waiting, client, exchange)
        )

    def _left_waiting(self, client: ClientConnection, exchange: Exchange) -> None:
        exchange.ending = Ending.CLIENT_ABORTED
        self.left(client, exchange)

    # Ends

    def answered(self, client: ClientConnection, exchange: Exchange, *, keep: bool) -> None:
        """See `Owner`."""
        self._record(client, exchange)
        client.finish(keep=keep)

    def refused(self, client: ClientConnection, exchange: Exchange, error: GatewayError) -> None:
        """See `Owner`."""
        if error.refusal is UPSTREAM_TIMEOUT:
            exchange.ending = Ending.DEADLINE
        malformed = error.refusal.reason == HTTP_MALFORMED.reason
        request = client.request
        keep = request.may_keep and request.body_whole and not malformed and not client.draining
        client.write(refusal_bytes(exchange, error, keep=keep, with_body=request.method != "HEAD"))
        self._record(client, exchange)
        client.finish(keep=keep)

    def left(self, client: ClientConnection, exchange: Exchange) -> None:
        """See `Owner`."""
        self._record(client, exchange)

    def _failed(self, client: ClientConnection, exchange: Exchange, error: Exception) -> None:
        if not isinstance(error, GatewayError):
            _log.error("internal error: %s", described(error))
            error = GatewayError(INTERNAL)
        self.refused(client, exchange, error)

    def _record(self, client: ClientConnection, exchange: Exchange) -> None:
        self.accounting.finish(exchange)
        if client.another_waits:
            self.accounting.flush()  # that one may have no room beside this
        self.open -= 1
        if not self.open:
            self.none_open.set()


def _asker(exchange: Exchange) -> Principal:
    """Of a request that has been let in."""
    assert exchange.principal
    return exchange.principal
