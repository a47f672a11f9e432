"""What the store said lately, so that a request seldom waits for it and a short outage goes unnoticed.

An answer is fresh for 4 s. After that the store is asked again, once however many requests want to know;
only while it gives no answer may the old one serve, up to 60 s after it was given. That nothing was found
is remembered too, in a space of its own, so that made-up tokens can't push out the good ones.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from gateway.errors import StoreUnavailable

FRESH = 4.0
"""Seconds that an answer counts without asking again."""
STALE = 60.0
"""Seconds that it may serve while the store is away."""
AWAY = 1.0
"""Seconds after a failed look-up in which an old answer serves without waiting for the next attempt."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Answer(Generic[V]):
    """What the store said, None for nothing found, and when it was asked (the cache's clock, seconds)."""

    __slots__ = ("asked", "value")

    def __init__(self, value: V | None, asked: float) -> None:
        self.value = value
        self.asked = asked


class LookupCache(Generic[K, V]):
    """Answers by key. Bounded in entries, in look-ups at a time and in look-ups waiting.

    `clock` is in seconds and never goes back. `size` counts found and not-found answers apart;
    `concurrent` look-ups run at once and `waiting` may be unfinished, beyond which an unknown key is told
    StoreUnavailable. `patience` is how long, in seconds, one caller waits.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        size: int = 10_000,
        concurrent: int = 8,
        waiting: int = 512,
        patience: float = 2.0,
    ) -> None:
        self._clock = clock
        self._size = size
        self._waiting = waiting
        self._patience = patience
        self._slots = asyncio.Semaphore(concurrent)
        # Each in the order of asking: an answer in use is asked again within seconds, so the first is the
        # one least in use.
        self._found: OrderedDict[K, Answer[V]] = OrderedDict()
        self._not_found: OrderedDict[K, Answer[V]] = OrderedDict()
        self._flights: dict[K, asyncio.Task[Answer[V] | None]] = {}
        self._away_until = -math.inf

    def fresh(self, key: K) -> Answer[V] | None:
        """The answer known by now, if it is fresh. Does not wait: the way of nearly every request."""
        answer = self._found.get(key) or self._not_found.get(key)
        return answer if answer is not None and self._clock() - answer.asked < FRESH else None

    async def get(self, key: K, fetch: Callable[[], Awaitable[V | None]]) -> V | None:
        """The answer for `key`, through `fetch` where none is fresh. Raises StoreUnavailable.

        `fetch` runs at most once at a time for a key, and goes on when its caller is cancelled: others may
        wait for the same answer.
        """
        answer = self.fresh(key)
        if answer is not None:
            return answer.value
        known = self._found.get(key) or self._not_found.get(key)
        flight = self._flights.get(key)
        # A key known to be good is asked again however many wait: strangers must not crowd it out.
        if flight is None and (key in self._found or len(self._flights) < self._waiting):
            flight = self._flights[key] = asyncio.create_task(self._look_up(key, fetch))
        if self._clock() < self._away_until and known is not None and self._may_serve(known):
            return known.value
        if flight is None:
            raise StoreUnavailable("too many look-ups wait for the store")
        # Unlike wait_for and shield, wait() leaves the task alone, whatever becomes of the one who waits.
        done, _ = await asyncio.wait((flight,), timeout=self._patience)
        if not done:
            self._note_failure()
        elif not flight.cancelled() and (answer := flight.result()) is not None:
            return answer.value
        if known is not None and self._may_serve(known):
            return known.value
        raise StoreUnavailable("the store gave no answer")

    async def close(self) -> None:
        """End the look-ups under way; whoever waits for one is told that the store is away."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _may_serve(self, answer: Answer[V]) -> bool:
        return self._clock() - answer.asked < STALE

    def _note_failure(self) -> None:
        self._away_until = self._clock() + AWAY

    async def _look_up(self, key: K, fetch: Callable[[], Awaitable[V | None]]) -> Answer[V] | None:
        # No deadline here: a look-up given up would still occupy the store, and its slot says so.
        try:
            async with self._slots:
                asked = self._clock()
                value = await fetch()
        except StoreUnavailable:
            self._note_failure()
            return None
        finally:
            del self._flights[key]
        self._away_until = -math.inf
        answer = Answer(value, asked)
        entries, others = (self._not_found, self._found) if value is None else (self._found, self._not_found)
        others.pop(key, None)
        entries[key] = answer
        entries.move_to_end(key)
        if len(entries) > self._size:
            entries.popitem(last=False)
        return answer
