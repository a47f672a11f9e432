"""One run: clients and an operator at work, samples taken meanwhile, and a judgement at the end."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

from soak import refused, unusual, usual, verdict
from soak.asking import Traffic
from soak.credentials import operator
from soak.ledger import Ledger, read_log
from soak.programs import Gateway, Upstream
from soak.sampling import Sample, Sampler

Action = Callable[[Traffic, random.Random], Awaitable[None]]
ACTIONS: dict[Action, float] = {
    usual.conversation: 40,
    usual.pipeline: 10,
    usual.stream: 10,
    usual.upload: 10,
    usual.answered_early: 2,
    usual.slow_reader: 2,
    unusual.leaving: 15,
    unusual.half_closed: 3,
    refused.refused: 10,
    refused.malformed: 5,
    unusual.idle: 2,
    unusual.deaf: 0.5,
}
"""What a client may do next, with its weight."""
CLIENTS = 32
WARM_UP_ACTIONS = 100
SAMPLE_SECONDS = 2.0
REST_SECONDS = 20.0
"""How long the gateway may take to be at rest when no client is left."""
OPERATOR_SECONDS = 5.0
"""Between two credentials that the operator makes and revokes."""
MOST_VIOLATIONS = 50
"""With more, the run ends at once."""
_LINE_LIMIT = 1 << 20


class Soak:
    """One run against a gateway that has just been started."""

    def __init__(self, gateway: Gateway, upstream: Upstream, seed: int) -> None:
        self.ledger = Ledger()
        self.samples: list[Sample] = []
        """While traffic went on."""
        self.log: list[str] = []
        """The lines of the gateway's log, when the run is over."""
        self._gateway = gateway
        self._upstream = upstream
        self._seed = seed
        self._traffic = Traffic(gateway.port, gateway.token, self.ledger)
        self._sampler = Sampler(gateway.process.popen.pid, gateway.admin_port)
        self._over = asyncio.Event()

    async def run(self, seconds: float, show: Callable[[Sample], None]) -> list[str]:
        """Traffic for that time, then rest, then the gateway's end. What is wrong, one line for each."""
        reading = asyncio.create_task(self._read_log())
        chance = self._chance("warm-up")
        for _ in range(WARM_UP_ACTIONS):
            await self._attempt("warm-up", usual.pipeline(self._traffic, chance))
            if self.ledger.violations:
                self._over.set()
                break
        before, upstream_before = await self._at_rest(), self._upstream.report()
        try:
            await self._traffic_for(seconds, show)
            after = await self._at_rest()
        except OSError as error:
            gone = f"the gateway is gone: {error}"
            return [*self.ledger.violations, gone, *self._gateway.process.log_lines()[-20:]]
        upstream_after = self._upstream.report()
        code = await asyncio.to_thread(self._gateway.process.stop)
        await reading
        self.log = self._gateway.process.log_lines()
        self.ledger.close()
        return [
            *self.ledger.violations,
            *verdict.of_memory(self.samples),
            *verdict.of_rest(before, after, upstream_before, upstream_after),
            *verdict.of_counts(self.ledger, after, upstream_after),
            *verdict.of_log(self.log),
            *upstream_after.failures,
            *([f"the gateway ended with exit code {code}"] if code else []),
        ]

    async def _traffic_for(self, seconds: float, show: Callable[[Sample], None]) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._client(f"client {number}"))
            group.create_task(self._operator())
            sampling = group.create_task(self._sample(show))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), seconds)
            self._over.set()
            sampling.cancel()

    async def _client(self, name: str) -> None:
        chance = self._chance(name)
        while not self._over.is_set():
            [action] = chance.choices(tuple(ACTIONS), tuple(ACTIONS.values()))
            await self._attempt(f"{name}, {action.__name__}", action(self._traffic, chance))

    async def _operator(self) -> None:
        chance = self._chance("operator")
        while not self._over.is_set():
            await self._attempt("operator", operator(self._traffic, chance, self._gateway.command))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), OPERATOR_SECONDS)

    async def _attempt(self, what: str, action: Awaitable[None]) -> None:
        try:
            await action
        except Exception as error:
            self.ledger.violation(f"{what}: {type(error).__name__}: {error}")
            if self.ledger.total_violations > MOST_VIOLATIONS:
                self._over.set()

    async def _sample(self, show: Callable[[Sample], None]) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            try:
                sample = await self._sampler.take()
            except OSError as error:
                self.ledger.violation(f"a process of the gateway is gone, or its metrics: {error}")
                self._over.set()
                return
            self.samples.append(sample)
            show(sample)

    async def _at_rest(self) -> Sample:
        """A sample as soon as nothing is under way and all is counted; as it is when that takes too long."""
        deadline = monotonic() + REST_SECONDS
        while True:
            sample = await self._sampler.take()
            counted = sample.counted
            busy = counted.open_requests or counted.open_connections or counted.requests != self.ledger.lines
            if not busy or monotonic() > deadline:
                return sample
            await asyncio.sleep(0.2)

    async def _read_log(self) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_LINE_LIMIT)
        pipe = os.fdopen(self._gateway.log, "rb", 0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        try:
            await read_log(reader, self.ledger.wrote)
        finally:
            transport.close()

    def _chance(self, name: str) -> random.Random:
        return random.Random(f"{self._seed} {name}")
