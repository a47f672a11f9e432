"""The upstreams of this process: opened, changed and closed as a configuration, and the next one, says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from gateway import config
from gateway.errors import ConfigurationError
from gateway.file_stamp import Stamp, stamps
from gateway.upstreams import Upstream
from gateway.upstreams.opening import adjust, fixed, open_upstream

GRACE_SECONDS = 10.0
"""For how long one that was removed may still be asked: by requests for which it had been chosen before."""
LOOK_SECONDS = 1.0
"""How often it is looked whether the last of them has ended."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Member:
    upstream: Upstream
    settings: config.Upstream
    """As far as they can't change while it is open."""
    files: Mapping[Path, Stamp]


class Roster:
    """Who is open, and who leaves: closed when the last request that goes there has ended."""

    def __init__(self, connect_timeout: float, *, grace_seconds: float = GRACE_SECONDS) -> None:
        """connect_timeout: in seconds, for a new connection to any of them."""
        self._connect_timeout = connect_timeout
        self._grace_seconds = grace_seconds
        self._members: dict[str, _Member] = {}
        """By name."""
        self._leaving: dict[asyncio.Task[None], Upstream] = {}

    async def take_up(self, settings: Sequence[config.Upstream]) -> list[Upstream]:
        """Have just these open, in this order.

        One that goes on at the same place stays the same object, with its connections; its keys and what
        decides who goes there may be others. Raises ConfigurationError, which names all that can't be opened:
        then nothing changes.
        """
        async with AsyncExitStack() as undo:
            members = await self._members_for(settings, undo)
            undo.pop_all()
        # From here on nothing is awaited: no request sees one half.
        for each in settings:
            adjust(members[each.name].upstream, each)
        for name, old in self._members.items():
            if members.get(name) is not old:
                self._let_go(old.upstream)
        self._members = members
        return [member.upstream for member in members.values()]

    async def _members_for(
        self, settings: Sequence[config.Upstream], undo: AsyncExitStack
    ) -> dict[str, _Member]:
        # At once, as some of them wait for their first token. Not a TaskGroup: Python 3.11's forgets that it
        # was cancelled when one of its tasks fails just then.
        opening = (self._member(each, undo) for each in settings)
        outcomes = await asyncio.gather(*opening, return_exceptions=True)
        members: dict[str, _Member] = {}
        faults = []
        for each, outcome in zip(settings, outcomes, strict=True):
            if isinstance(outcome, ConfigurationError):
                faults.append(str(outcome))
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                members[each.name] = outcome
        if faults:
            raise ConfigurationError("; ".join(faults))
        return members

    async def _member(self, settings: config.Upstream, undo: AsyncExitStack) -> _Member:
        """The one that goes on there, or a new one."""
        files = stamps(settings.files)
        member = self._members.get(settings.name)
        if member is None or (member.settings, member.files) != (fixed(settings), files):
            upstream = await open_upstream(settings, self._connect_timeout)
            undo.push_async_callback(upstream.close)
            member = _Member(upstream, fixed(settings), files)
        return member

    def _let_go(self, upstream: Upstream) -> None:
        upstream.connector.retire()
        task = asyncio.create_task(self._close_unused(upstream))
        self._leaving[task] = upstream
        task.add_done_callback(self._leaving.pop)

    async def _close_unused(self, upstream: Upstream) -> None:
        pause = self._grace_seconds
        while pause:
            await asyncio.sleep(pause)
            pause = min(LOOK_SECONDS, self._grace_seconds) if upstream.connector.in_use else 0.0
        await upstream.close()
        _log.info("upstream %s, which was removed, is closed", upstream.name)

    async def close(self) -> None:
        """Close all of them, whatever they are doing."""
        leaving = dict(self._leaving)
        for task in leaving:
            task.cancel()
        for upstream in (*leaving.values(), *(member.upstream for member in self._members.values())):
            await upstream.close()
        self._members = {}
