"""Google AI Studio: the public Gemini API with an API key, in a header and never in the URL."""

from __future__ import annotations

from gateway.exchange import Route

KIND = "ai-studio"


def path(route: Route, model: str) -> str:
    """The path for the upstream's own name of the model; the client's version, or Google's usual one."""
    return f"/{route.version or 'v1beta'}/models/{model}:{route.action}"


def authorization(credential: str) -> bytes:
    """The one credential of a request, as a header line with its end."""
    return f"x-goog-api-key: {credential}\r\n".encode("ascii")
