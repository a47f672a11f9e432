"""What tells that a file has changed, without reading it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

Stamp = tuple[int, int, int] | None
"""Time of the last change in nanoseconds, size in bytes, inode. None: it can't be found."""


def stamps(paths: Iterable[Path]) -> Mapping[Path, Stamp]:
    """The stamp of each of these files now; of what a link leads to, where one is a link."""
    return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
