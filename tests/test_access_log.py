"""The lines that finished requests leave, against the page that documents them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
import time
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import gemini
from gateway.exchange import Exchange
from gateway.observe import Observer
from tests.support.finished import MODELS, documented, finished


async def logged(exchanges: Collection[Exchange], path: Path) -> list[dict[str, Any]]:
    """The lines that the exchanges leave in a file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    observer = Observer(models=MODELS, log_fd=fd)
    for exchange in exchanges:
        observer.begin()
        observer.finish(exchange)
    await observer.close()
    os.close(fd)
    text = path.read_text(encoding="utf-8")
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


async def test_every_line_has_exactly_the_documented_fields_in_their_order(tmp_path: Path) -> None:
    fields = [name.strip("`") for name, unit, meaning in documented("Access log") if unit and meaning]
    lines = await logged([finished(), Exchange(), finished(usage=None, principal=None)], tmp_path / "log")
    assert [list(line) for line in lines] == [fields] * 3


async def test_a_line_tells_what_happened(tmp_path: Path) -> None:
    exchange = finished()
    [line] = await logged([exchange], tmp_path / "log")
    written = datetime.fromisoformat(line.pop("time"))
    assert written.tzinfo == UTC
    assert abs(time.time() - written.timestamp()) < 30
    assert line == {
        "id": exchange.id,
        "client_request_id": "mine-1",
        "branch": "br-child-2",
        "credential": "abcdefghijklmnop",
        "project": "pr-1",
        "model": "gemini-2-5-flash",
        "model_version": "gemini-2.5-flash-001",
        "action": "streamGenerateContent",
        "framing": "sse",
        "upstream": "studio",
        "upstream_request_id": "up-1",
        "status": 200,
        "reason": "",
        "ending": "complete",
        "first_byte_ms": 500.0,
        "duration_ms": 1250.0,
        "request_bytes": 512,
        "response_bytes": 2048,
        "input_tokens": 103,
        "output_tokens": 12,
        "cached_tokens": 40,
        "total_tokens": 115,
        "usage": "reported",
    }


async def test_what_is_unknown_is_null_and_not_zero(tmp_path: Path) -> None:
    [line] = await logged([finished(first_byte=0.0, usage=None, principal=None)], tmp_path / "log")
    assert line["usage"] == "unknown"
    assert [line[f"{kind}_tokens"] for kind in ("input", "output", "cached", "total")] == [None] * 4
    assert line["first_byte_ms"] is None
    assert line["credential"] == line["project"] == ""


async def test_a_request_that_nobody_said_had_ended_ended_now(tmp_path: Path) -> None:
    exchange = finished(began=time.monotonic() - 2.0, ended=0.0)
    [line] = await logged([exchange], tmp_path / "log")
    assert exchange.ended == pytest.approx(time.monotonic(), abs=30)
    assert 2000 <= line["duration_ms"] < 32000


async def test_times_are_utc_with_three_digits_of_milliseconds(tmp_path: Path) -> None:
    lines = await logged([finished() for _ in range(200)], tmp_path / "log")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


ANY_TEXT = st.text(st.characters(codec=None), max_size=200)
"""Lone surrogates too: JSON from an upstream can spell them, and a header can hold more than UTF-8."""


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT), min_size=1, max_size=4))
def test_no_text_breaks_a_line(texts: list[tuple[str, str, str, str]]) -> None:
    exchanges = [
        finished(client_request_id=a, model=b, model_version=c, upstream_request_id=d) for a, b, c, d in texts
    ]
    with tempfile.TemporaryDirectory() as directory:
        lines = asyncio.run(logged(exchanges, Path(directory) / "log"))
    assert len(lines) == len(texts)
    for line, (a, b, c, d) in zip(lines, texts, strict=True):
        if all(text.isprintable() for text in (a, b, c, d)):
            assert (line["client_request_id"], line["model"]) == (a, b)
            assert (line["model_version"], line["upstream_request_id"]) == (c[:128], d[:128])


async def test_a_lone_surrogate_is_replaced_and_the_rest_stands(tmp_path: Path) -> None:
    [line] = await logged([finished(model_version="a\ud800b")], tmp_path / "log")
    assert (line["model_version"], line["model"]) == ("a?b", "gemini-2-5-flash")


async def test_what_an_upstream_names_is_bounded(tmp_path: Path) -> None:
    exchange = finished(model_version="v" * 100_000, upstream_request_id="i" * 100_000)
    [line] = await logged([exchange], tmp_path / "log")
    assert (line["model_version"], line["upstream_request_id"]) == ("v" * 128, "i" * 128)


@pytest.mark.parametrize(
    "target",
    [
        "/v1/gemini/v1beta/models/gemini-2.5-flash:generateContent?key=SECRET&alt=json",
        "/v1/gemini/v1beta/models/SECRET:generateContent",
        "/v1/gemini/v1beta/models/gemini-2.5-flash:SECRET",
        "/v1/gemini/SECRET",
        "/SECRET/v1/gemini/v1beta/models/gemini-2.5-flash:generateContent",
    ],
)
async def test_nothing_of_a_path_or_query_is_logged(target: str, tmp_path: Path) -> None:
    route, _ = gemini.parse(target)
    [line] = await logged([finished(route=route)], tmp_path / "log")
    assert "SECRET" not in json.dumps(line)
