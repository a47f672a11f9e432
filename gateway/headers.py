"""Which headers cross the gateway, in which form. Pure: raw header lists in, wire bytes out.

Request headers go on by an allowlist, so that no cookie, no mesh header and no second credential leaves the
house. Response headers all pass but those of the connection, of the upstream's own house, and the labels
that only the gateway may set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

RawHeaders = Sequence[tuple[bytes, bytes]]

_REQUEST_ALLOWED = frozenset(
    {b"content-type", b"content-encoding", b"accept", b"user-agent", b"x-goog-api-client"}
)
_RESPONSE_DROPPED = frozenset(
    {
        # of this connection only
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        # of the upstream's house
        b"set-cookie",
        b"server",
        b"alt-svc",
        # written anew
        b"content-length",
        b"x-request-id",
        b"x-client-request-id",
        b"x-upstream-request-id",
    }
)
_READABLE_ENCODINGS = frozenset({b"gzip", b"deflate", b"identity"})
_SECONDS = re.compile(rb"[0-9]{1,9}(?:\.[0-9]{1,9})?")


def request_lines(
    raw: RawHeaders, extra: frozenset[bytes], *, renamed: bool, longest_timeout: float
) -> list[bytes]:
    """The client's headers that go upstream, each as `name: value` without its line end.

    extra: lower-case names that the operator adds. renamed: the upstream knows the model by another name, so
    a header that repeats the client's name for it is dropped. longest_timeout: seconds; what an
    `x-server-timeout` is cut down to.
    """
    lines = []
    encodings = b""
    for name, value in raw:
        lower = name.lower()
        if lower in _REQUEST_ALLOWED or lower in extra:
            lines.append(b"%b: %b" % (name, value))
        elif lower == b"accept-encoding":
            encodings = encodings + b"," + value if encodings else value
        elif lower == b"x-server-timeout":
            if _SECONDS.fullmatch(value):
                lines.append(
                    b"%b: %b" % (name, value if float(value) <= longest_timeout else b"%d" % longest_timeout)
                )
        elif lower == b"x-goog-request-params" and not renamed:
            lines.append(b"%b: %b" % (name, value))
    lines.append(b"Accept-Encoding: " + _readable(encodings))
    return lines


@lru_cache(maxsize=64)
def _readable(accept_encoding: bytes) -> bytes:
    """An Accept-Encoding value cut down to the codings that the usage reader can read."""
    kept = [
        coding.strip()
        for coding in accept_encoding.lower().split(b",")
        if coding.partition(b";")[0].strip() in _READABLE_ENCODINGS
    ]
    return b", ".join(kept) or b"identity"


def response_lines(raw: RawHeaders) -> list[bytes]:
    """The upstream's headers that go to the client, each as `name: value` without its line end."""
    lines = []
    named_hop_by_hop: list[bytes] = []
    for header in raw:
        if _passes(header[0]):
            lines.append(b"%b: %b" % header)
        elif header[0].lower() == b"connection" and header[1].lower() not in (b"close", b"keep-alive"):
            named_hop_by_hop += [token.strip().lower() for token in header[1].split(b",")]
    if named_hop_by_hop:
        lines = [line for line in lines if line.partition(b":")[0].lower() not in named_hop_by_hop]
    return lines


@lru_cache(maxsize=1024)
def _passes(name: bytes) -> bool:
    lower = name.lower()
    return lower not in _RESPONSE_DROPPED and not lower.startswith(b"x-gateway-")
