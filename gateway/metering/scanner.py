"""Reads responses out of JSON that comes in pieces, of any length and depth, and keeps nothing else of it.

The exact, general way, and the only one for a document that is too long to wait for. It walks the response
object by its own keys; what stands under other keys is passed over. What it finds goes into the `Response`
that decoding makes too, so that both ways mean the same. Of a key given twice the last counts.
"""

from __future__ import annotations

from enum import Enum, auto

from msgspec import Raw, Struct

from gateway.metering.findings import VERSION_CHARACTERS, Findings, grounding_features
from gateway.metering.lexer import TOKEN_BYTES, Lexer
from gateway.metering.places import ARRAYS, FIELDS, MEANINGS, OBJECTS, WAYS, Place
from gateway.metering.response import (
    KEPT_MODALITIES,
    Candidate,
    GroundingChunk,
    GroundingMetadata,
    ModalityCount,
    PromptFeedback,
    Response,
    UsageMetadata,
    decode,
    encode_metadata,
)
from gateway.metering.spelled import text

# Every key and version that is wanted comes whole, were it spelled in \u escapes throughout.
assert TOKEN_BYTES >= 6 * VERSION_CHARACTERS


class _Expect(Enum):
    """What must come next; an object or array may end instead of a KEY, COMMA, or a VALUE of an array."""

    KEY = auto()
    COLON = auto()
    VALUE = auto()
    COMMA = auto()


class Scanner:
    """Takes the pieces of a document, and tells `Findings` of each response."""

    __slots__ = (
        "_chunk",
        "_expect",
        "_features",
        "_filled",
        "_findings",
        "_grounding",
        "_key",
        "_lexer",
        "_modalities",
        "_places",
        "_queries",
        "_response",
        "_tried",
        "_usage",
    )

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._lexer = Lexer(self)
        self._places = [Place.DOCUMENT]
        self._expect = _Expect.VALUE
        self._key = b""
        self._response = Response()
        self._filled: list[Struct] = [self._response]
        """What the values of each of the places belong to."""
        self._usage = UsageMetadata()
        self._modalities: list[ModalityCount] = []
        self._grounding = GroundingMetadata()
        self._queries = ""
        """The field of the queries that the walk is in."""
        self._chunk = GroundingChunk()
        self._features: frozenset[str] = frozenset()
        """What was used for the candidates that the walk has left."""
        self._tried = False

    def feed(self, piece: bytes) -> None:
        """Take the next piece, cut anywhere."""
        self._tried = False
        self._lexer.feed(piece)

    def end(self) -> None:
        """Nothing more comes. Of a response that was cut, what came whole counts."""
        self._tell()
        self._lexer.stop()

    # The lexer's listener

    def mark(self, mark: bytes, piece: bytes, at: int) -> int:
        """See `Listener`."""
        place = self._places[-1]
        expect = self._expect
        if mark in b"{[" and expect is _Expect.VALUE:
            return self._open(mark, piece, at)
        if mark == b"," and expect is _Expect.COMMA:
            self._expect = _Expect.KEY if place in OBJECTS else _Expect.VALUE
        elif mark == b":" and expect is _Expect.COLON:
            self._expect = _Expect.VALUE
        elif (mark == b"}" and place in OBJECTS and expect in (_Expect.KEY, _Expect.COMMA)) or (
            mark == b"]" and place in ARRAYS and expect in (_Expect.VALUE, _Expect.COMMA)
        ):
            self._leave()
        else:
            self._lexer.stop()
        return at + 1

    def string(self, content: bytes) -> None:
        """See `Listener`."""
        if self._expect is _Expect.KEY:
            self._key = (text(b'"%b"' % content) or "").encode() if b"\\" in content else content
            self._expect = _Expect.COLON
        else:
            self.scalar(b'"%b"' % content)

    def scalar(self, spelled: bytes) -> None:
        """See `Listener`."""
        if self._expect is _Expect.VALUE and self._places[-1] is not Place.DOCUMENT:
            self._value(spelled)
        else:  # where a document should be, it is the start of an HTML page or the like
            self._lexer.stop()

    def _open(self, mark: bytes, piece: bytes, at: int) -> int:
        place = self._places[-1]
        way = WAYS.get((place, self._key, mark))
        if way is None:
            self._value(mark)
            self._lexer.skip()
        elif way is Place.MODALITY and len(self._modalities) == KEPT_MODALITIES:
            self._leave()
            self._lexer.skip(levels=2)
        else:
            if place is Place.RESPONSES and not self._tried:
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
        if responses is None or not self._findings.take(responses):
            return 0
        self._expect = _Expect.COMMA
        return end

    def _enter(self, place: Place) -> None:
        field = FIELDS.get(self._places[-1], {}).get(self._key, "")
        filled = self._filled[-1]
        match place:
            case Place.RESPONSE:
                filled = self._response
            case Place.USAGE:
                filled = self._usage = UsageMetadata()
            case Place.MODALITIES:
                self._modalities = []
                setattr(filled, field, self._modalities)
            case Place.MODALITY:
                filled = ModalityCount()
                self._modalities.append(filled)
            case Place.CANDIDATES:
                self._response.candidates = []
                self._features = frozenset()
            case Place.CANDIDATE:
                filled = self._next_candidate()
            case Place.GROUNDING:
                filled = self._grounding = GroundingMetadata()
                setattr(self._filled[-1], field, filled)
            case Place.QUERIES:
                self._queries = field
                setattr(filled, field, Raw(b"[]"))
            case Place.CHUNKS:
                self._grounding.grounding_chunks = [GroundingChunk()]
            case Place.CHUNK:
                filled = self._chunk = GroundingChunk()
            case Place.FEEDBACK:
                filled = self._response.prompt_feedback = PromptFeedback()
        self._places.append(place)
        self._filled.append(filled)
        self._expect = _Expect.VALUE if place in ARRAYS else _Expect.KEY
        self._key = b""

    def _next_candidate(self) -> Candidate:
        """However many there are, of those before one that is finished is kept."""
        known = [one for one in self._response.candidates or () if one.finish_reason]
        candidate = Candidate()
        self._response.candidates = [*known[:1], candidate]
        return candidate

    def _leave(self) -> None:
        left = self._places.pop()
        filled = self._filled.pop()
        match left:
            case Place.RESPONSE:
                self._tell()
            case Place.USAGE:
                self._response.usage_metadata = Raw(encode_metadata(self._usage))
            case Place.CANDIDATE:
                assert isinstance(filled, Candidate)
                if filled.grounding_metadata is not None:
                    self._features |= grounding_features(filled.grounding_metadata)
            case Place.CHUNK:
                self._note_chunk()
        self._value_is_over()

    def _note_chunk(self) -> None:
        """However many there are, one stands for all."""
        known = (self._grounding.grounding_chunks or [GroundingChunk()])[0]
        for field in FIELDS[Place.CHUNK].values():
            if bytes(getattr(self._chunk, field)) == b"{":
                setattr(known, field, getattr(self._chunk, field))

    def _tell(self) -> None:
        self._findings.take([self._response])
        self._findings.features |= self._features
        self._response = Response()
        self._features = frozenset()

    def _value(self, spelled: bytes) -> None:
        """Note a value that is not walked into: a string, a scalar, or the bracket that it begins with."""
        place = self._places[-1]
        filled = self._filled[-1]
        if place is Place.QUERIES:
            setattr(filled, self._queries, Raw(b"[0]"))
        else:
            field = FIELDS.get(place, {}).get(self._key)
            if field is not None:
                setattr(filled, field, MEANINGS[field](spelled))
            if field == "candidates":
                self._features = frozenset()
        self._value_is_over()

    def _value_is_over(self) -> None:
        self._key = b""
        self._expect = _Expect.VALUE if self._places[-1] is Place.DOCUMENT else _Expect.COMMA
