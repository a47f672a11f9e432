"""What the upstream answers with: the recorded exchanges, where they are, and some made ones beside them."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.support.recorded import (
    RECORDINGS,
    RecordedExchange,
    last_usage,
    recorded_exchanges,
    response_objects,
)

UNARY = "generateContent"
STREAM = "streamGenerateContent"
_ACTIONS = {"unary": (UNARY, None), "sse": (STREAM, "sse"), "array": (STREAM, None)}
LARGE_BYTES = 2 << 20
HUGE_BYTES = 12 << 20
"""More than the buffers of two sockets on loopback hold, so that a client which reads nothing is noticed."""
_TYPE_URL = "type.googleapis.com/google.rpc."


@dataclass(frozen=True)
class Sample:
    """One answer, and what the gateway has to make of it when it passes whole."""

    exchange: RecordedExchange
    action: str
    """With its query, as a client asks for it."""
    tokens: int | None
    """The total that the access log has to show; None where the answer reports no usage."""
    ending: str
    """The ending that the access log has to show."""

    @property
    def body(self) -> bytes:
        return self.exchange.body

    @property
    def readable_sse(self) -> bool:
        """Whether an event can be added to it."""
        return self.exchange.alt == "sse" and self.exchange.status == 200 and not self.exchange.compressed


@dataclass(frozen=True)
class Samples:
    """All there are, the same in every process. Positions in `all` name them."""

    all: tuple[Sample, ...]

    def positions(self, *, status: int | None = None, least: int = 0, most: int = LARGE_BYTES) -> list[int]:
        """Of the answers with that status (None: any but 200), their body between these two in size."""
        return [
            position
            for position, sample in enumerate(self.all)
            if (sample.exchange.status == status if status else sample.exchange.status != 200)
            and least <= len(sample.body) <= most
        ]


@cache
def samples() -> Samples:
    """Recorded and made ones."""
    recorded = recorded_exchanges() if RECORDINGS.is_file() else ()
    return Samples(tuple(_sample(exchange) for exchange in (*recorded, *_made())))


def _sample(exchange: RecordedExchange) -> Sample:
    action = exchange.action + ("?alt=sse" if exchange.alt == "sse" else "")
    if exchange.status != 200:
        return Sample(exchange, action, None, "upstream_error")
    usage = last_usage(exchange)
    objects = response_objects(exchange)
    if any("error" in one for one in objects):
        ending = "upstream_error_in_stream"
    elif any(_finishes(one) for one in objects):
        ending = "complete"
    else:
        ending = "suspect"
    return Sample(exchange, action, None if usage is None else usage.get("totalTokenCount", 0), ending)


def _finishes(document: dict[str, Any]) -> bool:
    candidates = document.get("candidates", [])
    return any("finishReason" in one for one in candidates) or "blockReason" in document.get(
        "promptFeedback", {}
    )


def _made() -> list[RecordedExchange]:
    pieces = [_piece(number) for number in range(20)]
    last = _piece(20, finishReason="STOP")
    many = [_piece(number, filler="Grün" * 50) for number in range(1500)]
    failed = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    return [
        _exchange("unary", [last]),
        _exchange("sse", [*pieces, last]),
        _exchange("array", [*pieces, last], compressed=True),
        _exchange("array", [*pieces, last]),
        _exchange("sse", pieces),
        _exchange("sse", [*pieces, failed]),
        _exchange("sse", [*many, last]),
        _exchange("sse", [*many, last], compressed=True),
        _exchange("unary", [_piece(0, filler="x" * (LARGE_BYTES - 1000), finishReason="STOP")]),
        _exchange("unary", [_piece(0, filler="x" * HUGE_BYTES, finishReason="STOP")]),
        _error(429, "RESOURCE_EXHAUSTED", {"@type": f"{_TYPE_URL}RetryInfo", "retryDelay": "38.2s"}),
        _error(503, "UNAVAILABLE"),
        _error(500, "INTERNAL"),
        _error(404, "NOT_FOUND"),
        _error(400, "INVALID_ARGUMENT"),
        _error(400, "INVALID_ARGUMENT", {"@type": f"{_TYPE_URL}ErrorInfo", "reason": "API_KEY_INVALID"}),
        _error(401, "UNAUTHENTICATED"),
    ]


def _piece(number: int, *, filler: str = "", **candidate: str) -> dict[str, Any]:
    content = {"parts": [{"text": f"piece {number} {filler}"}], "role": "model"}
    usage = {"promptTokenCount": 7, "candidatesTokenCount": number, "totalTokenCount": 7 + number}
    return {
        "candidates": [{"content": content, "index": 0, **candidate}],
        "usageMetadata": usage,
        "modelVersion": "gemini-2.5-flash",
    }


def _error(status: int, name: str, *details: dict[str, str]) -> RecordedExchange:
    error = {"code": status, "message": "what Google would say", "status": name, "details": list(details)}
    return _exchange("unary", [{"error": error}], status=status)


def _exchange(
    framing: str, objects: list[dict[str, Any]], *, compressed: bool = False, status: int = 200
) -> RecordedExchange:
    action, alt = _ACTIONS[framing]
    texts = [json.dumps(one, ensure_ascii=False) for one in objects]
    if alt:
        body = "".join(f"data: {text}\r\n\r\n" for text in texts).encode()
    else:
        body = (texts[0] if action == UNARY else "[" + ",\r\n".join(texts) + "]").encode()
    headers = [("content-type", "text/event-stream" if alt else "application/json; charset=UTF-8")]
    if compressed:
        body = gzip.compress(body, mtime=0)
        headers.append(("content-encoding", "gzip"))
    return RecordedExchange(
        name=f"made {framing}{' gzip' if compressed else ''} {status}, {len(body)} bytes",
        uri="",
        model="",
        action=action,
        alt=alt,
        request=b"",
        status=status,
        headers=tuple(headers),
        body=body,
        exact=True,
    )
