"""Cooldowns in a file that all processes of a machine map into their memory, and that outlives them.

The file is a head and slots of one size, each with a checksum: what a killed process left half written counts
for nothing. It is written when a cooldown begins or ends, which is seldom, under a lock that the kernel takes
from whoever dies; whether there is anything to read is one comparison.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import mmap
from pathlib import Path
from typing import NamedTuple

from gateway.upstreams.faults import Cause

SLOTS = 1000
"""Beyond so many cooldowns at a time the one that ends first is forgotten: each process still has its own."""
FORGOTTEN_SECONDS = 3600.0
"""For how long after its end a cooldown is kept that ends with a trial, where nobody has made one."""
PLACE_BYTES = 16
_MAGIC = int.from_bytes(b"cooling1", "big")
"""To be changed with anything of what follows, and with what a place is made of."""
_HEAD_BYTES = 4096
_SLOT_BYTES = 1024
_FILE_BYTES = _HEAD_BYTES + SLOTS * _SLOT_BYTES
_IS, GENERATION, USED = range(3)
"""Cells of the head. See `Cooldowns.head`; of the slots, so many were ever used."""
_RECORD = struct.Struct(f"<I{PLACE_BYTES}sdd?BHHH")
"""Checksum of what follows, place, since, until, on trial, cause, spells, lengths of the two texts."""
_QUOTA_ID_BYTES = 200
_MESSAGE_BYTES = _SLOT_BYTES - _RECORD.size - _QUOTA_ID_BYTES
_MOST_SPELLS = 0xFFFF
_CAUSES = list(Cause)


class Cooldown(NamedTuple):
    """One target's, or one key's. Times are seconds since the epoch."""

    cause: Cause
    since: float
    until: float
    on_trial: bool
    """A process finds out whether it is over; until then it is that one's."""
    spells: int
    """Rests for failures in a row, without a success between them."""
    quota_id: str
    message: str

    def is_over(self, now: float) -> bool:
        """Whether it says nothing any more."""
        return self.until + (0.0 if self.cause is Cause.QUOTA else FORGOTTEN_SECONDS) <= now


class Cooldowns:
    """The file, as this process sees it. Raises OSError where it can't be made, read or written.

    `head[GENERATION]` changes with everything that `read` would give. A place is PLACE_BYTES that tell one
    target or key from all others.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with self._locked():
                # Allocated first: a mapped file on a full disk is a fatal signal. Never cut: so is that, for
                # others who have mapped it.
                os.posix_fallocate(self._descriptor, 0, _FILE_BYTES)
                self._memory = mmap(self._descriptor, _FILE_BYTES)
                self.head = memoryview(self._memory)[:_HEAD_BYTES].cast("q")
                if self.head[_IS] != _MAGIC or not 0 <= self.head[USED] <= SLOTS:
                    self._memory[:] = bytes(_FILE_BYTES)
                    self.head[_IS] = _MAGIC
        except BaseException:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """Write no more. The mapping goes with the last reference to it."""
        os.close(self._descriptor)

    def read(self, now: float) -> dict[bytes, Cooldown]:
        """Those that say anything, by place. `now`: seconds since the epoch."""
        with self._locked():
            slots = list(self._slots())
        return {place: known for _, place, known in slots if known and not known.is_over(now)}

    def write(self, place: bytes, cooldown: Cooldown) -> None:
        """There is one, or it is another than before. Long texts are cut."""
        with self._locked():
            self._set(self._slot_for(place, cooldown.since), _packed(place, cooldown))

    def erase(self, place: bytes) -> None:
        """There is none any more."""
        with self._locked():
            for slot, found, _ in self._slots():
                if found == place:
                    self._set(slot, bytes(_RECORD.size))

    def _slot_for(self, place: bytes, now: float) -> int:
        free, soonest, soonest_end = None, 0, float("inf")
        for slot, found, known in self._slots():
            if found == place:
                return slot
            if known is None or known.is_over(now):
                free = slot
            elif known.until < soonest_end:
                soonest, soonest_end = slot, known.until
        if free is not None:
            return free
        used = self.head[USED]
        if used == SLOTS:
            return soonest
        self.head[USED] = used + 1
        return used

    def _set(self, slot: int, record: bytes) -> None:
        at = _HEAD_BYTES + slot * _SLOT_BYTES
        self._memory[at : at + len(record)] = record
        self.head[GENERATION] += 1

    def _slots(self) -> Iterator[tuple[int, bytes, Cooldown | None]]:
        """Each that was ever used, with the place it is for and what it says; None: nothing."""
        for slot in range(self.head[USED]):
            at = _HEAD_BYTES + slot * _SLOT_BYTES
            yield slot, *_unpacked(self._memory[at : at + _SLOT_BYTES])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else reads or writes meanwhile."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def _packed(place: bytes, cooldown: Cooldown) -> bytes:
    quota_id, message = _cut(cooldown.quota_id, _QUOTA_ID_BYTES), _cut(cooldown.message, _MESSAGE_BYTES)
    record = _RECORD.pack(
        0,
        place,
        cooldown.since,
        cooldown.until,
        cooldown.on_trial,
        _CAUSES.index(cooldown.cause),
        min(cooldown.spells, _MOST_SPELLS),
        len(quota_id),
        len(message),
    )
    content = record[4:] + quota_id + message
    return struct.pack("<I", zlib.crc32(content)) + content


def _unpacked(slot: bytes) -> tuple[bytes, Cooldown | None]:
    checksum, place, since, until, on_trial, number, spells, *lengths = _RECORD.unpack_from(slot)
    texts_at, message_at = _RECORD.size, _RECORD.size + lengths[0]
    end = message_at + lengths[1]
    # What was never written, or erased, is all zeros, whose checksum is not.
    if end > _SLOT_BYTES or zlib.crc32(slot[4:end]) != checksum or number >= len(_CAUSES):
        return place, None
    quota_id, message = slot[texts_at:message_at].decode(), slot[message_at:end].decode()
    return place, Cooldown(_CAUSES[number], since, until, on_trial, spells, quota_id, message)


def _cut(text: str, length: int) -> bytes:
    return text.encode("utf-8", "replace")[:length].decode("utf-8", "ignore").encode()
