"""A response's head, read once: what of it goes to the client, and what the gateway itself needs to know.

All headers pass but those of the connection, of the upstream's own house, those that are written anew, and
the labels that only the gateway may set. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

_PASSES, _DROPPED, _CONTENT_LENGTH, _TRANSFER_ENCODING, _CONNECTION = range(5)
_CONTENT_TYPE, _CONTENT_ENCODING, _REQUEST_ID, _RETRY_AFTER, _RATE_LIMIT = range(5, 10)

_LENGTH_DIGITS = 19
_FATES = {
    # of this connection only
    b"connection": _CONNECTION,
    b"keep-alive": _DROPPED,
    b"proxy-authenticate": _DROPPED,
    b"proxy-connection": _DROPPED,
    b"te": _DROPPED,
    b"trailer": _DROPPED,
    b"transfer-encoding": _TRANSFER_ENCODING,
    b"upgrade": _DROPPED,
    # of the upstream's house
    b"set-cookie": _DROPPED,
    b"server": _DROPPED,
    b"alt-svc": _DROPPED,
    # written anew
    b"content-length": _CONTENT_LENGTH,
    b"x-request-id": _REQUEST_ID,
    b"x-client-request-id": _DROPPED,
    b"x-upstream-request-id": _DROPPED,
    # passed on, and looked at
    b"content-type": _CONTENT_TYPE,
    b"content-encoding": _CONTENT_ENCODING,
    b"retry-after": _RETRY_AFTER,
}


class ResponseHead:
    """Status line and headers of a response. Raises ValueError for what can't be passed on."""

    __slots__ = (
        "chunked",
        "content_encoding",
        "content_length",
        "content_type",
        "has_rate_limits",
        "lines",
        "reason",
        "request_id",
        "retry_after",
        "status",
    )

    def __init__(self, status: int, reason: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.reason = reason
        self.lines: list[bytes] = []
        """What goes to the client: `name: value` as it came, without the line end."""
        self.content_length: bytes | None = None
        self.chunked = False
        # The first value of each; empty where there is none.
        self.content_type = self.content_encoding = self.request_id = self.retry_after = b""
        self.has_rate_limits = False
        """It tells of limits of its own."""
        named_hop_by_hop: list[bytes] = []
        lines = self.lines
        for name, value in headers:
            fate = _fate(name)
            if fate == _PASSES:
                lines.append(name + b": " + value)
            elif fate == _CONTENT_TYPE:
                self.content_type = self.content_type or value.lower()
                lines.append(name + b": " + value)
            elif fate == _CONTENT_LENGTH:
                if len(value) > _LENGTH_DIGITS:  # the parser takes the largest it can count to for none
                    raise ValueError("a length that no body has")
                self.content_length = value
            elif fate == _TRANSFER_ENCODING:
                if self.chunked or value.strip().lower() != b"chunked":
                    raise ValueError("a transfer coding that can't be passed on")
                self.chunked = True
            elif fate == _CONTENT_ENCODING:
                self.content_encoding = self.content_encoding or value.strip().lower()
                lines.append(name + b": " + value)
            elif fate == _RETRY_AFTER:
                self.retry_after = self.retry_after or value.strip()
                lines.append(name + b": " + value)
            elif fate == _RATE_LIMIT:
                self.has_rate_limits = True
                lines.append(name + b": " + value)
            elif fate == _REQUEST_ID:
                self.request_id = self.request_id or value
            elif fate == _CONNECTION and (tokens := value.lower()) not in (b"close", b"keep-alive"):
                named_hop_by_hop += [token.strip() for token in tokens.split(b",")]
        if named_hop_by_hop:
            self.lines = [line for line in lines if line.partition(b":")[0].lower() not in named_hop_by_hop]

    @property
    def has_body(self) -> bool:
        return self.status not in (204, 304)


@lru_cache(maxsize=1024)
def _fate(name: bytes) -> int:
    """What becomes of a header. Upstreams spell the same few names in the same way every time."""
    lower = name.lower()
    if lower.startswith(b"x-gateway-"):
        return _DROPPED
    return _RATE_LIMIT if lower.startswith(b"x-ratelimit-") else _FATES.get(lower, _PASSES)
