"""One worker process as its parent sees it, from before its start until after its end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress

from gateway import control
from gateway.config import Config
from gateway.totals import Member, Totals

_log = logging.getLogger(__name__)


class Worker:
    """Starts at once, without waiting for it; its reports go to `totals`.

    `command` gets the number of the place and those of the files added: the channel to here, which has the
    `config`, and copies of the `sockets` to accept from.
    """

    def __init__(
        self,
        place: int,
        command: Sequence[str],
        config: Config,
        sockets: Sequence[socket.socket],
        totals: Totals,
    ) -> None:
        self.place = place
        self.ready = asyncio.Event()
        self.leaving = asyncio.Event()
        """It drains, though it was not told to."""
        self.ended = asyncio.Event()
        self.fate = ""
        """How it ended, once it did."""
        self._began = asyncio.get_running_loop().time()
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._to_say = control.packed(config)
        """Until there is a channel to say it on."""
        self._channel, theirs = socket.socketpair()
        # Copies, which stay open until the process has them, whatever becomes of the originals.
        given = [theirs, *(sock.dup() for sock in sockets)]
        self._life = asyncio.create_task(self._live(command, given, totals))

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return asyncio.get_running_loop().time() - self._began

    @property
    def serves(self) -> bool:
        """Whether it takes connections."""
        return self.ready.is_set() and not self.leaving.is_set() and not self.ended.is_set()

    def tell(self, command: bytes) -> None:
        """Send it one of the commands of `control`, which waits until it can read."""
        if self._writer is None:
            self._to_say += command
        elif not self._writer.is_closing():  # it has ended
            self._writer.write(command)

    def kill(self) -> None:
        """End it at once; one that has not begun ends as soon as it has."""
        self.tell(control.CUT)
        if self._process:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _live(self, command: Sequence[str], given: Sequence[socket.socket], totals: Totals) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=self._channel)
        self._writer.write(self._to_say)
        self._to_say = b""
        files = [sock.fileno() for sock in given]
        try:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    str(self.place),
                    *map(str, files),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=files,
                    process_group=0,  # so that Ctrl-C reaches the parent alone
                )
            finally:
                for sock in given:
                    sock.close()
            member = Member(self.place, self._process.pid)
            _log.info("worker %d is process %d", member.place, member.process)
            while report := await control.receive(reader):
                totals.report(member, report)
                self.ready.set()
                if report.leaving:
                    self.leaving.set()
            self.fate = _fate(await self._process.wait())
            totals.ended(member)
        except OSError as error:
            self.fate = f"could not be started: {error.strerror or error}"
        finally:
            self._writer.close()
            self.ended.set()


def _fate(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
