"""The upstream's process: one server over plain TCP and one over TLS, which do what each request's plan says.

`python -m soak.upstream CERTIFICATE KEY` prints a line with its ports; for each line on standard input it
prints a report, and with standard input it ends. Both are JSON.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import Self
from weakref import WeakSet

import msgspec

from soak.answers import script
from soak.plan import HEADER, Fault, Plan
from soak.samples import samples
from tests.support.raw_upstream import RawUpstream
from tests.support.script import Script, Step, pause, read_body, resume_reading, stop_reading
from tests.support.tls import CertificateFiles
from tests.support.upstream_connection import UpstreamConnection
from tests.support.upstream_request import UpstreamRequest


class Report(msgspec.Struct):
    """What both servers have seen until now."""

    open_connections: int = 0
    requests: int = 0
    """That have come for the first time."""
    again: int = 0
    """That have come once more, after a stale connection."""
    failures: list[str] = []
    """What must not happen: bytes that are not HTTP, a body that is not the client's."""

    def __add__(self, other: Self) -> Report:
        return Report(
            self.open_connections + other.open_connections,
            self.requests + other.requests,
            self.again + other.again,
            self.failures + other.failures,
        )


class _Server:
    """One of the two. What it counts is counted in the thread of its upstream."""

    def __init__(self, upstream: RawUpstream) -> None:
        self.upstream = upstream
        self._used: WeakSet[UpstreamConnection] = WeakSet()
        self._refused: set[str] = set()
        """Plans whose request met a stale connection, and has to come again."""
        self._requests = 0
        self._again = 0
        upstream.answer_always(self._answer, after_body=False)

    def report(self) -> Report:
        return Report(
            self.upstream.open_connections, self._requests, self._again, list(self.upstream.failures)
        )

    def _answer(self, request: UpstreamRequest) -> Script:
        [value] = request.header(HEADER)
        plan = Plan.read(value)
        used = request.connection in self._used
        self._used.add(request.connection)
        if plan.id in self._refused:
            self._refused.remove(plan.id)
            self._again += 1
        else:
            self._requests += 1
        if used and plan.fault in (Fault.STALE, Fault.NO_HEAD_FIN, Fault.NO_HEAD_RST):
            self._refused.add(plan.id)
        answer = script(plan, samples().all[plan.sample], used=used)
        return answer if plan.early else [*_reading(plan), _checking(request, plan), *answer]


def _reading(plan: Plan) -> list[Step]:
    if plan.upload_pause:
        return [stop_reading(), pause(plan.upload_pause), resume_reading(), read_body()]
    return [read_body()]


def _checking(request: UpstreamRequest, plan: Plan) -> Step:
    async def step(connection: UpstreamConnection) -> None:
        body = request.body
        if (len(body), zlib.crc32(body)) != (plan.upload_bytes, plan.upload_crc32):
            connection.upstream.failures.append(
                f"{plan}: came with {len(body)} other bytes, {request.framing} framing"
            )

    return step


def main() -> None:
    """Serves until standard input ends."""
    certificate, key = map(Path, sys.argv[1:])
    tls = CertificateFiles(certificate, key).context()
    samples()
    with RawUpstream(forgetful=True) as plain, RawUpstream(tls=tls, forgetful=True) as secure:
        servers = [_Server(plain), _Server(secure)]
        _say({"plain": plain.port, "tls": secure.port})
        for _ in sys.stdin:
            _say(servers[0].report() + servers[1].report())


def _say(document: object) -> None:
    sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
