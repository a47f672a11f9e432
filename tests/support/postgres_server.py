"""A real PostgreSQL server for tests, on a loopback port of its own, in a temporary folder, without fsync."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import asyncpg

from gateway.config.values import StoreUrl
from gateway.secrets import Secret
from gateway.stores.postgres_schema import SCHEMA
from tests.support.machine import left_out

START_SECONDS = 30.0
PASSWORD = "planted-postgres-password"
_USER = "gateway"
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
}


class PostgresServer:
    """Runs from its making until `remove`; may be stopped and started again at the same port."""

    def __init__(self) -> None:
        self._programs = _programs()
        # The server refuses to run as root.
        self._owner = None if os.geteuid() else pwd.getpwnam("postgres")
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        if self._owner:
            os.chown(self._folder, self._owner.pw_uid, self._owner.pw_gid)
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._data = self._folder / "data"
        made = self._run(
            *("initdb", "--no-sync", "--auth=scram-sha-256", f"--username={_USER}", f"--pwfile={password}"),
            *("--encoding=UTF8", "--locale=C", f"--pgdata={self._data}"),
        )
        assert made.wait(START_SECONDS) == 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def password(self) -> Secret:
        """The user's, as the configuration would give it."""
        return Secret(PASSWORD, "env:POSTGRES_PASSWORD")

    def url(self, database: str = "postgres") -> StoreUrl:
        """Where a database is."""
        return StoreUrl.parse(f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}")

    async def empty_database(self) -> StoreUrl:
        """A database without our schema, and where it is: always the same one, for a new one takes long."""
        connection = await self.connect()
        await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        await connection.close()
        return self.url()

    async def new_database(self, name: str, options: str = "") -> StoreUrl:
        """One more database, and where it is. `options` are of CREATE DATABASE."""
        connection = await self.connect()
        await connection.execute(f"CREATE DATABASE {name} {options}")
        await connection.close()
        return self.url(name)

    async def connect(self, url: StoreUrl | None = None) -> asyncpg.Connection:
        """A connection for the test's own questions."""
        return await asyncpg.connect(url or self.url(), password=PASSWORD)

    def start(self) -> None:
        """Return when it answers."""
        settings = (f"-c{name}={value}" for name, value in _SETTINGS.items())
        self._process = self._run("postgres", f"-D{self._data}", f"-p{self.port}", *settings)
        deadline = time.monotonic() + START_SECONDS
        while self._run("pg_isready", "--host=127.0.0.1", f"--port={self.port}").wait(START_SECONDS):
            assert self._process.poll() is None, "postgres does not start"
            assert time.monotonic() < deadline, "postgres does not answer"
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, as a crash would."""
        if self._process:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(START_SECONDS)
            self._process = None

    def freeze(self, *, frozen: bool) -> None:
        """Have it answer nothing, while its connections stay open; or go on."""
        assert self._process
        number = signal.SIGSTOP if frozen else signal.SIGCONT
        server = self._process.pid
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        for process in (server, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def remove(self) -> None:
        """End it, and delete what it kept."""
        self.stop()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._programs / program, *arguments],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._owner and self._owner.pw_uid,
            group=self._owner and self._owner.pw_gid,
            extra_groups=[] if self._owner else None,
        )


def _programs() -> Path:
    """The folder of the server's programs, which Debian keeps out of the way; or the test is left out."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not versions:
        left_out("postgresql is not installed (scripts/test, as root, installs it)")
    return versions[-1].parent
