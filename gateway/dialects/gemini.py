"""Google's Gemini dialect: what a raw request target means, and how a refusal is worded. Pure, no I/O.

The target is matched as it came, by one compiled regex, and nothing of it is decoded but the model, once:
aiohttp's own routing decodes `%2F`, `..` and `%00` before it matches.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import msgspec

from gateway.errors import (
    ACTION_UNSUPPORTED,
    ALT_UNSUPPORTED,
    MODEL_INVALID,
    MODEL_PATH_INVALID,
    NOT_FOUND,
    GatewayError,
    Refusal,
    printable,
)
from gateway.exchange import Framing, Route

_TARGET = re.compile(
    r"(//?(?:ai-gateway|v1)/gemini(?://?(v1|v1beta|v1alpha))?//?models/)([^?]*)(?:\?(.*))?", re.DOTALL
)
_SEGMENT = re.compile(r"([^:/]+):([^:/]+)", re.DOTALL)
_MODEL = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ALT_KEYS = frozenset({b"alt", b"$alt"})
_ALT_FRAMINGS = {
    b"sse": Framing.SSE,
    b"json": Framing.JSON_ARRAY,
    b"json;enum-encoding=int": Framing.JSON_ARRAY,
}
_KEPT_QUERIES = frozenset({"", "alt=sse", "alt=json"})
KNOWN_TARGETS = 1000
UNARY_ACTION = "generateContent"
STREAM_ACTION = "streamGenerateContent"


def query_of(target: str) -> str:
    """The undecoded query of a raw request target, without its question mark."""
    return target.partition("?")[2]


_known: dict[str, Route] = {}


def parse(target: str) -> tuple[Route, GatewayError | None]:
    """What a raw request target (path and query, undecoded) asks for.

    The route is always usable for framing an error. The error, where there is one, is told only to a good
    credential, and comes in the contract's order: path, action, model, alt.
    """
    if route := _known.get(target):
        return route, None
    route, error = _parse(target)
    # Most requests have one of a few targets. What may hold a credential is not kept.
    if error is None and target.partition("?")[2] in _KEPT_QUERIES:
        if len(_known) >= KNOWN_TARGETS:
            _known.clear()
        _known[target] = route
    return route, error


def _parse(target: str) -> tuple[Route, GatewayError | None]:
    # One doubled slash in all is forgiven, at the places where a client's base URL can end.
    if not (match := _TARGET.fullmatch(target)) or match[1].count("//") > 1:
        return Route(), GatewayError(NOT_FOUND)
    _, version, segment, query = match.groups(default="")
    parts = _SEGMENT.fullmatch(segment.replace("%3A", ":").replace("%3a", ":"))
    if not parts:
        return Route(), GatewayError(MODEL_PATH_INVALID)
    name, action = parts.groups()
    framing, forwarded, alt_error = _read_alt(query) if query else (None, "", None)
    if action == UNARY_ACTION:
        framing = Framing.UNARY
    elif action == STREAM_ACTION:
        framing = framing or Framing.JSON_ARRAY
    else:
        return Route(), GatewayError(ACTION_UNSUPPORTED, {"action": printable(action)})
    model, model_error = _read_model(name)
    return Route(version, model, action, framing, forwarded), model_error or alt_error


def _decode(text: str) -> bytes:
    """Percent-decoded once; bytes that are no UTF-8 come through as they were."""
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))


def _read_model(name: str) -> tuple[str, GatewayError | None]:
    decoded = _decode(name)
    if not _MODEL.fullmatch(decoded) or _BROKEN_ESCAPE.search(name):
        return "", GatewayError(MODEL_INVALID, {"model": printable(name)})
    return decoded.decode("ascii"), None


def _read_alt(query: str) -> tuple[Framing | None, str, GatewayError | None]:
    """The framing that `alt` or `$alt` asks for, and that part of the query as the client wrote it."""
    found = [
        (field, _decode(value))
        for field in query.split("&")
        for key, _, value in (field.partition("="),)
        if _decode(key) in _ALT_KEYS
    ]
    if not found:
        return None, "", None
    field, value = found[0]
    framing = _ALT_FRAMINGS.get(value)
    if framing is None or len(found) > 1:
        quoted = printable(value.decode("latin-1"))
        return framing, "", GatewayError(ALT_UNSUPPORTED, {"alt": quoted})
    return framing, field, None


def error_object(refusal: Refusal, metadata: dict[str, str], request_id: str) -> bytes:
    """The error as one JSON object that Google's and OpenAI's SDKs both understand."""
    details: list[dict[str, object]] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": refusal.reason,
            "domain": "gateway",
            "metadata": {**metadata, "requestId": request_id},
        }
    ]
    error = {
        "code": refusal.http,
        "message": refusal.message,
        "status": refusal.status,
        "details": details,
    }
    if refusal.http != 429:
        return msgspec.json.encode({"error": error})
    # The shape that is documented for a quota's block, beside Google's own.
    if quota_id := metadata.get("quotaId"):
        quota_failure: dict[str, object] = {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaId": quota_id}],
        }
        details.append(quota_failure)
    wait = dict(refusal.headers).get("Retry-After")
    if wait is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait}s"})
    return msgspec.json.encode({"error_code": refusal.reason, "message": refusal.message, "error": error})


def error_body(error: GatewayError, framing: Framing, request_id: str) -> bytes:
    """The body of a refusal: that object, in a one-element array where the answer would be an array."""
    body = error_object(error.refusal, error.metadata, request_id)
    return b"[" + body + b"]" if framing is Framing.JSON_ARRAY else body


def error_event(refusal: Refusal, request_id: str) -> bytes:
    """The one event that tells a broken stream's reason, for a body that stands at an event boundary."""
    return b"data: " + error_object(refusal, {}, request_id) + b"\r\n\r\n"
