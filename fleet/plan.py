"""What the upstream is to answer to one request: drawn by a client, carried by the request, known to both."""

from __future__ import annotations

import json
import random

import msgspec

HEADER = "x-fleet"
"""The request header that carries the plan; the gateways are configured to pass it on."""


class Plan(msgspec.Struct, frozen=True):
    """One answer."""

    number: int
    """The request's own; also its `x-request-id`, and so what the ledger has of it."""
    prompt: int
    candidates: int
    """Tokens; of the candidates each event tells what there are by then, as Gemini does."""
    events: int = 0
    """Of a stream (`alt=sse`); 0: a unary answer."""
    gap: float = 0.0
    """Seconds before each event, or before the unary answer."""

    @property
    def tokens(self) -> int:
        """What the whole answer reports."""
        return self.prompt + self.candidates

    @property
    def action(self) -> str:
        """The end of the request's path."""
        return "streamGenerateContent?alt=sse" if self.events else "generateContent"

    def header(self) -> str:
        """As the request carries it."""
        return msgspec.json.encode(self).decode("ascii")

    def pieces(self) -> list[bytes]:
        """The answer's body, as it is sent."""
        if not self.events:
            return [_document(self, self.candidates)]
        return [b"data: %b\r\n\r\n" % _document(self, tokens) for tokens in self.reports()]

    def reports(self) -> list[int]:
        """The candidates' tokens by each of the events."""
        count = max(self.events, 1)
        return [self.candidates * number // count for number in range(1, count + 1)]


def draw(chance: random.Random, number: int, *, most: int, streams: float, slow: float) -> Plan:
    """A plan with up to `most` tokens each way; `streams` and `slow` are shares of all requests."""
    events = chance.randint(2, 8) if chance.random() < streams else 0
    gap = chance.uniform(0.0, 0.02) if chance.random() >= slow else chance.uniform(0.1, 0.3)
    return Plan(number, chance.randint(1, most), chance.randint(1, most), events, round(gap, 4))


def _document(plan: Plan, candidates: int) -> bytes:
    usage = {
        "promptTokenCount": plan.prompt,
        "candidatesTokenCount": candidates,
        "totalTokenCount": plan.prompt + candidates,
    }
    part = {"text": f"of {plan.number} {candidates}"}
    content = {"content": {"role": "model", "parts": [part]}, "index": 0}
    document = {"candidates": [content], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}
    return json.dumps(document).encode()
