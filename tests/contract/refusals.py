"""The contract's error table, written out again, and the comparison of a whole answer with its row."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from tests.support.raw_client import RawResponse

_ID = re.compile(r"[0-9a-f]{32}")
_DATE = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")
_DETAIL = re.compile(r"[ -~]{0,128}")
_STREAM_REFUSAL = re.compile(rb"\[.*\]", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """One row of the table, with the headers that it alone carries."""

    status: int
    message: str
    google_status: str
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


_AFTER_ADMISSION = {
    "BODY_TOO_LARGE",
    "DRAINING",
    "HTTP_MALFORMED",
    "INTERNAL",
    "REQUEST_LIMIT_EXCEEDED",
    "UPSTREAM_FAILED",
    "UPSTREAM_TIMEOUT",
}
_CHALLENGE = (("WWW-Authenticate", "Bearer"),)
_LATER = (("Retry-After", "1"),)
_HOST = "could not resolve workspace from host"
_MALFORMED = "malformed http request"

CREDENTIAL_INVALID = Row(
    401, "invalid or missing credential", "UNAUTHENTICATED", "CREDENTIAL_INVALID", _CHALLENGE
)
CREDENTIAL_SCOPE = Row(
    403, "credential not authorized for ai gateway", "PERMISSION_DENIED", "CREDENTIAL_SCOPE"
)
CREDENTIAL_BRANCH = Row(
    403, "credential not authorized for this branch", "PERMISSION_DENIED", "CREDENTIAL_BRANCH"
)
AUTHORIZATION_UNAVAILABLE = Row(
    503, "authorization temporarily unavailable", "UNAVAILABLE", "AUTHORIZATION_UNAVAILABLE"
)
HOST_UNTRUSTED = Row(403, _HOST, "PERMISSION_DENIED", "HOST_UNTRUSTED")
HOST_MALFORMED = Row(400, _HOST, "INVALID_ARGUMENT", "HOST_MALFORMED")
BRANCH_NOT_FOUND = Row(404, _HOST, "NOT_FOUND", "BRANCH_NOT_FOUND")
ACTION_UNSUPPORTED = Row(404, "unsupported gemini action", "NOT_FOUND", "ACTION_UNSUPPORTED")
MODEL_PATH_INVALID = Row(404, "invalid gemini model path", "NOT_FOUND", "MODEL_PATH_INVALID")
NOT_FOUND = Row(404, "not found", "NOT_FOUND", "NOT_FOUND")
METHOD = Row(405, "method not allowed", "INVALID_ARGUMENT", "METHOD", (("Allow", "POST"),))
MODEL_INVALID = Row(400, "missing or invalid model", "INVALID_ARGUMENT", "MODEL_INVALID")
MODEL_UNKNOWN = Row(400, "unknown model", "INVALID_ARGUMENT", "MODEL_UNKNOWN")
MODEL_NOT_ON_ENDPOINT = Row(
    400, "model is not available on this endpoint", "INVALID_ARGUMENT", "MODEL_NOT_ON_ENDPOINT"
)
ALT_UNSUPPORTED = Row(400, "unsupported alt parameter", "INVALID_ARGUMENT", "ALT_UNSUPPORTED")
HTTP_MALFORMED = Row(400, _MALFORMED, "INVALID_ARGUMENT", "HTTP_MALFORMED")
LINE_TOO_LONG = Row(414, _MALFORMED, "INVALID_ARGUMENT", "HTTP_MALFORMED")
HEADER_TOO_LONG = Row(431, _MALFORMED, "INVALID_ARGUMENT", "HTTP_MALFORMED")
BODY_TOO_LARGE = Row(413, "request body too large", "INVALID_ARGUMENT", "BODY_TOO_LARGE")
INTERNAL = Row(500, "internal gateway error", "INTERNAL", "INTERNAL")
UPSTREAM_FAILED = Row(502, "upstream request failed", "UNAVAILABLE", "UPSTREAM_FAILED")
UPSTREAM_TIMEOUT = Row(504, "upstream request timed out", "DEADLINE_EXCEEDED", "UPSTREAM_TIMEOUT")
OVERLOADED = Row(503, "gateway overloaded", "UNAVAILABLE", "OVERLOADED", _LATER)
DRAINING = Row(503, "gateway draining", "UNAVAILABLE", "DRAINING", _LATER)

TABLE = tuple(row for row in globals().values() if isinstance(row, Row))
"""Every row that this gateway can answer with by now."""


def check(
    response: RawResponse,
    row: Row,
    metadata: Mapping[str, str] | None = None,
    *,
    array: bool = False,
    client_id: str = "",
    keep: bool = True,
    head: bool = False,
) -> None:
    """Compare a whole refusal: status line, every header, the body to the last member.

    `client_id` is what comes back as `x-client-request-id`; `head` says that the request was a HEAD.
    """
    gateway_id = _check_head(response, row, client_id=client_id, keep=keep)
    if head:
        assert response.body == b""
        return
    assert int(response.header("Content-Length")[0]) == len(response.body)
    expected: dict[str, Any] = {
        "error": {
            "code": row.status,
            "message": row.message,
            "status": row.google_status,
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": row.reason,
                    "domain": "gateway",
                    "metadata": {**(metadata or {}), "requestId": gateway_id},
                }
            ],
        }
    }
    assert json.loads(response.body) == ([expected] if array else expected)


def _check_head(response: RawResponse, row: Row, *, client_id: str, keep: bool) -> str:
    """Compare everything above the body; the gateway's id of the request."""
    assert response.raw_head.startswith(f"HTTP/1.1 {row.status} {HTTPStatus(row.status).phrase}\r\n".encode())
    told = dict(response.headers)
    assert len(told) == len(response.headers), f"a header came twice: {response.headers}"
    (gateway_id, date, _) = (told.pop(name) for name in ("x-request-id", "Date", "Content-Length"))
    assert _ID.fullmatch(gateway_id)
    limits = {name: told.pop(name) for name in list(told) if name.startswith("x-ratelimit-")}
    # Whoever was refused before anything was counted is told nothing of limits.
    assert not limits or row.reason in _AFTER_ADMISSION, limits
    assert all(value.isdecimal() for value in limits.values()), limits
    attempts = told.pop("x-gateway-attempts", None)
    assert attempts is None or (attempts == "1" and row.reason in _AFTER_ADMISSION)
    assert _DATE.fullmatch(date)
    assert told == {
        "Content-Type": "application/json; charset=UTF-8",
        "x-gateway-error": row.reason,
        "Connection": "keep-alive" if keep else "close",
        **dict(row.headers),
        **({"x-client-request-id": client_id} if client_id else {}),
    }
    return gateway_id


def check_some_refusal(response: RawResponse, *, head: bool = False) -> Row:
    """Compare an answer with whichever row of the table it claims to be; that row."""
    (reason,) = response.header("x-gateway-error")
    (row,) = [row for row in TABLE if (row.status, row.reason) == (response.status, reason)]
    (client_id,) = response.header("x-client-request-id") or [""]
    metadata: dict[str, str] = {}
    array = False
    if not head:
        array = bool(_STREAM_REFUSAL.fullmatch(response.body))
        body = json.loads(response.body)
        (detail,) = (body[0] if array else body)["error"]["details"]
        metadata = dict(detail["metadata"])
        metadata.pop("requestId")
        assert all(_DETAIL.fullmatch(value) for value in metadata.values())
    keep = response.header("Connection") == ["keep-alive"]
    check(response, row, metadata, array=array, client_id=client_id, keep=keep, head=head)
    return row
