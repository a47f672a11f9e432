"""Counts for many machines, on a Redis server: one script for a decision, by the server's own clock.

Requests under way are held by leases, which their gateway renews: of one that died they end by themselves.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from itertools import count
from typing import Any

from gateway.counters.pipeline import DEADLINE, Command, Pipeline, encoded
from gateway.errors import CountersUnavailable
from gateway.quota.admission import Admission, Estimate, Standing, settled_on
from gateway.quota.rules import REQUESTS, TOKENS, Rule

LEASE = 30
"""Seconds for which a request counts as under way when nobody renews it."""
RENEWAL = 10.0
"""Seconds between two renewals of the leases of what is under way here."""
_TOGETHER = 1_000
"""Leases that are renewed in one command."""
SERVER_CLOCK = "redis.call('TIME')[1]"
_PREFIX = b"gateway:"
_NOTHING = Admission()


class RedisCounters:
    """See `Counters`; a verdict has to be waited for, where there are rules at all.

    url: see `Pipeline`. clock: what gives the script the time, in Lua, as whole seconds since the epoch.
    renewal: seconds between two renewals of leases. deadline: seconds that a verdict may take.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: str = SERVER_CLOCK,
        renewal: float = RENEWAL,
        deadline: float = DEADLINE,
    ) -> None:
        script = files("gateway.counters").joinpath("window.lua").read_text(encoding="utf-8")
        self._pipeline = Pipeline(url, script.replace("SERVER_CLOCK", clock), deadline)
        self._ids = (os.urandom(8) + number.to_bytes(8, "big") for number in count())
        self._leases: dict[bytes, list[Rule]] = {}
        """By reservation, the rules by which it counts as under way."""
        self._renewal_seconds = renewal
        self._renewal: asyncio.Task[None] | None = None
        self.unsettled = 0
        """Requests that could not be settled: what they used beyond what was reserved is not counted."""

    @property
    def available(self) -> bool:
        """Whether the server answered when it was last asked."""
        return self._pipeline.available

    def admit(self, rules: tuple[Rule, ...], estimate: Estimate) -> Admission | Awaitable[Admission]:
        """See `Counters`."""
        return self._ask(rules, estimate) if rules else _NOTHING

    async def _ask(self, rules: tuple[Rule, ...], estimate: Estimate) -> Admission:
        amounts = (estimate.tokens, estimate.cost_nanos, 1)
        reservation = next(self._ids)
        numbers: list[int] = [LEASE]
        for rule in rules:
            numbers += (*_span(rule), rule.limit, amounts[rule.measure])
        verdict: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()

        def done(answer: Any, error: CountersUnavailable | None) -> None:
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

        self._submit(b"admit", rules, numbers, done, [reservation])
        try:
            return await verdict
        except asyncio.CancelledError:
            if not verdict.cancelled() and not verdict.exception():  # given up in the moment of the answer
                self.settle(verdict.result(), 0, 0, final=True)
            raise

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
        numbers: list[int] = [admission.since]
        for rule in rules:
            numbers += (*_span(rule), rule.limit, reserved[rule.measure], used[rule.measure])

        def done(answer: Any, error: CountersUnavailable | None) -> None:
            self.unsettled += error is not None

        try:
            self._submit(b"settle", rules, numbers, done, [admission.reservation], waited_for=False)
        except CountersUnavailable as error:
            done(None, error)

    async def levels(self, rules: Sequence[Rule]) -> list[int]:
        """See `Counters`."""
        found: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

        def done(answer: Any, error: CountersUnavailable | None) -> None:
            if found.done():
                return
            if error:
                found.set_exception(error)
            else:
                found.set_result(answer)

        numbers = [number for rule in rules for number in _span(rule)]
        self._submit(b"levels", rules, numbers, done)
        return await found

    async def close(self) -> None:
        """See `Counters`."""
        if self._renewal:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
        await self._pipeline.close()

    def _submit(
        self,
        act: bytes,
        rules: Sequence[Rule],
        numbers: Sequence[int],
        done: Callable[[Any, CountersUnavailable | None], None],
        reservations: Sequence[bytes] = (),
        *,
        waited_for: bool = True,
    ) -> None:
        """Run the script, whose head says what it takes."""
        keys = [_PREFIX + rule.name.encode() for rule in rules]
        packed = struct.pack(f"<{len(numbers)}d", *numbers)
        arguments = [b"%d" % len(keys), *keys, act, packed, *reservations]
        self._pipeline.submit(Command(encoded(arguments), len(arguments), done, waited_for))

    def _hold(self, admission: Admission) -> None:
        """Remember to renew its leases, where it has any."""
        leased = [rule for rule in admission.rules if rule.span is None]
        if leased:
            self._leases[admission.reservation] = leased
            if self._renewal is None:
                self._renewal = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._renewal_seconds)
            held: defaultdict[Rule, list[bytes]] = defaultdict(list)
            for reservation, rules in self._leases.items():
                for rule in rules:
                    held[rule].append(reservation)
            with suppress(CountersUnavailable):
                for rule, reservations in held.items():
                    for first in range(0, len(reservations), _TOGETHER):
                        some = reservations[first : first + _TOGETHER]
                        self._submit(b"renew", [rule], [LEASE], _ignored, some, waited_for=False)


def _ignored(answer: Any, error: CountersUnavailable | None) -> None:
    """A lease that is not renewed now is renewed the next time."""


def _span(rule: Rule) -> tuple[int, int]:
    return (rule.span.unit, rule.span.buckets) if rule.span else (0, 0)


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
