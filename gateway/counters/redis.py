"""Counts for many machines, on a Redis server: one script for a decision, by the server's own clock.

Requests under way are held by leases, which their gateway renews: of one that died they end by themselves.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from itertools import count
from typing import Any

from gateway.counters.pipeline import Command, Pipeline
from gateway.errors import CountersUnavailable
from gateway.quota.admission import Admission, Standing, settled_on
from gateway.quota.estimate import Estimate
from gateway.quota.rules import REQUESTS, TOKENS, Rule

LEASE = 30
"""Seconds for which a request counts as under way when nobody renews it."""
RENEWAL = 10.0
_TOGETHER = 1_000
"""Leases that are renewed in one command."""
SERVER_CLOCK = "redis.call('TIME')[1]"
_PREFIX = "gateway:"
_NOTHING = Admission()


class RedisCounters:
    """See `Counters`; every verdict has to be waited for, at most a quarter of a second.

    url: see `Pipeline`. clock: what gives the script the time, in Lua, as whole seconds since the epoch.
    """

    def __init__(self, url: str, clock: str = SERVER_CLOCK) -> None:
        script = files("gateway.counters").joinpath("window.lua").read_text(encoding="utf-8")
        self._pipeline = Pipeline(url, script.replace("SERVER_CLOCK", clock))
        self._ids = (os.urandom(8) + number.to_bytes(8, "big") for number in count())
        self._leases: dict[bytes, list[str]] = {}
        """By reservation, the keys where it counts as under way."""
        self._renewal: asyncio.Task[None] | None = None
        self.unsettled = 0
        """Requests that could not be settled: what they used beyond what was reserved is not counted."""

    @property
    def available(self) -> bool:
        """Whether the server answered when it was last asked."""
        return self._pipeline.available

    async def admit(self, rules: tuple[Rule, ...], estimate: Estimate) -> Admission:
        """See `Counters`."""
        if not rules:
            return _NOTHING
        amounts = (estimate.tokens, estimate.cost_nanos, 1)
        reservation = next(self._ids)
        arguments: list[str | int | bytes] = ["admit", reservation, LEASE]
        for rule in rules:
            arguments += _span(rule)
            arguments += (rule.limit, amounts[rule.measure])
        verdict: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()

        def done(answer: Any, error: Exception | None) -> None:
            if error:
                if not verdict.done():
                    verdict.set_exception(error)
                return
            admission = _admission(rules, estimate, reservation, answer)
            if admission.rules:
                self._hold(admission)
            if not verdict.done():
                verdict.set_result(admission)
            else:  # who asked has gone
                self.settle(admission, 0, 0, final=True)

        self._pipeline.submit(Command(_keys(rules), arguments, done))
        return await verdict

    def settle(
        self, admission: Admission, tokens: int | None, cost_nanos: int | None, *, final: bool
    ) -> None:
        """See `Counters`."""
        rules = admission.rules
        if not rules:
            return
        self._leases.pop(admission.reservation, None)
        reserved = (admission.tokens, admission.cost_nanos, 1)
        used = (
            settled_on(admission.tokens, tokens, final=final),
            settled_on(admission.cost_nanos, cost_nanos, final=final),
            1,
        )
        arguments: list[str | int | bytes] = ["settle", admission.reservation, admission.since]
        for rule in rules:
            arguments += _span(rule)
            arguments += (rule.limit, reserved[rule.measure], used[rule.measure])

        def done(answer: Any, error: Exception | None) -> None:
            self.unsettled += error is not None

        try:
            self._pipeline.submit(Command(_keys(rules), arguments, done))
        except CountersUnavailable as error:
            done(None, error)

    async def levels(self, rules: Sequence[Rule]) -> list[int]:
        """See `Counters`."""
        found: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

        def done(answer: Any, error: Exception | None) -> None:
            if found.done():
                return
            if error:
                found.set_exception(error)
            else:
                found.set_result(answer)

        arguments: list[str | int | bytes] = ["levels"]
        for rule in rules:
            arguments += _span(rule)
        self._pipeline.submit(Command(_keys(rules), arguments, done))
        return await found

    async def close(self) -> None:
        """See `Counters`."""
        if self._renewal:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
        await self._pipeline.close()

    def _hold(self, admission: Admission) -> None:
        """Remember to renew its lease, where it has one."""
        keys = _keys([rule for rule in admission.rules if rule.span is None])
        if keys:
            self._leases[admission.reservation] = keys
            if self._renewal is None:
                self._renewal = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL)
            by_key = defaultdict(list)
            for reservation, keys in self._leases.items():
                for key in keys:
                    by_key[key].append(reservation)
            with suppress(CountersUnavailable):
                for key, held in by_key.items():
                    for first in range(0, len(held), _TOGETHER):
                        some = held[first : first + _TOGETHER]
                        self._pipeline.submit(Command([key], ["renew", LEASE, *some], _ignored))


def _ignored(answer: Any, error: Exception | None) -> None:
    """A lease that is not renewed now is renewed the next time."""


def _span(rule: Rule) -> tuple[int, int]:
    return (rule.span.unit, rule.span.buckets) if rule.span else (0, 0)


def _keys(rules: Sequence[Rule]) -> list[str]:
    return [_PREFIX + rule.name for rule in rules]


def _admission(
    rules: tuple[Rule, ...], estimate: Estimate, reservation: bytes, answer: Sequence[int]
) -> Admission:
    now, refused_by, wait = answer[:3]
    tokens = _tightest(TOKENS, rules, answer)
    requests = _tightest(REQUESTS, rules, answer)
    if refused_by:
        return Admission(
            token_standing=tokens,
            request_standing=requests,
            blocked_by=rules[refused_by - 1],
            retry_after=None if wait < 0 else wait,
        )
    return Admission(
        rules,
        estimate.tokens,
        estimate.cost_nanos,
        now,
        tokens,
        requests,
        reservation=reservation,
    )


def _tightest(measure: int, rules: tuple[Rule, ...], answer: Sequence[int]) -> Standing | None:
    standings = [
        Standing(rule.limit, max(rule.limit - answer[2 * number + 3], 0), answer[2 * number + 4])
        for number, rule in enumerate(rules)
        if rule.measure == measure and rule.span
    ]
    return min(standings, key=lambda standing: standing.remaining, default=None)
