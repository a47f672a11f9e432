"""An answer that is held back until it is known whose error it tells."""

from __future__ import annotations

import zlib

from gateway.upstreams.response_head import ResponseHead

EXAMINED_STATUSES = frozenset({400, 401, 403, 429})
"""The statuses whose body has to be known before its head can go to the client."""
EXAMINED_BYTES = 64 * 1024
"""How much of such a body is gathered; what is longer passes as it is."""


class HeldAnswer:
    """A head, and what of its body has come."""

    def __init__(self, head: ResponseHead) -> None:
        self.head = head
        self.body = b""

    def add(self, body: bytes, *, whole: bool) -> bool:
        """More of its body has come: whether enough of it is here now."""
        self.body += body
        return whole or len(self.body) > EXAMINED_BYTES

    def readable(self) -> bytes:
        """A copy of the body that can be read; nothing where there is none."""
        coding = self.head.content_encoding.strip().lower()
        if coding in (b"", b"identity"):
            return self.body
        if coding not in (b"gzip", b"deflate"):
            return b""
        try:
            return zlib.decompressobj(wbits=47).decompress(self.body, EXAMINED_BYTES)
        except zlib.error:
            return b""
