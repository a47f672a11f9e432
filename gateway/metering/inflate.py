"""Undoes the compression of a body, piece by piece, never making much of it at once."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

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

    def feed(self, data: bytes) -> Iterable[bytes]:
        """What the next bytes inflate to, made as it is asked for.

        Raises `zlib.error` on damaged bytes, here or as it is asked for, and is useless after.
        """
        if self._zlib is None or len(data) > _INPUT_BYTES:
            return self._inflate_all(data)
        inflated = self._zlib.decompress(data, PIECE_BYTES)
        if self._zlib.eof or len(inflated) == PIECE_BYTES:
            return chain((inflated,), self._inflate(self._unread(inflated)))
        return (inflated,) if inflated else ()  # mostly

    def _inflate_all(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _INPUT_BYTES):
            yield from self._inflate(data[start : start + _INPUT_BYTES])

    def _inflate(self, unread: bytes | None) -> Iterator[bytes]:
        while unread is not None:
            if self._zlib is None:
                self._zlib = zlib.decompressobj(self._window(unread[0]))
            inflated = self._zlib.decompress(unread, PIECE_BYTES)
            if inflated:
                yield inflated
            unread = self._unread(inflated)

    def _unread(self, inflated: bytes) -> bytes | None:
        """What of its input zlib has still to read, having made this of it; None when it is done with it."""
        assert self._zlib is not None
        if self._zlib.eof:
            unread = self._zlib.unused_data
            self._zlib = None
            return unread or None
        # Without any input left it may still have something to say, if that did not fit.
        return self._zlib.unconsumed_tail if len(inflated) == PIECE_BYTES else None

    def _window(self, first_byte: int) -> int:
        if self._coding == "gzip":
            return _GZIP
        # RFC 9110 means the zlib format; some send the bare stream. In a zlib header the low half is 8, which
        # in a bare stream would be an uncompressed block with its padding set.
        return zlib.MAX_WBITS if first_byte & 0x0F == 8 else -zlib.MAX_WBITS
