"""Every refusal the gateway makes by itself, as one table: status, message, Google status, reason.

Messages are exact and constant; what the client sent stands only in the details. How a refusal becomes
bytes is the dialect's business (`gateway.dialects`). Source: the error table of the contract.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePath
from traceback import walk_tb


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row of the table: HTTP status, message, canonical Google status and machine-readable reason."""

    http: int
    message: str
    status: str
    reason: str
    headers: tuple[tuple[str, str], ...] = ()
    """Headers that always go with it, e.g. `Allow` with a 405."""


_CHALLENGE = (("WWW-Authenticate", "Bearer"),)

CREDENTIAL_INVALID = Refusal(
    401, "invalid or missing credential", "UNAUTHENTICATED", "CREDENTIAL_INVALID", _CHALLENGE
)
CREDENTIAL_SCOPE = Refusal(
    403, "credential not authorized for ai gateway", "PERMISSION_DENIED", "CREDENTIAL_SCOPE"
)
CREDENTIAL_BRANCH = Refusal(
    403, "credential not authorized for this branch", "PERMISSION_DENIED", "CREDENTIAL_BRANCH"
)
AUTHORIZATION_UNAVAILABLE = Refusal(
    503, "authorization temporarily unavailable", "UNAVAILABLE", "AUTHORIZATION_UNAVAILABLE"
)
HOST_UNTRUSTED = Refusal(403, "could not resolve workspace from host", "PERMISSION_DENIED", "HOST_UNTRUSTED")
HOST_MALFORMED = Refusal(400, "could not resolve workspace from host", "INVALID_ARGUMENT", "HOST_MALFORMED")
BRANCH_NOT_FOUND = Refusal(404, "could not resolve workspace from host", "NOT_FOUND", "BRANCH_NOT_FOUND")
ACTION_UNSUPPORTED = Refusal(404, "unsupported gemini action", "NOT_FOUND", "ACTION_UNSUPPORTED")
MODEL_PATH_INVALID = Refusal(404, "invalid gemini model path", "NOT_FOUND", "MODEL_PATH_INVALID")
NOT_FOUND = Refusal(404, "not found", "NOT_FOUND", "NOT_FOUND")
METHOD = Refusal(405, "method not allowed", "INVALID_ARGUMENT", "METHOD", (("Allow", "POST"),))
MODEL_INVALID = Refusal(400, "missing or invalid model", "INVALID_ARGUMENT", "MODEL_INVALID")
MODEL_UNKNOWN = Refusal(400, "unknown model", "INVALID_ARGUMENT", "MODEL_UNKNOWN")
MODEL_NOT_ON_ENDPOINT = Refusal(
    400, "model is not available on this endpoint", "INVALID_ARGUMENT", "MODEL_NOT_ON_ENDPOINT"
)
ALT_UNSUPPORTED = Refusal(400, "unsupported alt parameter", "INVALID_ARGUMENT", "ALT_UNSUPPORTED")
HTTP_MALFORMED = Refusal(400, "malformed http request", "INVALID_ARGUMENT", "HTTP_MALFORMED")
HTTP_LINE_TOO_LONG = Refusal(414, "malformed http request", "INVALID_ARGUMENT", "HTTP_MALFORMED")
HTTP_HEADER_TOO_LONG = Refusal(431, "malformed http request", "INVALID_ARGUMENT", "HTTP_MALFORMED")
BODY_TOO_LARGE = Refusal(413, "request body too large", "INVALID_ARGUMENT", "BODY_TOO_LARGE")
INTERNAL = Refusal(500, "internal gateway error", "INTERNAL", "INTERNAL")
UPSTREAM_FAILED = Refusal(502, "upstream request failed", "UNAVAILABLE", "UPSTREAM_FAILED")
UPSTREAM_TIMEOUT = Refusal(504, "upstream request timed out", "DEADLINE_EXCEEDED", "UPSTREAM_TIMEOUT")
UPSTREAM_OVERLOADED = Refusal(503, "upstream overloaded", "UNAVAILABLE", "UPSTREAM_COOLDOWN")
OVERLOADED = Refusal(503, "gateway overloaded", "UNAVAILABLE", "OVERLOADED", (("Retry-After", "1"),))
DRAINING = Refusal(503, "gateway draining", "UNAVAILABLE", "DRAINING", (("Retry-After", "1"),))

_DETAIL_LIMIT = 128
_LINE_LIMIT = 400
_TOKEN = re.compile(r"nt_live_\w+")


def printable(value: str) -> str:
    """What a client sent, made safe to quote: printable ASCII only, at most 128 characters, and no token.

    A token gets into a path or another parameter when somebody writes `&` for `?`, or a second `?`.
    """
    quoted = _TOKEN.sub("nt_live_***", value)[:_DETAIL_LIMIT]
    return "".join(c if " " <= c <= "~" else "?" for c in quoted)


def one_line(message: str) -> str:
    """A message for the operator that may quote what was typed: one line, not long, and no token in it.

    What is too long loses its middle: its end says what is wrong with what stands before.
    """
    text = "".join(c if c.isprintable() else "?" for c in _TOKEN.sub("nt_live_***", message))
    return text if len(text) <= _LINE_LIMIT else f"{text[: _LINE_LIMIT // 2]} … {text[-_LINE_LIMIT // 2 :]}"


def holds_token(text: str) -> bool:
    """Whether a client's token stands in it, or what could be one."""
    return _TOKEN.search(text) is not None


@dataclass(eq=False)
class GatewayError(Exception):
    """A refusal on its way to the client. `metadata` is quoted in the answer's details, so never a secret."""

    refusal: Refusal
    metadata: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.refusal.http} {self.refusal.reason}"


class ConfigurationError(Exception):
    """What an operator has to mend before the gateway can start: one line naming the key and the file."""


class StoreError(Exception):
    """What an operator has to mend about the store, or asked of it in vain: one line, no secret in it."""


class StoreNotFound(StoreError):
    """What a change or a look-up names is not there."""


class StoreConflict(StoreError):
    """A change goes against what is there: the name is taken, a branch has children."""


class StoreUnavailable(StoreError):
    """The store gave no answer just now: locked, damaged, gone, or more look-ups wait than may."""


class TooManyConnections(OSError):
    """The gateway has as many connections to an upstream as it may have."""


class CountersUnavailable(Exception):
    """The server that counts what is used gives no answer just now: one line, no secret in it."""


def described(error: BaseException) -> str:
    """A fault's type and where it came about, for the log: not its text, which may quote the client."""
    places = [
        f"{frame.f_code.co_name} ({PurePath(frame.f_code.co_filename).name}:{line})"
        for frame, line in walk_tb(error.__traceback__)
    ]
    return f"{type(error).__name__} in {', '.join(places)}"
