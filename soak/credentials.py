"""An operator at the command line meanwhile: makes credentials, revokes them, and sees that it counts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from time import monotonic

from soak.asking import Ask, Traffic, ask, note, settle
from soak.ledger import Violation
from soak.plan import draw
from soak.samples import samples
from tests.support.raw_client import RawResponse

REVOKED_SECONDS = 5.0
"""After which a revoked credential is good nowhere."""
_SLACK_SECONDS = 10.0
"""For a busy machine: what takes longer is a fault, however busy it is."""

Command = Callable[..., str]
"""Runs `python -m gateway` with these arguments and returns what it prints."""


async def operator(traffic: Traffic, chance: random.Random, command: Command) -> None:
    """Make a credential, use it, revoke it (with `--now` or without) while it streams, and see it refused."""
    token = (await asyncio.to_thread(command, "credentials", "create", "--branch", "main")).strip()
    public_id = token.split("_")[2]
    options = chance.choice(([], ["--now"]))
    plan = draw(chance, samples().positions(status=200, least=1000), pieces=25, gap=0.5)
    stream = ask(traffic, chance, plan, token=token)
    async with traffic.connect() as client:
        await client.send(stream.encoded())
        answer = await client.read_head()
        if not await _good(traffic, chance, token):
            raise Violation(f"credential {public_id} is refused though it has just been made")
        await asyncio.to_thread(command, "credentials", "revoke", public_id, *options)
        deadline = monotonic() + REVOKED_SECONDS + _SLACK_SECONDS
        while await _good(traffic, chance, token):
            if monotonic() > deadline:
                raise Violation(f"credential {public_id} is still good long after its end")
            await asyncio.sleep(0.2)
        await client.read_body(answer)
        if options:
            _cut(traffic, stream, answer)
        else:
            settle(traffic, stream, answer)
    traffic.ledger.count("credential", " ".join(["revoked", *options]))


async def _good(traffic: Traffic, chance: random.Random, token: str) -> bool:
    """Whether a request with the token is answered; otherwise it has been refused."""
    request = ask(traffic, chance, draw(chance, samples().positions(status=200, most=60_000)), token=token)
    async with traffic.connect() as client:
        await client.send(request.encoded())
        answer = await client.read_response()
    return settle(traffic, request, answer, also=frozenset({401})) == "whole"


def _cut(traffic: Traffic, request: Ask, answer: RawResponse) -> None:
    note(traffic, answer, str(request), {"truncated"}, planned=True)
    if answer.ended not in ("eof_without_terminator", "short"):
        raise Violation(f"{request}: {answer.ended}, though its credential was revoked at once")
