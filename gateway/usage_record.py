"""What is kept of one attempt at an upstream: a row of the ledger, and nothing that could be a secret.

Money is in whole billionths of a US dollar, so that sums are exact.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

NANOS = 1_000_000_000
"""Billionths of a dollar in one."""


class UsageSource(StrEnum):
    """Where a record's token counts come from."""

    REPORTED = "reported"
    """The upstream's last report, of a response that came to its end."""
    PARTIAL = "partial"
    """The last report seen before the response was cut."""
    UNKNOWN = "unknown"
    """No report was seen: the counts and the cost are unknown, which is not zero."""


class UsageRecord(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One attempt. `request_id` (the gateway's own) and `attempt` (from 1) together occur once."""

    request_id: str
    attempt: int = 1
    attempts: int = 1
    """How many there have been for this request by now."""
    time: float
    """When the request began, seconds since the epoch."""
    client_request_id: str = ""
    project: str
    branch: str
    credential: str
    """The ids of who asked."""
    model: str
    """The catalog's short id of what was asked for."""
    model_version: str = ""
    """What answered, by its own word; empty where it did not say."""
    upstream: str
    action: str
    status: int = 0
    """What the upstream answered; 0 when it did not."""
    ending: str
    """An `exchange.Ending`."""
    usage_source: UsageSource = UsageSource.UNKNOWN
    prompt_tokens: int | None = None
    """Includes the cached ones."""
    cached_tokens: int | None = None
    candidates_tokens: int | None = None
    thoughts_tokens: int | None = None
    """Not part of the candidates'."""
    tool_use_prompt_tokens: int | None = None
    total_tokens: int | None = None
    modalities: dict[str, dict[str, int]] = {}
    """Tokens by kind (`prompt`, `cached`, `candidates`, `tool_use_prompt`) and modality (`TEXT`, `AUDIO`)."""
    traffic_type: str = ""
    """Vertex's `trafficType`."""
    service_tier: str = ""
    cost_nanos: int | None = None
    """The metered token spend; None where usage or price is unknown."""
    unpriced: tuple[str, ...] = ()
    """What of this was used and has no price here: `model`, or features such as `google_search`."""
    first_byte_ms: float | None = None
    """From the request's begin to the first byte of the response."""
    duration_ms: float = 0.0
    request_bytes: int = 0
    response_bytes: int = 0
