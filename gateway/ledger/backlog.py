"""How much waits in the spool, as somebody asks for it: nothing is counted until then, and no file twice."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gateway.ledger.segments import count_lines, listed


class Waiting(NamedTuple):
    """What was there at one time, in files that are finished and in those under way."""

    size: int
    """In bytes."""
    records: int


class Backlog:
    """Counts lines of the spool's files. Blocks; for any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, Waiting] = {}
        """Of each file what was counted, which stays: files only grow."""

    def look(self) -> Waiting:
        """What waits now; nothing where the folder is not there. Raises OSError."""
        try:
            found = listed(self._folder)
        except FileNotFoundError:
            return Waiting(0, 0)
        known: dict[Path, Waiting] = {}
        for path, size in found:
            before = self._known.get(path, Waiting(0, 0))
            try:
                added = count_lines(path, before.size, size) if size > before.size else 0
            except FileNotFoundError:  # it has been moved to the store
                continue
            known[path] = Waiting(size, before.records + added)
        self._known = known
        return Waiting(
            sum(file.size for file in known.values()), sum(file.records for file in known.values())
        )
