"""A finished request to observe, and the page that documents what is observed."""

from __future__ import annotations

import re
from typing import Any

from gateway.exchange import Ending, Exchange, Framing, Principal, Route
from gateway.token_usage import Usage
from tests.support.machine import PROJECT

MODELS = frozenset({"gemini-2-5-flash", "gemini-3-pro"})
"""What the catalog of these tests holds."""


def finished(**changes: Any) -> Exchange:
    """A good stream of 1.25 s, its first byte after 0.5 s."""
    exchange = Exchange()
    good: dict[str, Any] = {
        "client_request_id": "mine-1",
        "began": 1000.0,
        "route": Route("v1beta", "gemini-2.5-flash", "streamGenerateContent", Framing.SSE, "alt=sse"),
        "principal": Principal("abcdefghijklmnop", "pr-1", "br-main-1"),
        "branch_id": "br-child-2",
        "model": "gemini-2-5-flash",
        "upstream": "studio",
        "upstream_request_id": "up-1",
        "status": 200,
        "ending": Ending.COMPLETE,
        "usage": Usage(prompt=100, cached=40, candidates=7, thoughts=5, tool_use_prompt=3, total=115),
        "model_version": "gemini-2.5-flash-001",
        "first_byte": 1000.5,
        "ended": 1001.25,
        "request_bytes": 512,
        "response_bytes": 2048,
    }
    for name, value in (good | changes).items():
        setattr(exchange, name, value)
    return exchange


def documented(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of docs/observability.md, without its head."""
    section = (
        (PROJECT / "docs" / "observability.md")
        .read_text(encoding="utf-8")
        .split(f"\n## {heading}\n")[1]
        .split("\n## ")[0]
    )
    rows = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert rows is not None
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[0].splitlines()[2:]]
