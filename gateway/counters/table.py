"""Windows in a file that all processes of a machine map into their memory, and that outlives them.

The file is a head and segments. Each segment holds windows of one sort: first the keys of all of them, then
their cells. When there is no room for more, those that are empty, or nearly so, are given to other keys.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
import sys
from array import array
from collections.abc import Collection, Iterator
from mmap import mmap
from pathlib import Path
from typing import NamedTuple

from gateway.counters.mutex import RobustMutex
from gateway.counters.slots import SLOTS, Slots
from gateway.quota.rules import DAY, MINUTE, Rule, Span
from gateway.quota.windows import BUCKETS, DEBT, LAST, LIMIT, TOTAL, cells_of

_log = logging.getLogger(__name__)

_MAGIC = int.from_bytes(b"quotas 1", "big")
"""To be changed with anything of what follows, in `quota.windows` and in `SLOTS`."""
_HEAD_BYTES = 64 * 1024
_SEGMENT_BYTES = 256 * 1024
_MUTEX_AT = 2048
_IS, _SEGMENTS, REUSED, EVICTED, WALL, SKEW, _HANDS = range(7)
"""Cells of the head: see `Table.head`. At the hands, one for each sort, is the window to be reused next."""
_SORT, _USED = range(2)
"""Cells of a segment before its keys: which sort, and how many of its windows ever had a key."""
_KEYS_AT = 16
_KEY_BYTES = 16
_LOOKED_AT = 64
"""Windows that are looked at to find the emptiest."""


class Sort(NamedTuple):
    """One sort of windows."""

    span: Span | None
    """None: requests under way, one cell for each process's slot."""
    cells: int
    """Of one window."""
    segments: int
    """The most there may be."""

    @property
    def windows(self) -> int:
        """How many a segment holds."""
        return (_SEGMENT_BYTES - _KEYS_AT) // (_KEY_BYTES + 8 * self.cells)


SORTS = (
    Sort(MINUTE, cells_of(MINUTE), 64),
    Sort(DAY, cells_of(DAY), 192),
    Sort(None, BUCKETS + SLOTS, 32),
)
"""At most 31,000 windows of a minute, 4,200 of a day, 2,000 of what is under way: 72 MiB in all."""
_NUMBERS = {sort.span: number for number, sort in enumerate(SORTS)}


class Place(NamedTuple):
    """Where a window stands."""

    segment: int
    number: int


class Table:
    """The file, as this process sees it. Raises OSError where the file can't be made, read or written.

    Whoever reads or changes what is in it holds the mutex. `head` has WALL and SKEW, for a clock; REUSED,
    which changes when a window goes to another key; EVICTED, which counts those of them that were in use.
    """

    def __init__(self, path: Path) -> None:
        self._segments: list[_Segment] = []
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # against others who open it, not those who use it
            self.slots = Slots(self._descriptor)
            self.was_alone = not self.slots.any_held()
            """Nobody else had it open, so nothing is under way."""
            if self.was_alone and not self._is_sound():
                os.ftruncate(self._descriptor, 0)
                os.posix_fallocate(self._descriptor, 0, _HEAD_BYTES)
            head = mmap(self._descriptor, _HEAD_BYTES)
            self.head = memoryview(head).cast("q")
            self.mutex = RobustMutex(head, _MUTEX_AT)
            if self.was_alone:
                self._prepare()
            elif self.head[_IS] != _MAGIC:
                raise OSError(errno.EBUSY, "another version of the gateway counts in this file")
            self.slot = self.slots.claim()
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        except BaseException:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """Give up the slot. The mappings go with the last reference to a window."""
        self.slots.release(self.slot)
        os.close(self._descriptor)

    def find(self, rule: Rule) -> tuple[Place, memoryview[int]] | None:
        """The cells of the rule's window, as they were left."""
        for segment_number, segment in self._of_sort(_NUMBERS[rule.span]):
            number = segment.find(rule.key)
            if number is not None:
                return Place(segment_number, number), segment.window(number)
        return None

    def take(self, rule: Rule, now: int, keep: Collection[Place]) -> tuple[Place, memoryview[int]]:
        """Cells for a window that `find` did not: all 0, but for the limit. None of those at `keep`.

        Where there is no room for another window, the emptiest of some is forgotten, so that its limit admits
        for once the little that stood in it.
        """
        sort = _NUMBERS[rule.span]
        place = self._unused(sort) or self._grown(sort) or self._reused(sort, now, keep)
        segment = self._segments[place.segment]
        window = segment.window(place.number)
        window[:] = segment.zeros
        window[LIMIT] = rule.limit
        segment.set_key(place.number, rule.key)
        return place, window

    def windows(self) -> Iterator[tuple[Span | None, memoryview[int]]]:
        """All there are."""
        for sort, kind in enumerate(SORTS):
            for _, segment in self._of_sort(sort):
                for number in range(segment.cells[_USED]):
                    yield kind.span, segment.window(number)

    def _of_sort(self, sort: int) -> list[tuple[int, _Segment]]:
        """The segments, those that other processes appended included."""
        for number in range(len(self._segments), self.head[_SEGMENTS]):
            self._segments.append(
                _Segment(mmap(self._descriptor, _SEGMENT_BYTES, offset=_segment_at(number)))
            )
        return [(number, segment) for number, segment in enumerate(self._segments) if segment.sort == sort]

    def _unused(self, sort: int) -> Place | None:
        """One that never had a key."""
        for number, segment in self._of_sort(sort):
            used = segment.cells[_USED]
            if used < segment.size:
                segment.cells[_USED] = used + 1
                return Place(number, used)
        return None

    def _grown(self, sort: int) -> Place | None:
        """One of a new segment; none where the disk has no room for it."""
        if len(self._of_sort(sort)) >= SORTS[sort].segments:
            return None
        try:
            self._append(sort)
        except OSError as error:
            _log.warning("no room for more counters: %s", error.strerror)
            return None
        return self._unused(sort)

    def _reused(self, sort: int, now: int, keep: Collection[Place]) -> Place:
        """The emptiest of the next windows."""
        segments = self._of_sort(sort)
        size = SORTS[sort].windows
        hand = self.head[_HANDS + sort]
        emptiest, least = Place(0, 0), 2.0
        for number in range(hand, hand + _LOOKED_AT):
            segment_number, segment = segments[number // size % len(segments)]
            place = Place(segment_number, number % size)
            if place in keep:
                continue
            filled = _filled(segment.window(place.number), SORTS[sort].span, now)
            if filled < least:
                emptiest, least = place, filled
                hand = number
            if not filled:
                break
        self.head[_HANDS + sort] = (hand + 1) % (len(segments) * size)
        self.head[REUSED] += 1
        self.head[EVICTED] += least > 0
        return emptiest

    # The file

    def _is_sound(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        if not size:
            return False
        head = os.pread(self._descriptor, 16, 0)
        if len(head) == 16:
            magic, segments = struct.unpack("@qq", head)
            if magic == _MAGIC and 0 <= segments <= (size - _HEAD_BYTES) // _SEGMENT_BYTES:
                sorts = (os.pread(self._descriptor, 8, _segment_at(number)) for number in range(segments))
                if all(int.from_bytes(sort, sys.byteorder) < len(SORTS) for sort in sorts):
                    return True
        _log.warning("the file of the counters can't be used; beginning anew")
        return False

    def _prepare(self) -> None:
        """Have a mutex, and a segment of each sort, so that there always is a window to be had."""
        self.mutex.initialize()
        self.head[_IS] = _MAGIC
        for sort in range(len(SORTS)):
            if not self._of_sort(sort):
                self._append(sort)

    def _append(self, sort: int) -> None:
        """Add a segment. It is allocated first: a mapped file on a full disk is a fatal signal."""
        number = self.head[_SEGMENTS]
        os.posix_fallocate(self._descriptor, _segment_at(number), _SEGMENT_BYTES)
        os.pwrite(self._descriptor, struct.pack("@qq", sort, 0), _segment_at(number))
        self.head[_SEGMENTS] = number + 1


class _Segment:
    """Windows of one sort, and their keys."""

    def __init__(self, memory: mmap) -> None:
        self._memory = memory
        self.cells = memoryview(memory).cast("q")
        self.sort = self.cells[_SORT]
        self.size = SORTS[self.sort].windows
        self.zeros = memoryview(array("q", bytes(8 * SORTS[self.sort].cells)))

    def window(self, number: int) -> memoryview[int]:
        length = len(self.zeros)
        first = (_KEYS_AT + _KEY_BYTES * self.size) // 8 + number * length
        return self.cells[first : first + length]

    def find(self, key: bytes) -> int | None:
        end = _KEYS_AT + _KEY_BYTES * self.cells[_USED]
        at = self._memory.find(key, _KEYS_AT, end)
        while at > 0 and at % _KEY_BYTES:  # the end of one key and the beginning of the next
            at = self._memory.find(key, at + 1, end)
        return (at - _KEYS_AT) // _KEY_BYTES if at > 0 else None

    def set_key(self, number: int, key: bytes) -> None:
        at = _KEYS_AT + _KEY_BYTES * number
        self._memory[at : at + _KEY_BYTES] = key


def _segment_at(number: int) -> int:
    return _HEAD_BYTES + _SEGMENT_BYTES * number


def _filled(window: memoryview[int], span: Span | None, now: int) -> float:
    """From 0 for empty to 1 for full, or above."""
    past = span is not None and not window[DEBT] and now // span.unit - window[LAST] >= span.buckets
    return 0.0 if past else min((window[TOTAL] + window[DEBT]) / max(window[LIMIT], 1), 1.0)
