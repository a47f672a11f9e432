"""What goes wrong in the chaos: workers are killed, PostgreSQL and Redis are away for a time."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from fleet.machines import Machine
from tests.support.connection_owner import outgoing, owners

SPARED_SECONDS = 12.0
"""For how long the successor of a killed worker is spared. One that dies sooner is taken for broken: it is
given time, and the connections that wait for it are cut, which is no fault (see `gateway/supervisor.py`)."""


_LOOKS = 3
"""The kernel's table of connections is read in pieces: what stands still may lack as others come and go."""


@dataclass(frozen=True)
class Kill:
    """One worker killed. Times are by the machine's monotonic clock, in seconds."""

    machine: int
    process: int
    at: float
    """Just before it was stopped; killed it was a moment later."""
    clients: frozenset[int]
    """The ports of the clients whose connections it had."""
    upstream: frozenset[int]
    """Its own ports of its connections to the upstream."""


@dataclass(frozen=True)
class Outage:
    """When servers are to be away, from and until which share of the run."""

    begin: float
    end: float
    servers: tuple[str, ...]


OUTAGES = (
    Outage(0.10, 0.14, ("redis",)),
    Outage(0.25, 0.32, ("postgres",)),
    Outage(0.45, 0.49, ("redis",)),
    Outage(0.60, 0.67, ("postgres",)),
    Outage(0.80, 0.86, ("postgres", "redis")),
)


class Server(Protocol):
    """One that can be away for a time."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


def kill(number: int, machine: Machine, process: int, upstream_port: int) -> Kill | None:
    """`kill -9` of that worker of a machine; None where it has ended already.

    It is stopped first, so that whose connections it has is known exactly.
    """
    at = monotonic()
    clients: set[int] = set()
    upstream: set[int] = set()
    try:
        os.kill(process, signal.SIGSTOP)
        for _ in range(_LOOKS):
            clients.update(
                port for port, owner in owners(machine.port, [process]).items() if owner == process
            )
            upstream.update(outgoing(upstream_port, process))
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return Kill(number, process, at, frozenset(clients), frozenset(upstream))


async def kill_on(
    machines: Sequence[Machine], upstream_port: int, chance: random.Random, every: float
) -> list[Kill]:
    """Kill a worker every so many seconds, more or less, until cancelled; then return."""
    kills: list[Kill] = []
    spared_until: dict[tuple[int, int], float] = {}
    try:
        while True:
            await asyncio.sleep(chance.uniform(0.5, 1.5) * every)
            now = monotonic()
            workers = [
                (number, place, process)
                for number, machine in enumerate(machines)
                for place, process in machine.workers().items()
                if spared_until.get((number, place), 0.0) < now
            ]
            if not workers:
                continue
            number, place, process = chance.choice(workers)
            spared_until[number, place] = now + SPARED_SECONDS
            if done := kill(number, machines[number], process, upstream_port):
                kills.append(done)
    except asyncio.CancelledError:
        return kills


async def outages_on(servers: dict[str, Server], seconds: float, outages: Sequence[Outage] = OUTAGES) -> None:
    """Have every outage of a run of that length, and end with every server running."""
    begin = monotonic()
    for outage in outages:
        await asyncio.sleep(max(begin + outage.begin * seconds - monotonic(), 0.0))
        away = [servers[name] for name in outage.servers]
        try:
            for server in away:
                await asyncio.to_thread(server.stop)
            await asyncio.sleep(max(begin + outage.end * seconds - monotonic(), 0.0))
        finally:
            for server in away:
                await asyncio.to_thread(server.start)
