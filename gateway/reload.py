"""A changed configuration is read again while the gateway serves; a bad one changes nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path

from gateway.config import Config, Upstream
from gateway.config.changes import other_changes, upstream_changes, watched
from gateway.errors import ConfigurationError, described
from gateway.file_stamp import stamps
from gateway.notify import notify

LOOK_SECONDS = 2.0
"""How often it is looked whether a file has changed. It is read when it then stays as it is for as long."""
_log = logging.getLogger(__name__)

TakeUp = Callable[[Sequence[Upstream]], Awaitable[None]]
"""Has requests go to these upstreams from now on. Raises OSError where it can't: then nothing has changed."""


class Reloader:
    """Reads the configuration again when it is asked to, or a file has changed that upstreams are made from.

    Only `[[upstreams]]` is taken up; what else differs from the start is told. One reading at a time.
    """

    def __init__(
        self,
        config: Config,
        read: Callable[[], Config],
        take_up: TakeUp,
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """`config` is what runs; `read` is called in a thread, and raises ConfigurationError."""
        self._started = self._config = config
        self._read = read
        self._take_up = take_up
        self._look_seconds = look_seconds
        self._asked = asyncio.Event()
        self._taken = self._seen = stamps(_files(config))

    def ask(self) -> None:
        """Have it read again soon."""
        self._asked.set()

    async def run(self) -> None:
        """Read it whenever there is cause to, until cancelled."""
        while True:
            await self._cause()
            notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                await self._reload()
            except ConfigurationError as error:
                _log.error("the configuration stays as it was: %s", error)
            except (
                Exception
            ) as error:  # the gateway goes on without another reading, but should have the next
                _log.error("the configuration stays as it was: internal error: %s", described(error))
            notify("READY=1")

    async def _cause(self) -> None:
        """Wait until it is asked for, or a file has changed and stayed so."""
        pause = self._look_seconds if self._taken else None
        while not self._asked.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._asked.wait()
            before, self._seen = self._seen, await asyncio.to_thread(stamps, self._taken)
            if self._taken != self._seen == before:
                return
        self._asked.clear()

    async def _reload(self) -> None:
        old = self._config
        # Before they are read: a change in between will be seen.
        now = await asyncio.to_thread(stamps, self._taken)
        changed = {file for file in now if now[file] != self._taken[file]}
        self._taken = self._seen = now
        new = await asyncio.to_thread(self._read)
        await self._take_up(new.upstreams)
        self._config = new
        files = _files(new)
        self._taken = self._seen = dict(stamps(files)) | {file: now[file] for file in files & now.keys()}
        self._tell(old, new, changed)

    def _tell(self, old: Config, new: Config, files: Collection[Path]) -> None:
        changes = upstream_changes(old.settings, new.settings, files)
        _log.info("the configuration was read again: upstreams %s", changes or "are as before")
        if others := other_changes(self._started.settings, new.settings):
            _log.warning("what changed here needs a restart: %s", ", ".join(others))
        today = date.today()
        known = old.notices(today)
        for notice in new.notices(today):
            if notice not in known:
                _log.warning("%s", notice)


def _files(config: Config) -> set[Path]:
    return {file for upstream in config.upstreams for file in watched(upstream)}
