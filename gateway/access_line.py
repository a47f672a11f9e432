"""The fields of a line of the access log; docs/observability.md says what is in them."""

from __future__ import annotations

from typing import Literal

import msgspec


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
