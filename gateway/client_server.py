"""The public listener's protocol factory, which knows every connection that it has made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.client_connection import ClientConnection, Limits
from gateway.exchange import Exchange
from gateway.outgoing import Outgoing


class ClientServer:
    """Makes and knows the connections of clients. `handle` and `on_malformed`: see `client_connection`."""

    def __init__(
        self,
        handle: Callable[[ClientConnection], None],
        *,
        outgoing: Outgoing,
        limits: Limits,
        on_malformed: Callable[[Exchange], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.outgoing = outgoing
        self.limits = limits
        self.handle = handle
        self.on_malformed = on_malformed
        self.draining = False
        self.connections: set[ClientConnection] = set()
        self.none_open = asyncio.Event()
        """Set when there are none: every client has all that was written for it."""
        self.none_open.set()

    def __call__(self) -> ClientConnection:
        return ClientConnection(self)

    def joined(self, connection: ClientConnection) -> None:
        """A connection is open."""
        self.connections.add(connection)
        self.none_open.clear()

    def lost(self, connection: ClientConnection) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        if not self.connections:
            self.none_open.set()

    def drain(self) -> None:
        """Keep no connection beyond its present exchange; those that have none are closed."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.close_if_idle()

    def abort(self) -> None:
        """Make an end of every connection."""
        for connection in tuple(self.connections):
            connection.abort()
