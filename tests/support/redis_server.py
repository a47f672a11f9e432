"""A real Redis server for tests, on a loopback port of its own, with nothing on disk."""

from __future__ import annotations

import signal
import socket
import subprocess
import time

from redis import Redis

from tests.support.machine import program
from tests.support.tls import CertificateFiles

START_SECONDS = 20.0
_ATTEMPTS = 5
"""Another process may get the free port first."""


class RedisServer:
    """Runs from its making until `stop`; may be stopped and started again at the same port.

    `options` are of its command line, such as `("--requirepass", "…")`. `tls`: it speaks nothing else.
    """

    def __init__(self, *options: str, tls: CertificateFiles | None = None) -> None:
        self._program = program("redis-server")
        self._options = options
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        for _ in range(_ATTEMPTS):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
            self.start()
            if self._process:
                return
        raise AssertionError("redis-server does not start")

    @property
    def url(self) -> str:
        """Where it is, without a password."""
        return f"{'rediss' if self._tls else 'redis'}://127.0.0.1:{self.port}"

    def client(self) -> Redis:
        """A client for the test's own questions."""
        return Redis(host="127.0.0.1", port=self.port)

    def start(self) -> None:
        """Return when it answers, if only that a password is wanted, or TLS."""
        port = ["--port", str(self.port)]
        if self._tls:
            port = ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            port += ["--tls-cert-file", str(self._tls.certificate), "--tls-key-file", str(self._tls.key)]
        self._process = subprocess.Popen(
            [self._program, "--bind", "127.0.0.1", *port, "--save", "", *self._options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    if self._tls:  # it listens; who asks for more has to trust it
                        return
                    connection.sendall(b"PING\r\n")
                    if connection.recv(100):
                        return
            except OSError:
                time.sleep(0.01)
        self.stop()

    def stop(self) -> None:
        """End it; what it held is lost."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self, *, frozen: bool) -> None:
        """Have it answer nothing, while its connections stay open; or go on."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)
