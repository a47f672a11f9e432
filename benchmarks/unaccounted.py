"""The gateway with its accounting taken out, so that what that costs can be seen: `serve` and its options.

No limit is counted, no response is read for its usage, nothing is priced or kept in the ledger; the metrics
and the access log stay. There is no such option in the gateway itself.
"""

from __future__ import annotations

import sys

from gateway import downstream
from gateway.accounting import Accounting
from gateway.cli import main
from gateway.exchange import Exchange
from gateway.limiter import Limiter
from gateway.token_usage import NO_DETAILS


class _NoReader:
    """In the place of a usage reader."""

    usage = None
    details = NO_DETAILS
    model_version = ""
    error_seen = False
    fault = None
    finished = True

    def __init__(self, *_: object) -> None: ...
    def feed(self, data: bytes) -> None: ...
    def end(self) -> None: ...


def _admit(self: Limiter, exchange: Exchange, announced: int | None) -> None: ...


def _finish(self: Accounting, exchange: Exchange) -> None:
    exchange.reading = None  # it refers to what refers to the exchange
    self._observer.finish(exchange)


if __name__ == "__main__":
    Limiter.admit = _admit  # type: ignore[method-assign]
    Accounting.finish = _finish  # type: ignore[method-assign]
    downstream.UsageReader = _NoReader  # type: ignore[attr-defined, assignment]
    sys.exit(main())
