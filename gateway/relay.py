"""All requests on their passage through the gateway: started, watched and, where it must be, cut."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from time import monotonic

from aiohttp import web

from gateway.client_connection import Answer
from gateway.errors import CREDENTIAL_INVALID, DRAINING
from gateway.exchange import Exchange
from gateway.transfer import Rules, Transfer
from gateway.upstreams import Target

LOOK_SECONDS = 0.25
"""How often the requests under way are looked at: how late a deadline may be, or that a client is found gone
(while its bytes are held back, nothing tells that it left)."""


class Relay:
    """Relays requests to targets. `live` holds those under way, for the drain."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.live: set[Transfer] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, request: web.BaseRequest, exchange: Exchange, target: Target) -> Answer:
        """Relay one request. Raises GatewayError as long as the client has not been sent a byte."""
        transfer = Transfer(self.rules, request, exchange, target)
        self.live.add(transfer)
        if self._timer is None:
            self._look_later()
        try:
            return await transfer.run()
        finally:
            transfer.close()
            self.live.discard(transfer)

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """One timer for all requests: setting and cancelling one for each costs more than all else of it."""
        self._timer = None
        now = monotonic()
        for transfer in tuple(self.live):
            transfer.look(now)
        if self.live:
            self._look_later()

    def cut_all(self) -> None:
        """End what is still under way, as a drain does when its time is over."""
        for transfer in tuple(self.live):
            transfer.fail(DRAINING)

    def cut(self, credential_ids: Container[str]) -> None:
        """End what is under way for these credentials."""
        for transfer in tuple(self.live):
            if transfer.credential_id in credential_ids:
                transfer.fail(CREDENTIAL_INVALID)
