"""The recorded exchanges of the Gemini API, and their usage computed without the gateway's reader."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.machine import left_out

RECORDINGS = Path(__file__).parents[2] / ".." / "shared" / "recorded" / "exchanges.jsonl"
"""The file, which is not part of the project and may be lacking."""


@dataclass(frozen=True, slots=True)
class RecordedExchange:
    """One real exchange; see the README beside the recordings."""

    name: str
    uri: str
    """As it was asked of Google."""
    model: str
    """Google's own name, e.g. `gemini-2.5-flash`."""
    action: str
    alt: str | None
    """The value of the query's `alt`."""
    request: bytes
    """The JSON body sent; nothing where it was not recorded."""
    status: int
    headers: tuple[tuple[str, str], ...]
    """The response's, without dates, cookies and framing."""
    body: bytes
    exact: bool
    """Whether `body` is what came over the wire, to the byte."""

    @property
    def compressed(self) -> bool:
        """Whether the body is gzip."""
        return ("content-encoding", "gzip") in self.headers

    def __str__(self) -> str:
        return self.name


@cache
def recorded_exchanges() -> tuple[RecordedExchange, ...]:
    """All of them, in the file's order. Skips the test, or the module being collected, without the file."""
    if not RECORDINGS.is_file():
        left_out("the recorded exchanges (shared/recorded) are not there")
    return tuple(_exchange(json.loads(line)) for line in RECORDINGS.read_text("utf-8").splitlines())


def _exchange(line: dict[str, Any]) -> RecordedExchange:
    uri = urlsplit(line["uri"])
    model, _, action = uri.path.rpartition("/")[2].partition(":")
    request = line["request"]
    return RecordedExchange(
        name=line["name"],
        uri=line["uri"],
        model=model,
        action=action,
        alt=parse_qs(uri.query).get("alt", [None])[0],
        request=b"" if request is None else json.dumps(request).encode(),
        status=line["status"],
        headers=tuple(line["headers"].items()),
        body=base64.b64decode(line["body_base64"]),
        exact=line["exact_bytes"],
    )


def last_usage(exchange: RecordedExchange) -> dict[str, Any] | None:
    """The last top-level `usageMetadata` of the response, as JSON; None where there is none."""
    usages = [one["usageMetadata"] for one in response_objects(exchange) if "usageMetadata" in one]
    return usages[-1] if usages else None


def response_objects(exchange: RecordedExchange) -> list[dict[str, Any]]:
    """The JSON objects of the response, in their order: of a stream one for each event or element."""
    text = (gzip.decompress(exchange.body) if exchange.compressed else exchange.body).decode("utf-8")
    if exchange.alt == "sse" and exchange.status == 200:
        events = text.replace("\r\n", "\n").split("\n\n")
        return [json.loads(event.removeprefix("data:")) for event in events if event.strip()]
    whole = json.loads(text)
    return whole if isinstance(whole, list) else [whole]
