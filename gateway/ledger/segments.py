"""The spool's files: each is written by one process, and locked until that is done with it, or dead.

So a file that can be locked is finished. Lines are JSON; one that was cut off at the end was never finished.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".jsonl"
_PIECE_BYTES = 64 * 1024


class Segment:
    """A file under way; `close` finishes it, and so does the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self.size = 0
        self._descriptor = descriptor

    @classmethod
    def create(cls, folder: Path) -> Segment:
        """A new file, which sorts behind those that were made before. Raises OSError."""
        while True:
            path = folder / f"{time.time_ns():020d}-{secrets.token_hex(4)}{SUFFIX}"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink:
                    return cls(descriptor)
            except BlockingIOError:
                pass
            # The shipper was there between the two steps, and took an empty file for a finished one.
            os.close(descriptor)

    def write(self, data: bytes | memoryview) -> int:
        """How many bytes were written, perhaps not all. Raises OSError."""
        written = os.write(self._descriptor, data)
        self.size += written
        return written

    def close(self) -> None:
        """Finish the file."""
        os.close(self._descriptor)


def listed(folder: Path) -> list[tuple[Path, int]]:
    """All files and their sizes, the oldest first, finished or not. Raises OSError."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX):
                try:
                    found.append((Path(entry.path), entry.stat().st_size))
                except FileNotFoundError:  # the shipper was faster
                    continue
    return sorted(found)


@contextmanager
def claimed(path: Path) -> Iterator[int | None]:
    """The descriptor of a finished file, which nobody else gets meanwhile; None if it is none, or gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor if os.fstat(descriptor).st_nlink else None
    except BlockingIOError:
        yield None
    finally:
        os.close(descriptor)


def read_lines(descriptor: int) -> bytes:
    """All whole lines. Raises OSError."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        content = file.read()
    return content[: content.rfind(b"\n") + 1]


def count_lines(path: Path, begin: int, end: int) -> int:
    """How many lines end there, between two places of a file that may have grown since. Raises OSError."""
    lines = 0
    with path.open("rb", buffering=0) as file:
        file.seek(begin)
        while begin < end and (piece := file.read(min(_PIECE_BYTES, end - begin))):
            lines += piece.count(b"\n")
            begin += len(piece)
    return lines
