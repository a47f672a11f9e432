"""Pieces of answers that several files put together, and what they read out of the gateway's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway.upstreams.connection import State
from tests.support.eventually import eventually
from tests.support.raw_client import RawResponse
from tests.support.script import Step, close, fin, keep_open, response_bytes, rst
from tests.support.stack import Stack

SSE = ("Content-Type", "text/event-stream")
JSON = ("Content-Type", "application/json; charset=UTF-8")
EVENT = b'data: {"candidates": [{"content": {"parts": [{"text": "Grun\xc3\xbc"}]}}]}\r\n\r\n'
LAST_EVENT = (
    b'data: {"candidates": [{"finishReason": "STOP"}], "usageMetadata": '
    b'{"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12}}\r\n\r\n'
)
UNARY = b'{"candidates": [{"finishReason": "STOP"}], "modelVersion": "gemini-2.5-flash"}'
"""A whole unary answer's body."""
WHOLE = response_bytes(200, [JSON], UNARY)
"""That answer as it stands on the wire."""
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

CUTS: dict[str, list[Step]] = {"close": [close()], "fin": [fin(), keep_open()], "rst": [rst()]}
"""The ways for an upstream to break off."""


async def ask(stack: Stack, body: bytes = b"{}", *, action: str = "generateContent") -> RawResponse:
    """The answer to a request of a new client, who leaves with it."""
    async with stack.client() as client:
        await client.send(stack.request(body, action=action))
        return await client.read_response()


async def idle(stack: Stack, count: int = 1) -> None:
    """Returns once there are so many upstream connections, all of them idle."""
    await eventually("idle connections", lambda: stack.upstream_states == [State.IDLE] * count)


def refusal(answer: RawResponse) -> tuple[int, str]:
    """Status and reason of an answer that the gateway made itself; the reason stands in it twice."""
    error = error_of(answer.body)
    [label] = answer.header("x-gateway-error")
    assert (error["code"], error["details"][0]["reason"]) == (answer.status, label)
    return answer.status, label


def error_of(body: bytes) -> dict[str, Any]:
    """The error object of a JSON body, which may stand in a one-element array."""
    document = json.loads(body)
    [document] = document if isinstance(document, list) else [document]
    error = document["error"]
    assert isinstance(error, dict)
    return error


def error_event(body: bytes, sent: bytes) -> int:
    """The code of the one error event with which a body ends after all that was sent before it."""
    assert body.startswith(sent)
    event = body.removeprefix(sent)
    assert event.startswith(b"data: ")
    assert event.endswith(b"\r\n\r\n")
    assert event.count(b"\n") == 2
    code = error_of(event.removeprefix(b"data: "))["code"]
    assert isinstance(code, int)
    return code


@contextmanager
def case(what: object) -> Iterator[None]:
    """Says in which case of a table a test failed."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in the case of {what}")
        raise
