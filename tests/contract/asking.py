"""A request to the gateway, one field for each thing that can be wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

Headers = tuple[tuple[str, str], ...]

PREFIXES = ("/ai-gateway/gemini", "/v1/gemini")
VERSIONS = ("/v1beta", "/v1", "/v1alpha", "")


@dataclass(frozen=True)
class Request:
    """Good in everything but what is set; text is latin-1, and goes out as it stands."""

    host: str
    token: str
    """Sent as `x-goog-api-key`; none where it is empty."""
    method: str = "POST"
    prefix: str = "/ai-gateway/gemini/v1beta/models/"
    model: str = "gemini-2-5-flash"
    action: str = "generateContent"
    query: str = ""
    path: str = ""
    """In place of prefix, model and action, where set."""
    http: str = "HTTP/1.1"
    headers: Headers = ()
    body: bytes = b"{}"
    length: str | None = ""
    """Content-Length: None for none, empty for the body's."""

    @property
    def target(self) -> str:
        """The request target as it goes out."""
        path = self.path or f"{self.prefix}{self.model}:{self.action}"
        return f"{path}?{self.query}" if self.query else path

    @property
    def wants_array(self) -> bool:
        """Whether an error about this request has to be a one-element array."""
        stream = not self.path and self.action == "streamGenerateContent"
        return stream and "alt=sse" not in self.query.split("&")

    def head(self) -> bytes:
        """The request up to and with its empty line."""
        lines = [f"{self.method} {self.target} {self.http}", f"Host: {self.host}"]
        if self.token:
            lines.append(f"x-goog-api-key: {self.token}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.length is not None:
            lines.append(f"Content-Length: {self.length or len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def encode(self) -> bytes:
        """The whole request."""
        return self.head() + self.body
