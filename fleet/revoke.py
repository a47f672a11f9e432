"""Scenario: from the command that revokes a credential to the first 401, on every worker of both machines."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import monotonic

from fleet.clients import DEADLINE, request
from fleet.machines import Fleet, Machine
from fleet.plan import Plan
from gateway.lookup_cache import FRESH
from gateway.stores.postgres_schema import SCHEMA
from tests.support.raw_client import RawClient, RawResponse

SECONDS = 5.0
"""The bound."""
LOOK_SECONDS = 0.01
"""Between two looks into the store."""
ASK_SECONDS = 0.05
"""Between two requests to one worker."""
KNOWN_SECONDS = 0.5
"""For how long each worker is asked before, at least: by then it remembers that the credential is good."""
MOST_CONNECTIONS = 200
"""By which every worker of a machine is found."""
CONNECTIONS = 60
"""Connections to each machine that must all be refused at the end."""
_PLAN = Plan(0, 1, 1)


@dataclass(frozen=True)
class Outcome:
    """One list of seconds for each revocation, one figure for each worker."""

    workers: int
    """Of all machines."""
    from_start: list[list[float]]
    """From the moment at which the command was started: with the time that it takes to start itself."""
    from_commit: list[list[float]]
    """From the moment at which the revocation stood in the store: what is judged."""
    good_again: int
    """Requests that were answered on fresh connections when every worker had refused."""

    def lines(self) -> list[str]:
        """What is printed of it."""
        lines = ["seconds until the slowest worker refuses: from the command's start, from its commit"]
        for start, commit in zip(self.from_start, self.from_commit, strict=True):
            lines.append(f"{max(start):8.2f}  {max(commit):8.2f}  of {len(start)} workers")
        return lines

    def wrong(self) -> list[str]:
        """What is, one line each."""
        found = [f"only {len(one)} workers were asked" for one in self.from_start if len(one) != self.workers]
        late = [max(one) for one in self.from_commit if max(one) > SECONDS]
        found += [f"a worker refuses after {seconds:.2f} s" for seconds in late]
        if self.good_again:
            found.append(f"{self.good_again} requests were answered after every worker had refused")
        return found


async def run(fleet: Fleet, *, rounds: int, workers: int) -> Outcome:
    """Revoke so many credentials, one after the other; `workers` are those of one machine."""
    from_start, from_commit, good_again = [], [], 0
    for number in range(rounds):
        token = await asyncio.to_thread(fleet.credential)
        async with AsyncExitStack() as opened:
            found = [await _one_of_each(machine, workers, token, opened) for machine in fleet.machines]
            clients = [client for of_machine in found for client in of_machine]
            asking = [asyncio.create_task(_refused_at(client, token)) for client in clients]
            # What is remembered is of another age in each round: the younger, the longer it is good.
            await asyncio.sleep(KNOWN_SECONDS + FRESH * number / rounds)
            start = monotonic()
            public_id = token.split("_")[2]
            committed = asyncio.create_task(_revoked_at(fleet, public_id))
            await asyncio.to_thread(fleet.machines[0].command, "credentials", "revoke", public_id)
            commit = await committed
            moments = await asyncio.gather(*asking)
        from_start.append([moment - start for moment in moments])
        from_commit.append([moment - commit for moment in moments])
        for machine in fleet.machines:
            for _ in range(CONNECTIONS):
                good_again += await _asked(machine, token) != 401
    fleet.stop()
    return Outcome(workers * len(fleet.machines), from_start, from_commit, good_again)


async def _one_of_each(machine: Machine, workers: int, token: str, opened: AsyncExitStack) -> list[RawClient]:
    """A connection to each worker, as far as chance finds them all in so many attempts."""
    by_process: dict[int, RawClient] = {}
    for _ in range(MOST_CONNECTIONS):
        client = await opened.enter_async_context(RawClient("127.0.0.1", machine.port, deadline=DEADLINE))
        assert (await _answer(client, token)).status == 200
        process = machine.owners()[client.port]
        assert process
        by_process.setdefault(process, client)
        if len(by_process) == workers:
            break
    return list(by_process.values())


async def _revoked_at(fleet: Fleet, public_id: str) -> float:
    """The moment from which on the store tells everybody that the credential is revoked."""
    connection = await fleet.postgres.connect()
    try:
        query = f"SELECT revoked IS NOT NULL FROM {SCHEMA}.credentials WHERE id = $1"
        while True:
            if await connection.fetchval(query, public_id):
                return monotonic()
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await connection.close()


async def _refused_at(client: RawClient, token: str) -> float:
    """Ask over and over on that connection; the moment of the first 401."""
    while True:
        if (await _answer(client, token)).status == 401:
            return monotonic()
        await asyncio.sleep(ASK_SECONDS)


async def _asked(machine: Machine, token: str) -> int:
    async with RawClient("127.0.0.1", machine.port, deadline=DEADLINE) as client:
        return (await _answer(client, token)).status


async def _answer(client: RawClient, token: str) -> RawResponse:
    await client.send(request(token, _PLAN))
    return await client.read_response()
