"""One request as its client sent it: its head, read once, and what of its body has come."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.errors import Refusal

RawHeaders = list[tuple[bytes, bytes]]


class HttpRequest:
    """A request whose head is whole. `take_body` gives what has come of its body."""

    __slots__ = (
        "_body",
        "body_whole",
        "chunked",
        "content_length",
        "fault",
        "fields",
        "headers",
        "http_1_1",
        "http_version",
        "keep_alive",
        "method",
        "target",
    )

    def __init__(
        self, method: bytes, target: bytes, http_version: str, headers: RawHeaders, *, keep_alive: bool
    ) -> None:
        """keep_alive: by its version and its `Connection`, another request may follow it."""
        self.method = method.decode("ascii")
        self.target = target.decode("utf-8", "surrogateescape")
        """Path and query as they came, undecoded."""
        self.http_version = http_version
        """`1.1` or `1.0`; any other is refused."""
        self.http_1_1 = http_version == "1.1"
        self.headers = headers
        """Names and values as they came, in their order."""
        self.fields = fields = combined(headers)
        self.chunked = b"transfer-encoding" in fields
        length = fields.get(b"content-length")
        self.content_length = None if length is None else int(length)
        self.keep_alive = keep_alive
        self.fault: Refusal | None = None
        """What is wrong with the head, though it could be parsed."""
        self.body_whole = False
        """Whether the last byte of the body has come."""
        self._body: list[bytes] = []

    @property
    def may_keep(self) -> bool:
        """Whether another request may follow on the connection, by what the client sent.

        Not behind an `Upgrade`: what follows would be another protocol, though nothing is upgraded here.
        """
        return self.keep_alive and b"upgrade" not in self.fields

    def add_body(self, data: bytes) -> None:
        """A piece has come, without its transfer framing."""
        self._body.append(data)

    def take_body(self) -> bytes:
        """What has come and was not taken yet."""
        body = self._body
        data = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        return data


def combined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Values by lower-case name; those of a name that came more than once as one list (RFC 9110, 5.3)."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        fields[lower] = value if lower not in fields else fields[lower] + b", " + value
    return fields


def head_bytes(method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, int]:
    """The length of a request line and of a whole head, with the least white space that they can have."""
    line = len(method) + len(target) + len("  HTTP/1.1\r\n")
    return line, line + sum(len(name) + len(value) + len(": \r\n") for name, value in headers) + len("\r\n")
