"""Standard error of a gateway that serves: written by a thread, so that a stalled reader holds up nothing."""

from __future__ import annotations

import logging
import os
import queue
import threading
from contextlib import suppress

HELD_LINES = 10_000
"""How many lines wait for a reader; those that come after are lost."""
FINISH_SECONDS = 1.0
"""How long a reader is waited for at the end."""
_STANDARD_ERROR = 2


class Diagnostics(logging.Handler):
    """Writes log records, and what is said to the operator, in the order in which they come.

    Where several processes write to one standard error, `process` tells whose record it is.
    """

    def __init__(self, process: str = "") -> None:
        super().__init__()
        whose = f" ({process})" if process else ""
        self.setFormatter(logging.Formatter(f"%(levelname)s %(name)s{whose}: %(message)s"))
        self._lines: queue.Queue[str | None] = queue.Queue(HELD_LINES)
        # A daemon: any other thread that is stuck in write(2) would keep the process from ending.
        self._worker = threading.Thread(target=self._work, name="diagnostics", daemon=True)
        self._worker.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging for each record."""
        self.say(self.format(record))

    def say(self, line: str) -> None:
        """Take one line. Never waits."""
        with suppress(queue.Full):
            self._lines.put_nowait(line)

    def finish(self) -> None:
        """Write out what is held; nothing is written afterwards."""
        with suppress(queue.Full):
            self._lines.put_nowait(None)
        self._worker.join(FINISH_SECONDS)

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            data = line.encode("utf-8", "replace") + b"\n"
            # Not through sys.stderr: its lock would be held for as long as the reader stalls, at exit too.
            with suppress(OSError):
                while data:
                    data = data[os.write(_STANDARD_ERROR, data) :]


def keep_standard_streams() -> None:
    """Open /dev/null for each standard stream that is closed.

    The next file or connection would get its number, and with it what is written to that stream.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(descriptor)
