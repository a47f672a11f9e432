"""HTTP/1.1 as it stands on the wire: heads and bodies decoded strictly, for both ends of the tests.

Written for the tests alone, so that what the gateway sends is judged by other code than the gateway's own
parser. What RFC 9112 forbids a sender is a `WireError`: nothing is forgiven.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

Framing = Literal["length", "chunked", "close", "none"]
"""How a body ends: by its announced length, by the last chunk, by FIN; or there is none by definition."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\Z")
_REQUEST_LINE = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) (HTTP/1\.[01])\Z")
_STATUS_LINE = re.compile(r"(HTTP/1\.[01]) ([1-9][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)\Z")
_HEAD_LIMIT = 1 << 20


class WireError(ValueError):
    """Bytes that are not HTTP/1.1 as RFC 9112 lets a sender write it."""


@dataclass(frozen=True, slots=True)
class Head:
    """A start line and header fields in their order, names as they were written, text as latin-1."""

    start_line: str
    headers: list[tuple[str, str]]
    raw: bytes

    def all(self, name: str) -> list[str]:
        """Every value of that field, whatever the case of its name."""
        return values(self.headers, name)

    def request_line(self) -> tuple[str, str, str]:
        """Method, target, version. Raises `WireError`."""
        if not (match := _REQUEST_LINE.match(self.start_line)):
            raise WireError(f"not a request line: {self.start_line!r}")
        return match[1], match[2], match[3]

    def status_line(self) -> tuple[str, int, str]:
        """Version, status, reason. Raises `WireError`."""
        if not (match := _STATUS_LINE.match(self.start_line)):
            raise WireError(f"not a status line: {self.start_line!r}")
        return match[1], int(match[2]), match[3]

    def request_body(self) -> BodyReader:
        """The reader of the body that this request head announces. Raises `WireError`."""
        return self._announced_body() or BodyReader("none")

    def response_body(self, method: str) -> BodyReader:
        """The reader of the body that this response head, to a request of `method`, announces."""
        _, status, _ = self.status_line()
        announced = self._announced_body()
        if status < 200 or status in {204, 304} or method == "HEAD":
            return BodyReader("none")
        return announced or BodyReader("close")

    def _announced_body(self) -> BodyReader | None:
        lengths, codings = self.all("content-length"), self.all("transfer-encoding")
        if lengths and codings:
            raise WireError("both Content-Length and Transfer-Encoding")
        if codings:
            if [coding.lower() for coding in codings] != ["chunked"]:
                raise WireError(f"Transfer-Encoding {codings!r}")
            return BodyReader("chunked")
        if not lengths:
            return None
        if len(lengths) > 1 or not re.fullmatch(r"[0-9]{1,19}", lengths[0]):
            raise WireError(f"Content-Length {lengths!r}")
        return BodyReader("length", int(lengths[0]))


def values(headers: list[tuple[str, str]], name: str) -> list[str]:
    """Every value of the field `name`, whatever the case of its name."""
    return [value for key, value in headers if key.lower() == name.lower()]


def take_head(buffer: bytearray) -> Head | None:
    """Cuts one head off the front of `buffer`; None while it is not whole. Raises `WireError`."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > _HEAD_LIMIT:
            raise WireError("a head without end")
        return None
    raw = bytes(buffer[: end + 4])
    del buffer[: end + 4]
    start_line, *lines = raw[:-4].split(b"\r\n")
    if not _VALUE.match(start_line):
        raise WireError(f"control bytes in the start line {start_line!r}")
    return Head(start_line.decode("latin-1"), [_field(line) for line in lines], raw)


def _field(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.match(name) or not _VALUE.match(value):
        raise WireError(f"not a header field: {line!r}")
    return name.decode("ascii"), value.strip(b" \t").decode("latin-1")


@dataclass(slots=True)
class BodyReader:
    """Decodes one body, piece by piece; `data` is the decoded body so far, `raw` the bytes it came in."""

    framing: Framing
    length: int = 0
    data: bytearray = field(default_factory=bytearray)
    raw: bytearray = field(default_factory=bytearray)
    chunk_sizes: list[int] = field(default_factory=list)
    """Sizes of the chunks whose size line was read, the last, empty one included."""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    complete: bool = False
    _expects: Literal["size", "data", "end of data", "trailer"] = "size"
    _left: int = 0

    def __post_init__(self) -> None:
        self.complete = self.framing == "none" or (self.framing == "length" and not self.length)
        self._left = self.length

    def feed(self, buffer: bytearray) -> None:
        """Takes what belongs to this body off the front of `buffer`. Raises `WireError`."""
        if self.framing == "chunked":
            while not self.complete and self._chunk_step(buffer):
                pass
        elif self.framing == "close":
            self.data += self._take(buffer, len(buffer))
        elif self.framing == "length":
            self._take_data(buffer)
            self.complete = not self._left

    def end(self) -> None:
        """Tells of the peer's FIN, which completes a body that ends so."""
        self.complete = self.complete or self.framing == "close"

    def _chunk_step(self, buffer: bytearray) -> bool:
        """Takes the next element of the chunked coding; False while more bytes are needed."""
        if self._expects == "data":
            self._take_data(buffer)
            if self._left:
                return False
            self._expects = "end of data"
            return True
        line = self._take_line(buffer)
        if line is None:
            return False
        if self._expects == "end of data":
            if line:
                raise WireError(f"{line!r} after the data of a chunk")
            self._expects = "size"
        elif self._expects == "size":
            if not (match := _CHUNK_SIZE.match(line)):
                raise WireError(f"not a chunk size: {line!r}")
            self._left = int(match[1], 16)
            self.chunk_sizes.append(self._left)
            self._expects = "data" if self._left else "trailer"
        elif line:
            self.trailers.append(_field(line))
        else:
            self.complete = True
        return True

    def _take_data(self, buffer: bytearray) -> None:
        piece = self._take(buffer, self._left)
        self._left -= len(piece)
        self.data += piece

    def _take_line(self, buffer: bytearray) -> bytes | None:
        end = buffer.find(b"\r\n")
        if end < 0:
            if len(buffer) > _HEAD_LIMIT:
                raise WireError("a line without end in a chunked body")
            return None
        return self._take(buffer, end + 2)[:-2]

    def _take(self, buffer: bytearray, size: int) -> bytes:
        piece = bytes(buffer[:size])
        del buffer[:size]
        self.raw += piece
        return piece
