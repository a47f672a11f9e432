"""What an upstream's error answer is about: the gateway's own key, or the client's request. Pure.

Source: Google's error bodies (`{"error": {"message", "status", "details": [...]}}`, or a one-element array
of it), and those of other gateways.
"""

from __future__ import annotations

import math
import re
import zlib
from typing import Any

import msgspec

from gateway.upstreams.response_head import ResponseHead

EXAMINED_STATUSES = frozenset({400, 401, 403, 429})
"""The statuses whose body has to be known before its head can go to the client."""
EXAMINED_BYTES = 64 * 1024
"""How much of such a body is gathered; what is longer passes as it is."""


class HeldAnswer:
    """An answer that is held back until it is known whose error it tells."""

    def __init__(self, head: ResponseHead) -> None:
        self.head = head
        self.body = b""

    def add(self, body: bytes, *, whole: bool) -> bool:
        """More of its body has come: whether enough of it is here now."""
        self.body += body
        return whole or len(self.body) > EXAMINED_BYTES

    def refuses_the_key(self) -> bool:
        """Whether it is about the gateway's own key, so that it must never reach the client."""
        return refuses_the_key(self.head.status, self._readable())

    def add_retry_after(self) -> None:
        """Say in a header when a 429 says in its body alone when to come again."""
        if self.head.status == 429 and not self.head.has_retry_after:
            delay = retry_delay(self._readable())
            if delay is not None:
                self.head.lines.append(b"Retry-After: %d" % delay)

    def _readable(self) -> bytes:
        return decoded(self.body, self.head.content_encoding)


_KEY_REASONS = re.compile(
    r"API_KEY_.*|CONSUMER_.*|SERVICE_DISABLED|ACCESS_TOKEN_.*|CREDENTIAL_(?:INVALID|SCOPE|BRANCH)"
)
_KEY_MESSAGE = re.compile(r"\bapi[ _-]?key\b", re.IGNORECASE)
_DELAY = re.compile(r"([0-9]{1,9})(\.[0-9]{1,9})?s")


def refuses_the_key(status: int, body: bytes) -> bool:
    """Whether an error answer refuses the gateway's own key, which must never reach the client."""
    if status == 401:
        return True
    if status not in (400, 403):
        return False
    error = _error(body)
    reasons = [detail.get("reason") for detail in _details(error)]
    if any(isinstance(reason, str) and _KEY_REASONS.fullmatch(reason) for reason in reasons):
        return True
    message = error.get("message")
    return status == 403 and isinstance(message, str) and bool(_KEY_MESSAGE.search(message))


def retry_delay(body: bytes) -> int | None:
    """The whole seconds, rounded up, of a 429's `google.rpc.RetryInfo`; None where it has none."""
    for detail in _details(_error(body)):
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and _DELAY.fullmatch(delay):
            return math.ceil(float(delay[:-1]))
    return None


def decoded(body: bytes, content_encoding: bytes) -> bytes:
    """A readable copy of a gathered error body; nothing where it can't be read."""
    coding = content_encoding.strip().lower()
    if coding in (b"", b"identity"):
        return body
    if coding not in (b"gzip", b"deflate"):
        return b""
    try:
        return zlib.decompressobj(wbits=47).decompress(body, EXAMINED_BYTES)
    except zlib.error:
        return b""


def _error(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if isinstance(document, list) and document:
        document = document[0]
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _details(error: dict[str, Any]) -> list[dict[str, Any]]:
    details = error.get("details")
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
