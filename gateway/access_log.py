"""The access log: one request's record as one line of JSON.

What stands in a line is this file's business alone: names, units and what is left out. Bodies, secrets, the
path and the query are not in it. The fields are documented in docs/observability.md.
"""

from __future__ import annotations

import time
from typing import Literal

import msgspec

from gateway.exchange import Exchange
from gateway.line_writer import LineWriter

_FOREIGN_LIMIT = 128
"""Characters kept of a value that the upstream chose."""


class AccessLine(msgspec.Struct, gc=False):
    """The fields of a line, in their order. An unknown text is empty, an unknown number null."""

    time: str
    id: str
    client_request_id: str
    branch: str
    credential: str
    project: str
    model: str
    model_version: str
    action: str
    framing: str
    upstream: str
    upstream_request_id: str
    status: int
    reason: str
    ending: str
    first_byte_ms: float | None
    duration_ms: float
    request_bytes: int
    response_bytes: int
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    total_tokens: int | None
    usage: Literal["reported", "unknown"]


class AccessLog:
    """Turns finished exchanges into lines of `writer`."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer
        self._encode = msgspec.json.Encoder().encode
        self._second = 0
        self._second_text = ""

    def record(self, exchange: Exchange) -> None:
        """Write the line of an exchange that is over (`ended` is set)."""
        line = self._line(exchange)
        try:
            encoded = self._encode(line)
        except UnicodeEncodeError:  # a lone surrogate: JSON can spell it, UTF-8 can't
            encoded = self._encode(_repaired(line))
        self._writer.write(encoded)

    def _line(self, exchange: Exchange) -> AccessLine:
        principal = exchange.principal
        usage = exchange.usage
        route = exchange.route
        began = exchange.began
        first_byte = exchange.first_byte
        # By position, for speed: the order is the struct's.
        return AccessLine(
            self._now(),
            exchange.id,
            exchange.client_request_id,
            exchange.branch_id,
            principal.credential_id if principal is not None else "",
            principal.project_id if principal is not None else "",
            exchange.model,
            exchange.model_version[:_FOREIGN_LIMIT],
            route.action,
            route.framing,
            exchange.upstream,
            exchange.upstream_request_id[:_FOREIGN_LIMIT],
            exchange.status,
            exchange.reason,
            exchange.ending,
            _milliseconds(first_byte - began) if first_byte else None,
            _milliseconds(exchange.ended - began),
            exchange.request_bytes,
            exchange.response_bytes,
            usage.input if usage is not None else None,
            usage.output if usage is not None else None,
            usage.cached if usage is not None else None,
            usage.total if usage is not None else None,
            "reported" if usage is not None else "unknown",
        )

    def _now(self) -> str:
        """RFC 3339, UTC, milliseconds. Formatted once a second: `strftime` costs as much as a whole line."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{int((now - second) * 1000):03d}Z"


def _milliseconds(seconds: float) -> float:
    return int(seconds * 1e6) / 1e3


def _repaired(line: AccessLine) -> AccessLine:
    for name in line.__struct_fields__:
        value = getattr(line, name)
        if isinstance(value, str):
            setattr(line, name, value.encode("utf-8", "replace").decode())
    return line
