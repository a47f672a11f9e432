"""Which request headers go upstream, in which form. Pure: raw header lists in, wire bytes out.

An allowlist, so that no cookie, no mesh header and no second credential leaves the house. (Response headers
are the business of `upstreams.response_head`.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

RawHeaders = Sequence[tuple[bytes, bytes]]

_EXTRA, _PASSES, _ACCEPT_ENCODING, _SERVER_TIMEOUT, _REQUEST_PARAMS = range(5)
_FATES = {
    b"content-type": _PASSES,
    b"content-encoding": _PASSES,
    b"accept": _PASSES,
    b"user-agent": _PASSES,
    b"x-goog-api-client": _PASSES,
    b"accept-encoding": _ACCEPT_ENCODING,
    b"x-server-timeout": _SERVER_TIMEOUT,
    b"x-goog-request-params": _REQUEST_PARAMS,
}
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
        fate = _fate(name)
        if fate == _PASSES:
            lines.append(name + b": " + value)
        elif fate == _ACCEPT_ENCODING:
            encodings = encodings + b"," + value if encodings else value
        elif fate == _SERVER_TIMEOUT:
            if _SECONDS.fullmatch(value):
                capped = value if float(value) <= longest_timeout else b"%d" % longest_timeout
                lines.append(name + b": " + capped)
        elif fate == _REQUEST_PARAMS:
            if not renamed:
                lines.append(name + b": " + value)
        elif extra and name.lower() in extra:
            lines.append(name + b": " + value)
    lines.append(_accept_encoding(encodings))
    return lines


def server_timeout(fields: Mapping[bytes, bytes]) -> float | None:
    """For how many seconds the client lets the upstream work, by its `x-server-timeout`."""
    value = fields.get(b"x-server-timeout")
    return float(value) if value is not None and _SECONDS.fullmatch(value) else None


@lru_cache(maxsize=1024)
def _fate(name: bytes) -> int:
    return _FATES.get(name.lower(), _EXTRA)


@lru_cache(maxsize=64)
def _accept_encoding(given: bytes) -> bytes:
    """The line that asks for no coding but those that the usage reader can read."""
    kept = [
        coding.strip()
        for coding in given.lower().split(b",")
        if coding.partition(b";")[0].strip() in _READABLE_ENCODINGS
    ]
    return b"Accept-Encoding: " + (b", ".join(kept) or b"identity")
