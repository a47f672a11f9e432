"""Undoes the compression of a body, piece by piece, never making much of it at once."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PIECE_BYTES = 64 * 1024
"""The most that is handed on at once, however much a few bytes inflate to."""

_INPUT_BYTES = 16 * 1024  # zlib copies what it leaves unread of its input, each time
_GZIP = 16 + zlib.MAX_WBITS


class Inflate:
    """A decompressor of `gzip` (of any number of members) or `deflate` (with or without the zlib header)."""

    __slots__ = ("_coding", "_zlib")

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._zlib: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the next bytes inflate to. Raises `zlib.error` on damaged ones, and is useless after."""
        for start in range(0, len(data), _INPUT_BYTES):
            unread = data[start : start + _INPUT_BYTES]
            while True:
                if self._zlib is None:
                    self._zlib = zlib.decompressobj(self._window(unread[0]))
                inflated = self._zlib.decompress(unread, PIECE_BYTES)
                if inflated:
                    yield inflated
                if self._zlib.eof:
                    unread = self._zlib.unused_data
                    self._zlib = None
                    if not unread:
                        break
                else:
                    unread = self._zlib.unconsumed_tail
                    if not unread and len(inflated) < PIECE_BYTES:
                        break

    def _window(self, first_byte: int) -> int:
        if self._coding == "gzip":
            return _GZIP
        # RFC 9110 means the zlib format; some send the bare stream. In a zlib header the low half is 8, which
        # in a bare stream would be an uncompressed block with its padding set.
        return zlib.MAX_WBITS if first_byte & 0x0F == 8 else -zlib.MAX_WBITS
