"""What bytes mean by RFC 9112, read once more and apart from the gateway: the fuzzer's yardstick.

Forgiven is only what no two readers understand differently: empty lines before a head, several spaces behind
a method, and a status line without its last space.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal

from tests.support.wire import BodyReader, Head, WireError, take_head

Ending = Literal["", "fin", "rst"]
"""How the sender ended its connection, if it did."""

_EXTENSION = re.compile(rb"(?:\A|\n)[0-9A-Fa-f]+[ \t]*;")
_SPACES = re.compile(" +")
_NO_REASON = re.compile(r"HTTP/1\.[01] [1-9][0-9][0-9]\Z")


@dataclass
class Response:
    """One answer of an upstream, as far as it was sent."""

    whole: bool = False
    doubtful: bool = False
    """It breaks the rules somewhere, or its last, unfinished line may: what came before that place may have
    been passed on."""
    head: Head | None = None
    """The final one."""
    status: int = 0
    reason: str = ""
    body: BodyReader = field(default_factory=lambda: BodyReader("none"))
    head_bytes: int = 0
    """Of all heads, interim ones included."""
    odd_interim: bool = False
    """A 1xx came in HTTP/1.0, which has none, or announced a body, which none has: whether what follows
    belongs to it is anybody's guess."""
    surplus: bool = False
    """Something stands behind the whole answer, other than line ends, which mean nothing."""

    @property
    def odd(self) -> bool:
        """See `_is_odd`."""
        return _is_odd(self.body)

    @property
    def data(self) -> bytes:
        """The body so far."""
        return bytes(self.body.data)

    def header(self, name: str) -> str:
        """The first value of that field, in lower case; empty where there is none."""
        values = self.head.all(name) if self.head else []
        return values[0].lower() if values else ""

    @property
    def connection_options(self) -> set[str]:
        """The tokens of its Connection header, in lower case."""
        values = self.head.all("connection") if self.head else []
        return {option.strip() for value in values for option in value.lower().split(",")}

    @property
    def keeps_connection(self) -> bool:
        """Whether another answer may follow on its connection."""
        if not self.whole or self.surplus or not self.head or self.body.framing == "close":
            return False
        options = self.connection_options
        http_1_1 = self.head.start_line.startswith("HTTP/1.1")
        return "close" not in options and (http_1_1 or "keep-alive" in options)


def response(sent: bytes, ended: Ending) -> Response:
    """What an upstream has answered with these bytes, and that end, to a POST."""
    found = Response()
    buffer = bytearray(sent)
    try:
        while found.head is None:
            head = _next_head(buffer)
            if head is None:
                return found
            found.head_bytes += len(head.raw)
            if _NO_REASON.match(head.start_line):
                head = replace(head, start_line=f"{head.start_line} ")
            _, status, reason = head.status_line()
            if status == 101:
                raise WireError("another protocol, which nobody asked for")
            if status < 200:
                found.odd_interim |= head.start_line.startswith("HTTP/1.0")
                found.odd_interim |= bool(head.all("content-length") or head.all("transfer-encoding"))
            else:
                found.body = head.response_body("POST")
                found.head, found.status, found.reason = head, status, reason
        found.body.feed(buffer)
    except WireError:
        found.doubtful = True
        return found
    if ended == "fin":
        found.body.end()
    found.whole = found.body.complete
    found.surplus = found.whole and bool(buffer.strip(b"\r\n"))
    found.doubtful = not found.whole and bool(buffer)
    return found


@dataclass
class Request:
    """One request of a client, as far as it was sent."""

    head: Head
    body: BodyReader
    broken: bool = False
    """What follows in its body breaks the rules."""

    @property
    def whole(self) -> bool:
        """Whether the end of its body was sent."""
        return self.body.complete and not self.broken

    @property
    def odd(self) -> bool:
        """See `_is_odd`."""
        return _is_odd(self.body)


@dataclass
class Requests:
    """All that a client sent on one connection."""

    all: list[Request] = field(default_factory=list)
    rest: bytes = b""
    """What is no request, or not yet one."""

    @property
    def broken(self) -> bool:
        """Whether not all of it is good requests, of which the last may lack its end."""
        return bool(self.rest) or any(one.broken for one in self.all)


def requests(sent: bytes) -> Requests:
    """What a client has asked with these bytes."""
    found = Requests()
    buffer = bytearray(sent)
    try:
        while buffer:
            found.rest = bytes(buffer)
            if (head := _next_head(buffer)) is None:
                break
            head = replace(head, start_line=_SPACES.sub(" ", head.start_line))
            head.request_line()
            request = Request(head, head.request_body())
            found.all.append(request)
            found.rest = b""
            try:
                request.body.feed(buffer)
            except WireError:
                request.broken = True
            if not request.whole:
                break
    except WireError:
        pass
    found.rest = found.rest.strip(b"\r\n")
    return found


def _is_odd(body: BodyReader) -> bool:
    """Whether a chunked body has extensions or trailers, in which a careful reader may find a fault."""
    return body.framing == "chunked" and bool(body.trailers or _EXTENSION.search(body.raw))


def _next_head(buffer: bytearray) -> Head | None:
    del buffer[: len(buffer) - len(buffer.lstrip(b"\r\n"))]
    return take_head(buffer)
