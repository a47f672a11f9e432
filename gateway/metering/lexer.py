"""Cuts JSON that comes in pieces into tokens, and passes over what nobody wants, keeping nothing of it."""

from __future__ import annotations

import re
from typing import Protocol

TOKEN_BYTES = 768
"""What is kept of a string or scalar: one that is longer is handed over cut, one byte longer than this."""

_TOKEN = re.compile(rb'[ \t\r\n]*+(?:([{}\[\],:])|"([^"]*+)("?)|([^ \t\r\n{}\[\],:"]++))')
_SCALAR = re.compile(rb'[^ \t\r\n{}\[\],:"]*+')
# Groups are not possessive, for Python's `re` before 3.11.5 gets those wrong (gh-106052). They are matched a
# limited number of times, so that little is kept for going back, which nothing here needs.
_PASSED_OVER = re.compile(
    rb'(?:[^"{}\[\]]++'  # scalars, commas, colons, white space
    rb'|"[^"]*+"'
    rb'|[{\[](?:[^"{}\[\]]++|"[^"]*+"){0,64}[}\]]){0,64}'  # an object or array without another one in it
)


class Listener(Protocol):
    """Is told of each token; keys are strings like others."""

    def mark(self, mark: bytes, piece: bytes, at: int) -> int:
        """One of `{}[],:`, at `piece[at]`. Returns where to go on."""

    def string(self, content: bytes) -> None:
        r"""What stands between the quotes, still escaped; `\\` and `\"` are spelled in their \u form."""

    def scalar(self, spelled: bytes) -> None:
        """A number, `true`, `false`, `null`, or what stands in their place."""


class Lexer:
    """Takes pieces of any length, cut anywhere."""

    __slots__ = ("_depth", "_half_escape", "_in_scalar", "_in_string", "_listener", "_stopped", "_token")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._depth = 0
        """How deep inside the value that is passed over; 0 when none is."""
        self._in_string = False
        self._in_scalar = False
        self._token = b""
        """The beginning of the string or scalar under way."""
        self._half_escape = False
        """The last piece ended with the backslash of an escape."""
        self._stopped = False

    def skip(self, levels: int = 1) -> None:
        """Called from `mark` at an opening bracket: pass over everything up to the one that closes it.

        With more levels: to the one that closes what it is in.
        """
        self._depth = levels

    def stop(self) -> None:
        """Called from any token: what came is no JSON, so nothing that follows can be trusted."""
        self._stopped = True

    def feed(self, piece: bytes) -> None:
        """Take the next piece."""
        if self._half_escape or b"\\" in piece:
            piece = self._respell(piece)
        at = 0
        size = len(piece)
        while at < size and not self._stopped:
            if self._in_string:
                at = self._string(piece, at)
            elif self._depth:
                at = self._pass_over(piece, at)
            elif self._in_scalar:
                at = self._scalar(piece, at)
            else:
                at = self._next(piece, at)

    def _respell(self, piece: bytes) -> bytes:
        # Afterwards every quote opens or closes a string, and every backslash escapes what follows it.
        if self._half_escape:
            piece = b"\\" + piece
        piece = piece.replace(b"\\\\", rb"\u005c").replace(b'\\"', rb"\u0022")
        self._half_escape = piece.endswith(b"\\")
        return piece[:-1] if self._half_escape else piece

    def _next(self, piece: bytes, at: int) -> int:
        match = _TOKEN.match(piece, at)
        if match is None:  # only white space is left
            return len(piece)
        mark, string, quote, _ = match.groups()
        if mark is not None:
            return self._listener.mark(mark, piece, match.end() - 1)
        if quote:
            self._listener.string(string[: TOKEN_BYTES + 1])
        elif string is not None:
            self._token = string[: TOKEN_BYTES + 1]
            self._in_string = True
        else:
            self._token = b""
            self._in_scalar = True  # it may go on in the next piece
            return self._scalar(piece, match.start(4))
        return match.end()

    def _string(self, piece: bytes, at: int) -> int:
        quote = piece.find(b'"', at)
        end = quote if quote >= 0 else len(piece)
        if not self._depth:
            self._keep(piece, at, end)
        if quote < 0:
            return end
        self._in_string = False
        if not self._depth:
            self._listener.string(self._token)
        return quote + 1

    def _scalar(self, piece: bytes, at: int) -> int:
        match = _SCALAR.match(piece, at)
        end = match.end() if match else at
        self._keep(piece, at, end)
        if end < len(piece):
            self._in_scalar = False
            self._listener.scalar(self._token)
        return end

    def _pass_over(self, piece: bytes, at: int) -> int:
        depth = self._depth
        while depth:
            while (match := _PASSED_OVER.match(piece, at)) and match.end() > at:
                at = match.end()
            mark = piece[at : at + 1]
            at += 1
            if mark in (b"{", b"["):
                depth += 1
            elif mark in (b"}", b"]"):
                depth -= 1
            else:  # the piece is over, maybe within a string
                self._in_string = mark == b'"'
                break
        self._depth = depth
        return at

    def _keep(self, piece: bytes, start: int, end: int) -> None:
        room = TOKEN_BYTES + 1 - len(self._token)
        self._token += piece[start : min(end, start + room)]
