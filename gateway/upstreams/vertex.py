"""Gemini on Google Cloud (Vertex AI): a project's models at a location, with an access token."""

from __future__ import annotations

from gateway.exchange import Route


class Vertex:
    """The kind for one project and location."""

    KIND = "vertex"

    def __init__(self, project: str, location: str) -> None:
        self._place = f"projects/{project}/locations/{location}/publishers/google/models"

    def path(self, route: Route, model: str) -> str:
        """Vertex has two versions: what is not `v1` is its `v1beta1`."""
        version = "v1" if route.version == "v1" else "v1beta1"
        return f"/{version}/{self._place}/{model}:{route.action}"

    def authorization(self, credential: str) -> bytes:
        """The one credential of a request, as a header line with its end."""
        return f"Authorization: Bearer {credential}\r\n".encode("ascii")
