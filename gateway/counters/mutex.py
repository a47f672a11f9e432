"""A lock in shared memory that no process takes with it when it is killed.

POSIX calls it a robust mutex. A pair of calls takes 0.3 µs where nobody contends, and 1.1 µs with `flock`, of
which every request would need two pairs.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import partial
from mmap import mmap

BYTES = 64
"""More than a mutex takes on any system."""
HOLDER_DIED = errno.EOWNERDEAD

# The interpreter's lock is kept meanwhile: what the mutex guards takes microseconds, and giving the
# interpreter's away would cost more.
_libc = ctypes.PyDLL(None)


class RobustMutex:
    """At `offset` of a shared mapping, for threads of different processes: not for two of one."""

    def __init__(self, memory: mmap, offset: int) -> None:
        self._memory = (ctypes.c_char * BYTES).from_buffer(memory, offset)
        here = ctypes.c_void_p(ctypes.addressof(self._memory))
        self.acquire: Callable[[], int] = partial(_libc.pthread_mutex_lock, here)
        """Wait for it; 0, or HOLDER_DIED where what it guards may be half changed: then call `mended`."""
        self.release: Callable[[], int] = partial(_libc.pthread_mutex_unlock, here)
        self._consistent: Callable[[], int] = partial(_libc.pthread_mutex_consistent, here)
        self._initialize: Callable[..., int] = partial(_libc.pthread_mutex_init, here)

    def initialize(self) -> None:
        """Make it a mutex that nobody holds; nobody may be using it."""
        shared, robust = 1, 1
        attributes = ctypes.create_string_buffer(BYTES)
        for code in (
            _libc.pthread_mutexattr_init(attributes),
            _libc.pthread_mutexattr_setpshared(attributes, shared),
            _libc.pthread_mutexattr_setrobust(attributes, robust),
            self._initialize(attributes),
            _libc.pthread_mutexattr_destroy(attributes),
        ):
            _check(code)

    def mended(self) -> None:
        """What it guards is consistent again."""
        _check(self._consistent())


def _check(code: int) -> None:
    if code:
        raise OSError(code, os.strerror(code))
