"""Tells the operator's log whose usage or price is unknown: once for all requests alike, not for each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from gateway.errors import printable
from gateway.exchange import Exchange

REPEAT_SECONDS = 3600.0
"""How long nothing more is said of what was told; then it is told again, and how often it came meanwhile."""
MOST = 1000
"""Different things that are told at all: a pattern in `catalog.allow` lets clients choose names of models."""
_log = logging.getLogger(__name__)


class UsageAlarms:
    """Looks at requests that asked an upstream. `clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[tuple[str, str, str], tuple[float, int]] = {}
        """When each thing was told last, and how often it has come since."""

    def look(self, exchange: Exchange) -> None:
        """Tell what is unknown of it: a successful answer without usage, and what has no price."""
        if exchange.usage is None and 200 <= exchange.status < 300:
            self._tell(exchange, "usage", "its answer reported no usage: what it cost is unknown")
        for what in exchange.unpriced:
            self._tell(exchange, what, f"no price is known for its {what}: what it cost lacks that")

    def _tell(self, exchange: Exchange, what: str, meaning: str) -> None:
        key = (exchange.upstream, exchange.model, what)
        now = self._clock()
        last, since = self._told.get(key, (-REPEAT_SECONDS, 0))
        if now - last < REPEAT_SECONDS:
            self._told[key] = last, since + 1
        elif key in self._told or len(self._told) < MOST:
            self._told[key] = now, 0
            _log.error(
                "upstream %s, model %s (%s), request %s: %s%s",
                exchange.upstream,
                exchange.model,
                printable(exchange.model_version) or "no version",
                exchange.id,
                meaning,
                f"; {since} more like it since this was last said" if since else "",
            )
