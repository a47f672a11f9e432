"""Who of several processes is who: each holds a slot, and loses it when it ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import struct

SLOTS = 512
"""The most processes at a time: twice as many workers as there may be, for each may have a successor."""
_FIRST = 1 << 40
"""Locks are on bytes far behind the file's end, which need not exist."""
_LOCK = struct.Struct("@hhqqi")  # struct flock: type, whence, start, length, process (0)


class Slots:
    """Locks on bytes of an open file, which the kernel gives back when its last descriptor is closed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def claim(self) -> int:
        """Take the first free slot. Raises OSError where there is none."""
        for slot in range(SLOTS):
            try:
                self._set(fcntl.F_WRLCK, slot)
            except BlockingIOError:
                continue
            return slot
        raise BlockingIOError(0, "too many processes use this file")

    def release(self, slot: int) -> None:
        """Give up one's own."""
        self._set(fcntl.F_UNLCK, slot)

    def is_held(self, slot: int) -> bool:
        """Whether another open file holds it."""
        return self._held(slot, 1)

    def any_held(self) -> bool:
        """Whether another open file holds any."""
        return self._held(0, SLOTS)

    def _set(self, kind: int, slot: int) -> None:
        fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _LOCK.pack(kind, os.SEEK_SET, _FIRST + slot, 1, 0))

    def _held(self, slot: int, length: int) -> bool:
        asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _FIRST + slot, length, 0)
        answer = fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, asked)
        return bool(_LOCK.unpack(answer)[0] != fcntl.F_UNLCK)
