"""How much counts towards each limit of a project just now."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.limits import Level, Limits, completed
from gateway.quota.rules import Kind, Rule, rules_for
from gateway.stores.rows import Branch, Credential, Store

SUBJECTS = 200
"""Of how many branches and credentials with limits the fullness is asked."""


class Levels(Protocol):
    """What is asked of the `Counters`."""

    def levels(self, rules: Sequence[Rule]) -> list[int] | Awaitable[list[int]]:
        """How much counts towards each rule now. Raises (or the awaitable does) CountersUnavailable."""


@dataclass(frozen=True, slots=True)
class Fill:
    """One limit, and what counts towards it."""

    kind: Kind
    level: Level
    id: str
    """Of the project, the branch or the credential."""
    model: str
    """Of `tokens_per_minute`, which counts each model by itself: empty where none has used any."""
    limit: int
    """In the kind's unit; at least 1."""
    used: int


@dataclass(frozen=True, slots=True)
class Fullness:
    """All limits of a project."""

    fills: Sequence[Fill]
    """The fullest first."""
    not_asked: int
    """Branches and credentials with limits that are beyond `SUBJECTS`."""


@dataclass(frozen=True, slots=True)
class LimitLevels:
    """Where limits are found, and what counts towards them."""

    store: Store
    counters: Levels
    defaults: Limits
    """The configuration's: of every project that has none of its own."""
    models: Collection[str]
    """The catalog's short ids."""

    async def of(
        self,
        project_id: str,
        branches: Sequence[Branch],
        credentials: Sequence[Credential],
        models: Collection[str],
    ) -> Fullness:
        """Of a project, with these of its branches and credentials, and of models beside the catalog's.

        Raises StoreError and CountersUnavailable.
        """
        table = (await self.store.all_limits()).limits
        own = table.get((Level.PROJECT, project_id), Limits())
        subjects = [(Level.PROJECT, project_id, completed(own, self.defaults))]
        below = [(Level.BRANCH, one.id) for one in branches] + [
            (Level.CREDENTIAL, one.id) for one in credentials
        ]
        subjects += [
            (level, subject, table[level, subject]) for level, subject in below if (level, subject) in table
        ]
        fills: list[Fill] = []
        for level, subject, limits in subjects[: SUBJECTS + 1]:
            fills += await self._fills(project_id, level, subject, limits, sorted({*self.models, *models}))
        fills.sort(key=lambda fill: fill.used / fill.limit, reverse=True)
        return Fullness(fills, max(len(subjects) - SUBJECTS - 1, 0))

    async def _fills(
        self, project_id: str, level: Level, subject: str, limits: Limits, models: Sequence[str]
    ) -> list[Fill]:
        ids = {"project_id": project_id, "branch_id": subject, "credential_id": subject}
        # Nobody's model is "": this rule stands for all models of which nothing counts.
        rules = {
            rule.name: (rule, model if rule.kind is Kind.TOKENS_PER_MINUTE else "")
            for model in ("", *models)
            for rule in rules_for({level: limits}, **ids, model=model)
        }
        if not rules:
            return []
        levels = self.counters.levels([rule for rule, _ in rules.values()])
        if inspect.isawaitable(levels):
            levels = await levels
        else:
            await asyncio.sleep(0)  # requests that came meanwhile go first
        fills = [
            Fill(rule.kind, level, subject, model, rule.limit, used)
            for (rule, model), used in zip(rules.values(), levels, strict=True)
        ]
        counted = [fill for fill in fills if fill.used or not fill.model]
        if any(fill.model for fill in counted):
            return [fill for fill in counted if fill.model or fill.kind is not Kind.TOKENS_PER_MINUTE]
        return counted
