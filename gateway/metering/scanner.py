"""Reads responses out of JSON that comes in pieces, of any length and depth, and keeps nothing else of it.

The exact, general way, and the only one for a document that is too long to wait for. It walks the response
object by its own keys; what stands under other keys is passed over. What it finds goes into the `Response`
that decoding makes too, so that both ways mean the same. Of a key given twice the last counts.
"""

from __future__ import annotations

from enum import Enum, auto

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import fields

from gateway.metering.findings import VERSION_CHARACTERS, Findings
from gateway.metering.lexer import TOKEN_BYTES, Lexer
from gateway.metering.response import (
    Candidate,
    PromptFeedback,
    Response,
    UsageMetadata,
    count,
    decode,
    is_reason,
)

# Every key and version that is wanted comes whole, were it spelled in \u escapes throughout.
assert TOKEN_BYTES >= 6 * VERSION_CHARACTERS


class _Place(Enum):
    """The object or array that the walk is in; what is passed over is no place."""

    DOCUMENT = auto()
    RESPONSES = auto()
    RESPONSE = auto()
    USAGE = auto()
    CANDIDATES = auto()
    CANDIDATE = auto()
    FEEDBACK = auto()


class _Expect(Enum):
    """What must come next; an object or array may end instead of a KEY, COMMA, or a VALUE of an array."""

    KEY = auto()
    COLON = auto()
    VALUE = auto()
    COMMA = auto()


# Which opening bracket, under which key (none in an array), leads from a place into another.
_WAYS = {
    (_Place.DOCUMENT, b"", b"{"): _Place.RESPONSE,
    (_Place.DOCUMENT, b"", b"["): _Place.RESPONSES,
    (_Place.RESPONSES, b"", b"{"): _Place.RESPONSE,
    (_Place.RESPONSE, b"usageMetadata", b"{"): _Place.USAGE,
    (_Place.RESPONSE, b"candidates", b"["): _Place.CANDIDATES,
    (_Place.RESPONSE, b"promptFeedback", b"{"): _Place.FEEDBACK,
    (_Place.CANDIDATES, b"", b"{"): _Place.CANDIDATE,
}


def _names(kind: type[Struct]) -> dict[bytes, str]:
    return {field.encode_name.encode("ascii"): field.name for field in fields(kind)}


_FIELDS: dict[_Place, dict[bytes, str]] = {
    _Place.DOCUMENT: {},
    _Place.RESPONSES: {},
    _Place.RESPONSE: _names(Response),
    _Place.USAGE: _names(UsageMetadata),
    _Place.CANDIDATES: {},
    _Place.CANDIDATE: _names(Candidate),
    _Place.FEEDBACK: _names(PromptFeedback),
}
_ARRAYS = frozenset({_Place.RESPONSES, _Place.CANDIDATES})
_OBJECTS = frozenset({_Place.RESPONSE, _Place.USAGE, _Place.CANDIDATE, _Place.FEEDBACK})


class Scanner:
    """Takes the pieces of a document, and tells `Findings` of each response."""

    __slots__ = (
        "_expect",
        "_filled",
        "_findings",
        "_key",
        "_lexer",
        "_places",
        "_response",
        "_tried",
        "_usage",
    )

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._lexer = Lexer(self)
        self._places = [_Place.DOCUMENT]
        self._expect = _Expect.VALUE
        self._key = b""
        self._response = Response()
        self._usage = UsageMetadata()
        self._filled: Struct = self._response
        """What the values of the current place belong to."""
        self._tried = False

    def feed(self, piece: bytes) -> None:
        """Take the next piece, cut anywhere."""
        self._tried = False
        self._lexer.feed(piece)

    def end(self) -> None:
        """Nothing more comes. Of a response that was cut, what came whole counts."""
        self._findings.take([self._response])
        self._lexer.stop()

    # The lexer's listener

    def mark(self, mark: bytes, piece: bytes, at: int) -> int:
        """See `Listener`."""
        place = self._places[-1]
        expect = self._expect
        if mark in b"{[" and expect is _Expect.VALUE:
            return self._open(mark, piece, at)
        if mark == b"," and expect is _Expect.COMMA:
            self._expect = _Expect.KEY if place in _OBJECTS else _Expect.VALUE
        elif mark == b":" and expect is _Expect.COLON:
            self._expect = _Expect.VALUE
        elif (mark == b"}" and place in _OBJECTS and expect in (_Expect.KEY, _Expect.COMMA)) or (
            mark == b"]" and place in _ARRAYS and expect in (_Expect.VALUE, _Expect.COMMA)
        ):
            self._leave()
        else:
            self._lexer.stop()
        return at + 1

    def string(self, content: bytes) -> None:
        """See `Listener`."""
        if self._expect is _Expect.KEY:
            self._key = (_text(content) or "").encode() if b"\\" in content else content
            self._expect = _Expect.COLON
        else:
            self.scalar(b'"%b"' % content)

    def scalar(self, spelled: bytes) -> None:
        """See `Listener`."""
        if self._expect is _Expect.VALUE and self._places[-1] is not _Place.DOCUMENT:
            self._value(spelled)
        else:  # where a document should be, it is the start of an HTML page or the like
            self._lexer.stop()

    def _open(self, mark: bytes, piece: bytes, at: int) -> int:
        place = self._places[-1]
        way = _WAYS.get((place, self._key, mark))
        if way is None:
            self._value(mark)
            self._lexer.skip()
            return at + 1
        if place is _Place.RESPONSES and not self._tried:
            end = self._whole_responses(piece, at)
            if end:
                return end
        self._enter(way)
        return at + 1

    def _whole_responses(self, piece: bytes, at: int) -> int:
        """Decode the responses of an array that stand whole in this piece; where they end, or 0.

        Mostly they stand so: Google flushes one by one. Tried once a piece, for in vain it costs no less.
        """
        self._tried = True
        end = piece.rfind(b"}", at) + 1
        responses = decode(b"[%b]" % piece[at:end]) if end else None
        if responses is None:
            return 0
        self._findings.take(responses)
        self._expect = _Expect.COMMA
        return end

    def _enter(self, place: _Place) -> None:
        self._places.append(place)
        self._expect = _Expect.VALUE if place in _ARRAYS else _Expect.KEY
        self._key = b""
        response = self._response
        match place:
            case _Place.USAGE:
                self._filled = self._usage = UsageMetadata()
            case _Place.CANDIDATES:
                response.candidates = []
            case _Place.CANDIDATE:
                # However many there are, one that is finished is all that matters of those before.
                known = [one for one in response.candidates or () if one.finish_reason]
                candidate = Candidate()
                response.candidates = [*known[:1], candidate]
                self._filled = candidate
            case _Place.FEEDBACK:
                self._filled = response.prompt_feedback = PromptFeedback()

    def _leave(self) -> None:
        left = self._places.pop()
        if left is _Place.RESPONSE:
            self._findings.take([self._response])
            self._response = Response()
        elif left is _Place.USAGE:
            self._response.usage_metadata = self._usage
        self._filled = self._response
        self._value_is_over()

    def _value(self, spelled: bytes) -> None:
        """Note a value that is not walked into: a string, a scalar, or the bracket that it begins with."""
        field = _FIELDS[self._places[-1]].get(self._key)
        if field in ("usage_metadata", "candidates", "prompt_feedback"):
            setattr(self._filled, field, None)
        elif field == "model_version":
            self._response.model_version = _text(spelled[1:-1]) if spelled.startswith(b'"') else None
        elif self._filled is self._usage and field is not None:
            setattr(self._usage, field, count(spelled))
        elif field == "error":
            self._response.error = Raw(spelled)
        elif field is not None:
            setattr(self._filled, field, int(is_reason(spelled)))
        self._value_is_over()

    def _value_is_over(self) -> None:
        self._key = b""
        self._expect = _Expect.VALUE if self._places[-1] is _Place.DOCUMENT else _Expect.COMMA


def _text(content: bytes) -> str | None:
    """What a string says, from between its quotes; None if it is too long to be wanted, or broken."""
    if len(content) > TOKEN_BYTES:
        return None
    try:
        return msgspec.json.decode(b'"%b"' % content, type=str)
    except ValueError:
        return None
