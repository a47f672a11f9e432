"""What the tests of a running gateway's usage share: recorded exchanges as traffic, and their sums."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.service.rig import client
from tests.support.gateway import Gateway
from tests.support.raw_client import RawClient
from tests.support.recorded import RecordedExchange, last_usage, recorded_exchanges
from tests.support.script import Script, response
from tests.support.upstream_request import UpstreamRequest

MODELS = ("gemini-2-5-flash", "gemini-3-pro")
CLIENTS = 8
SUMS = ("requests", "input_tokens", "output_tokens", "cached_tokens", "total_tokens", "unknown_usage")


@dataclass
class Traffic:
    """Requests for recorded exchanges, each numbered, and what they were answered with."""

    served: list[int] = field(default_factory=list)
    """The numbers of those that a client has the whole answer of."""
    ids: list[str] = field(default_factory=list)
    """The gateway's, of the same."""
    _chance: random.Random = field(default_factory=lambda: random.Random(9))

    def answer(self, request: UpstreamRequest) -> Script:
        """The upstream's: what the request's number stands for, in pieces."""
        exchange = _exchange(json.loads(request.body)["number"])
        body = exchange.body
        cuts = sorted(self._chance.randrange(len(body) + 1) for _ in range(6))
        pieces = [body[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        return response(exchange.status, exchange.headers, pieces, "chunked")

    async def ask(self, gateway: Gateway, numbers: Sequence[int]) -> None:
        """Ask for all of these, some at a time, each client on connections of its own."""
        await asyncio.gather(*(self._ask_some(gateway, numbers[first::CLIENTS]) for first in range(CLIENTS)))

    async def _ask_some(self, gateway: Gateway, numbers: Sequence[int]) -> None:
        for begin in range(0, len(numbers), 5):  # so that every worker has some
            async with client(gateway) as connection:
                for number in numbers[begin : begin + 5]:
                    await self.ask_on(gateway, connection, number)

    async def ask_on(self, gateway: Gateway, connection: RawClient, number: int) -> None:
        """One request, which has to be answered as it was recorded."""
        exchange = _exchange(number)
        body = json.dumps({"number": number}).encode()
        alt = f"?alt={exchange.alt}" if exchange.alt else ""
        head = (
            f"POST /ai-gateway/gemini/v1beta/models/{_model(number)}:{exchange.action}{alt} HTTP/1.1\r\n"
            f"Host: gateway.test\r\nx-goog-api-key: {gateway.token}\r\nAccept-Encoding: gzip\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        await connection.send(head.encode() + body)
        answer = await connection.read_response()
        assert (answer.status, answer.ended, answer.body) == (exchange.status, "complete", exchange.body)
        self.served.append(number)
        self.ids += answer.header("x-request-id")

    def sums(self) -> dict[str, dict[str, Any]]:
        """What is to be told of all that was served, by model."""
        found = {model: dict.fromkeys(SUMS, 0) for model in MODELS}
        for number in self.served:
            sums, said = found[_model(number)], last_usage(_exchange(number))
            sums["requests"] += 1
            sums["unknown_usage"] += said is None
            for name, keys in {
                "input_tokens": ("promptTokenCount", "toolUsePromptTokenCount"),
                "output_tokens": ("candidatesTokenCount", "thoughtsTokenCount"),
                "cached_tokens": ("cachedContentTokenCount",),
                "total_tokens": ("totalTokenCount",),
            }.items():
                sums[name] += sum((said or {}).get(key, 0) for key in keys)
        return found


def told(groups: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same of what the command line or the API answers."""
    return {group["model"]: {name: group[name] for name in SUMS} for group in groups}


def _exchange(number: int) -> RecordedExchange:
    exchanges = recorded_exchanges()
    return exchanges[number % len(exchanges)]


def _model(number: int) -> str:
    return MODELS[number % 3 == 0]
