"""Whether a request may go on: which limits are for it, what it reserves of them, and what it used at last.

Limits come from the store, and are looked at anew every few seconds; where they are counted is injected.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from gateway.errors import (
    AUTHORIZATION_UNAVAILABLE,
    OVERLOADED,
    CountersUnavailable,
    GatewayError,
    StoreUnavailable,
)
from gateway.exchange import CUT, Exchange
from gateway.limits import Level, Limits, completed
from gateway.quota.admission import Admission, Estimate
from gateway.quota.estimate import Estimator
from gateway.quota.headers import rate_limit_lines
from gateway.quota.refusals import limit_exceeded
from gateway.quota.rules import Rule, rules_for

LOOK_SECONDS = 2.0
"""How often the store is asked whether a limit has changed."""
STEADY_SECONDS = 10.0
"""How long every verdict must have come before the counters are said to be back."""
KNOWN_RULES = 10_000
"""For how many combinations of project, branch, credential and model their rules are remembered."""
_log = logging.getLogger(__name__)


class LimitsTable(Protocol):
    """All limits that are set; see `stores`."""

    @property
    def version(self) -> int: ...
    @property
    def limits(self) -> Mapping[tuple[Level, str], Limits]: ...


class LimitsLookup(Protocol):
    """Where limits are looked up; a store. Both raise StoreUnavailable."""

    async def limits_version(self) -> int:
        """Grows with every change of a limit."""

    async def all_limits(self) -> LimitsTable:
        """All of them as they are now."""


class Counters(Protocol):
    """Where requests are counted; see `counters`."""

    @property
    def available(self) -> bool: ...
    @property
    def unsettled(self) -> int: ...
    def admit(self, rules: tuple[Rule, ...], estimate: Estimate) -> Admission | Awaitable[Admission]: ...
    def settle(
        self, admission: Admission, tokens: int | None, cost_nanos: int | None, *, final: bool
    ) -> None: ...


class Limiter:
    """Admits requests and settles them. `defaults` are for projects that have no limit of their own.

    `counters_away` counts in the place of `counters` while those can't be asked; None: requests are refused.
    `clock` gives seconds that never go back.
    """

    def __init__(
        self,
        counters: Counters,
        store: LimitsLookup,
        *,
        defaults: Limits,
        counters_away: Counters | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._counters = counters
        self._counters_away = counters_away
        self._store = store
        self._defaults = defaults
        self._version = -1
        self._limits: Mapping[tuple[Level, str], Limits] = {}
        self._rules: dict[tuple[str, str, str, str], tuple[Rule, ...]] = {}
        self._estimator = Estimator()
        self.store_away = False
        """Whether the store gave no answer when it was last asked for limits."""
        self._told_away = False
        self._missed_at = -math.inf
        """When a verdict last failed to come."""

    @property
    def unsettled(self) -> int:
        """Requests whose reservation stands, as their end could not be counted."""
        return self._counters.unsettled

    @property
    def counters_away(self) -> bool:
        """Whether the counters can't be asked, or could not lately."""
        return not self._counters.available or self._clock() - self._missed_at < STEADY_SECONDS

    async def look(self) -> None:
        """Take up what has changed of the limits. Raises StoreUnavailable."""
        if await self._store.limits_version() != self._version:
            table = await self._store.all_limits()
            self._version, self._limits = table.version, table.limits
            self._rules.clear()

    async def look_or_wait(self) -> None:
        """The same, if the store answers; otherwise what was known last counts."""
        try:
            await self.look()
        except StoreUnavailable as error:
            if not self.store_away:
                self.store_away = True
                _log.error("the store is away, limits stay as they were: %s", error)
        else:
            if self.store_away:
                self.store_away = False
                _log.warning("the store is back")

    async def keep_looking(self) -> None:
        """Look every few seconds."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look_or_wait()

    def admit(self, exchange: Exchange, announced: int | None) -> Awaitable[None] | None:
        """Reserve what the request will probably use; `announced` is its body's length, where it says so.

        What is returned must be waited for, if anything is. Raises GatewayError (or that does): a limit of
        the contract's, OVERLOADED where nothing can be counted, AUTHORIZATION_UNAVAILABLE where no limit was
        ever looked up.
        """
        rules = self._rules_for(exchange)
        estimate = self._estimator.estimate(exchange.model, announced)
        verdict = self._counters.admit(rules, estimate)
        if isinstance(verdict, Admission):
            self._take(exchange, self._counters, verdict)
            return None
        return self._wait(exchange, verdict, rules, estimate)

    def settle(self, exchange: Exchange) -> None:
        """The request has ended: `usage` and `cost_nanos` are what is known of it."""
        reservation = exchange.reservation
        if not isinstance(reservation, _Reservation):
            return
        exchange.reservation = None
        usage, cost_nanos = exchange.usage, exchange.cost_nanos
        tokens: int | None = None
        final = exchange.ending not in CUT
        if usage is not None:
            input_tokens, output_tokens = usage.input, usage.output
            tokens = input_tokens + output_tokens
            if final:
                self._estimator.learn(
                    exchange.model, exchange.request_bytes, input_tokens, output_tokens, cost_nanos
                )
        elif not exchange.upstream and not exchange.failed_attempts:  # nobody was asked
            tokens, cost_nanos, final = 0, 0, True
        reservation.counters.settle(reservation.admission, tokens, cost_nanos, final=final)

    async def _wait(
        self,
        exchange: Exchange,
        verdict: Awaitable[Admission],
        rules: tuple[Rule, ...],
        estimate: Estimate,
    ) -> None:
        counters = self._counters
        try:
            admission = await verdict
        except CountersUnavailable as error:
            self._missed_at = self._clock()
            if not self._told_away:
                self._told_away = True
                _log.error("counters are away: %s", error)
            if self._counters_away is None:
                raise GatewayError(OVERLOADED) from None
            counters = self._counters_away
            meanwhile = counters.admit(rules, estimate)
            admission = meanwhile if isinstance(meanwhile, Admission) else await meanwhile
        else:
            if self._told_away and not self.counters_away:
                self._told_away = False
                _log.warning("counters are back")
        self._take(exchange, counters, admission)

    def _take(self, exchange: Exchange, counters: Counters, admission: Admission) -> None:
        exchange.rate_limit_lines = rate_limit_lines(admission)
        if admission.blocked_by is not None:
            raise limit_exceeded(admission, exchange.model)
        exchange.reservation = _Reservation(counters, admission)

    def _rules_for(self, exchange: Exchange) -> tuple[Rule, ...]:
        principal = exchange.principal
        assert principal is not None
        known = (principal.project_id, exchange.branch_id, principal.credential_id, exchange.model)
        rules = self._rules.get(known)
        if rules is None:
            if self._version < 0:  # who is asking was found, but not yet what limits there are
                raise GatewayError(AUTHORIZATION_UNAVAILABLE)
            if len(self._rules) >= KNOWN_RULES:
                self._rules.clear()
            project_id, branch_id, credential_id, model = known
            rules = self._rules[known] = rules_for(
                {
                    Level.PROJECT: self._of_project(project_id),
                    Level.BRANCH: self._limits.get((Level.BRANCH, branch_id), _NONE),
                    Level.CREDENTIAL: self._limits.get((Level.CREDENTIAL, credential_id), _NONE),
                },
                project_id=project_id,
                branch_id=branch_id,
                credential_id=credential_id,
                model=model,
            )
        return rules

    def _of_project(self, project_id: str) -> Limits:
        """Its own, and the configuration's where it has none."""
        own = self._limits.get((Level.PROJECT, project_id), _NONE)
        return completed(own, self._defaults)


_NONE = Limits()


class _Reservation:
    """What was reserved, and where it is to be settled."""

    __slots__ = ("admission", "counters")

    def __init__(self, counters: Counters, admission: Admission) -> None:
        self.counters = counters
        self.admission = admission
