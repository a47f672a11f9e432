"""Another gateway that speaks the same contract (Databricks, Neon, another of ours), with a bearer token."""

from __future__ import annotations

from gateway.exchange import Route

KIND = "gateway"


def path(route: Route, model: str) -> str:
    """The path for the upstream's own name of the model; the client's version, or the contract's first."""
    return f"/ai-gateway/gemini/{route.version or 'v1beta'}/models/{model}:{route.action}"


def authorization(credential: str) -> bytes:
    """The one credential of a request, as a header line with its end."""
    return f"Authorization: Bearer {credential}\r\n".encode("ascii")
