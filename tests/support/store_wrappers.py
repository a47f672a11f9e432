"""A real store behind something that breaks, or that watches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.errors import StoreUnavailable
from gateway.stores import Store
from gateway.usage_record import UsageRecord


class WatchedStore:
    """Passes usage on to a store, and remembers what it was given.

    `before` and `after` are called around each addition; what they raise comes out of it.
    """

    def __init__(self, store: Store) -> None:
        self.batches: list[list[UsageRecord]] = []
        """Of the additions that succeeded."""
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self._store = store

    async def add_usage(self, records: Sequence[UsageRecord]) -> int:
        self.before()
        new = await self._store.add_usage(records)
        self.after()
        self.batches.append(list(records))
        return new

    async def drop_usage(self, before: float, most: int) -> int:
        return await self._store.drop_usage(before, most)


def broken() -> None:
    """As a store does that gives no answer."""
    raise StoreUnavailable("no answer")
