"""The one record of a request: what it asked, who asked, where it went, what was used, how it ended.

Every room fills in its part; `observe` reads it whole when the request is over. Nothing here does I/O.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from gateway.token_usage import NO_DETAILS, Usage, UsageDetails


class Framing(StrEnum):
    """How an answer's body is framed, which is also how an error on it must be framed."""

    UNARY = "unary"
    """`generateContent`: one JSON object."""
    SSE = "sse"
    """`streamGenerateContent?alt=sse`: server-sent events."""
    JSON_ARRAY = "json_array"
    """`streamGenerateContent` without `alt=sse`: one JSON array, sent piecewise."""


class Ending(StrEnum):
    """How a request ended; exactly one for each."""

    COMPLETE = "complete"
    REFUSED = "refused"
    """The gateway itself answered with an error, before any upstream byte."""
    UPSTREAM_ERROR = "upstream_error"
    """The upstream answered with an error status, passed on whole."""
    UPSTREAM_ERROR_IN_STREAM = "upstream_error_in_stream"
    """An error object arrived inside a 200 stream."""
    TRUNCATED = "truncated"
    """The upstream broke off after its first byte."""
    SUSPECT = "suspect"
    """The body ended cleanly, but without a finishReason or blockReason."""
    CLIENT_ABORTED = "client_aborted"
    DEADLINE = "deadline"


CUT = frozenset({Ending.TRUNCATED, Ending.CLIENT_ABORTED, Ending.DEADLINE, Ending.REFUSED})
"""The endings of a response that may have had more to say: its last report of usage is not its last word."""


@dataclass(frozen=True, slots=True)
class Route:
    """What the raw path and query say, before anything is looked up. Source: `dialects`."""

    version: str = ""
    """`v1beta`, `v1`, `v1alpha`, or empty where the client named none."""
    model: str = ""
    """The model as the client wrote it, percent-decoded once."""
    action: str = ""
    framing: Framing = Framing.UNARY
    query: str = ""
    """What of the query goes upstream: `alt` and `$alt` only, still encoded."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt at an upstream that another one followed, before the client was sent a byte.

    Times are `time.monotonic()` seconds; 0.0 means that it did not happen.
    """

    upstream: str
    began: float
    first_byte: float
    ended: float
    status: int
    """What the upstream answered; 0 when it did not."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a credential known to be good and scoped for the gateway."""

    credential_id: str
    """The public 16 characters of the token, never the secret."""
    project_id: str
    branch_id: str
    """The credential's anchor: good on this branch and on its descendants."""


_NO_ROUTE = Route()
_ID_BYTES = 16


def _random_ids() -> Iterator[str]:
    """Unlike all others, as they are random; drawn many at once, for the system call costs most of one."""
    while True:
        drawn = os.urandom(256 * _ID_BYTES)
        for at in range(0, len(drawn), _ID_BYTES):
            yield drawn[at : at + _ID_BYTES].hex()


_new_id = _random_ids().__next__


class Exchange:
    """One request's record. Times are `time.monotonic()` seconds; 0.0 means that it did not happen.

    What is not set yet stands in the class: there is one of these for every request, and few set everything.
    """

    client_request_id = ""
    """The client's own `x-request-id`, where it is well-formed."""
    route: Route = _NO_ROUTE
    principal: Principal | None = None
    branch_id = ""
    """The branch that the host names, which may be a descendant of the credential's."""
    model = ""
    """The catalog's short id."""
    upstream = ""
    """The configured name of the upstream that was sent it, by the last of several attempts."""
    attempts = 0
    """How many were made, those included that never got a connection."""
    failed_attempts: tuple[FailedAttempt, ...] = ()
    """Those before the last that did get one."""
    answered_as = ""
    """The short id of the model that the upstream was asked for: `model`, or one that it falls back on."""
    upstream_request_id = ""
    status = 0
    """The status that the client was sent; 0 when it left before one."""
    reason = ""
    """The reason of the gateway's own refusal, as in `x-gateway-error`; empty when there was none."""
    ending: Ending = Ending.REFUSED
    reading: Callable[[], None] | None = None
    """Fills in, when the request is over, what its response said of its usage."""
    usage: Usage | None = None
    """None: the upstream reported none (unknown, which is not zero)."""
    usage_details: UsageDetails = NO_DETAILS
    model_version = ""
    """The `modelVersion` that the response names."""
    first_byte = 0.0
    """When the first byte of the upstream's response head was here."""
    ended = 0.0
    request_bytes = 0
    """Body bytes received from the client."""
    response_bytes = 0
    """Body bytes sent to the client."""
    reservation: object | None = None
    """What the limiter has reserved for it; its business alone."""
    rate_limit_lines = b""
    """Header lines that tell the client how much of its limits is left, with CRLF between them."""
    cost_nanos: int | None = None
    """Metered token spend, in billionths of a US dollar; None where usage or price is unknown."""
    unpriced: tuple[str, ...] = ()
    """What of it was used and has no price; see `prices`."""

    def __init__(self) -> None:
        self.id = _new_id()
        """The gateway's own id for the request."""
        self.time = time.time()
        """When it began, in seconds since the epoch."""
        self.began = time.monotonic()
