"""The simulated upstream as it is on the wire: framings, headers, errors, and the command that runs it."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
import zlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest
from aiohttp import web

from gateway.simulator import create_app, create_runner
from tests.support.process import Process
from tests.support.raw_client import RawClient
from tests.support.recorded import RecordedExchange, recorded_exchanges
from tests.support.simulator import HELLO, MODEL, ask, simulator


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """The simulated upstream, without a pace."""
    async with simulator() as base:
        yield base


def recorded_bodies(alt: str | None) -> list[RecordedExchange]:
    exact = [each for each in recorded_exchanges() if each.exact and each.alt == alt]
    assert exact
    return exact


def rewritten_as_sse(body: bytes) -> bytes:
    """The same objects as the simulated upstream would write them."""
    events = body.decode().removesuffix("\r\n\r\n").split("\r\n\r\n")
    objects = [json.loads(event.removeprefix("data: ")) for event in events]
    return b"".join(
        b"data: " + json.dumps(each, separators=(",", ": "), ensure_ascii=False).encode() + b"\r\n\r\n"
        for each in objects
    )


def test_the_white_space_of_recorded_streams_is_what_these_tests_hold_the_simulator_to() -> None:
    """The two rules of form below are Google's: recorded bodies, parsed and written by them, are the same."""
    for exchange in recorded_bodies("sse"):
        written = rewritten_as_sse(exchange.body).replace(b"<", b"\\u003c").replace(b">", b"\\u003e")
        assert written == exchange.body
    for exchange in recorded_bodies(None):
        text = gzip.decompress(exchange.body)
        parts = [msgspec.json.format(msgspec.json.encode(each), indent=2) for each in json.loads(text)]
        assert b"[" + b"\n,\r\n".join(parts) + b"\n]" == text


async def test_an_event_stream_is_written_as_google_writes_it(url: str) -> None:
    answer = await ask(f"{url}{MODEL}:streamGenerateContent?alt=sse", HELLO, encoding="gzip")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["Content-Disposition"] == "attachment"
    assert "Content-Encoding" not in answer.headers
    assert b"\\u003cgateway\\u003e" in answer.body
    written = rewritten_as_sse(answer.body).replace(b"<", b"\\u003c").replace(b">", b"\\u003e")
    assert written == answer.body
    assert 5 <= answer.body.count(b"\r\n\r\n") <= 10


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_json_array_is_written_as_google_writes_it(url: str, encoding: str) -> None:
    answer = await ask(f"{url}{MODEL}:streamGenerateContent", HELLO, encoding=encoding)
    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert answer.headers.get("Content-Encoding", "identity") == encoding
    body = gzip.decompress(answer.body) if encoding == "gzip" else answer.body
    parts = [msgspec.json.format(json.dumps(each, ensure_ascii=False), indent=2) for each in json.loads(body)]
    text = ("[" + "\n,\r\n".join(parts) + "\n]").replace("<", "\\u003c").replace(">", "\\u003e")
    assert body.decode() == text
    assert 5 <= len(parts) <= 10


async def test_a_compressed_stream_is_flushed_for_each_chunk() -> None:
    """With a pace no client could wait for, the first chunk can be read whole."""
    async with (
        simulator(create_runner(pace=3600)) as url,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        headers = {"Accept-Encoding": "gzip"}
        asked = session.post(f"{url}{MODEL}:streamGenerateContent", json=HELLO, headers=headers)
        async with asked as response, asyncio.timeout(5):
            inflate = zlib.decompressobj(wbits=31)
            text = b""
            while not text.endswith(b"}\n"):
                text += inflate.decompress(await response.content.readany())
    assert json.loads(text.removeprefix(b"["))["candidates"][0]["content"]["parts"][0]["text"] == "This"


async def test_a_unary_answer_is_pretty_printed_and_compressed_on_request(url: str) -> None:
    plain = await ask(f"{url}{MODEL}:generateContent", HELLO)
    assert plain.body.startswith(b'{\n  "candidates": [\n    {\n      "content": {\n')
    assert plain.body.endswith(b"\n}\n")
    assert plain.headers["Content-Type"] == "application/json; charset=UTF-8"
    zipped = await ask(f"{url}{MODEL}:generateContent", HELLO, encoding="deflate, gzip;q=0.5")
    assert zipped.headers["Content-Encoding"] == "gzip"
    told = json.loads(gzip.decompress(zipped.body))
    assert told["candidates"] == plain.json["candidates"]
    refused = await ask(f"{url}{MODEL}:generateContent", HELLO, encoding="gzip;q=0")
    assert refused.json["candidates"] == plain.json["candidates"]


async def test_headers_are_those_that_google_sends(url: str) -> None:
    headers = (await ask(f"{url}{MODEL}:generateContent", HELLO)).headers
    assert headers.getall("Vary") == ["Origin", "X-Origin", "Referer"]
    assert re.fullmatch(r"gfet4t7; dur=\d+", headers["Server-Timing"])
    assert headers["X-XSS-Protection"] == "0"
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha", "v1beta1"])
@pytest.mark.parametrize("place", ["", "projects/p/locations/global/publishers/google/"])
async def test_every_version_and_both_forms_of_path(url: str, version: str, place: str) -> None:
    answer = await ask(f"{url}/{version}/{place}models/gemini-3-pro-preview:generateContent", HELLO)
    assert answer.status == 200
    assert answer.json["modelVersion"] == "gemini-3-pro-preview-simulated"
    assert ("trafficType" in answer.json["usageMetadata"]) == bool(place)


async def test_enums_are_numbers_for_the_clients_that_ask_for_them(url: str) -> None:
    query = "?%24alt=json%3Benum-encoding%3Dint"
    answer = await ask(f"{url}{MODEL}:streamGenerateContent{query}", HELLO)
    assert answer.json[-1]["candidates"][0]["finishReason"] == 1
    assert answer.json[-1]["usageMetadata"]["promptTokensDetails"][0]["modality"] == 1


async def test_a_compressed_request_body_is_read(url: str) -> None:
    zipped = gzip.compress(json.dumps(HELLO).encode())
    answer = await ask(f"{url}{MODEL}:generateContent", zipped)
    assert "gateway" in answer.json["candidates"][0]["content"]["parts"][0]["text"]


async def test_a_body_of_32_mib_is_read(url: str) -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "A" * 32 * 1024 * 1024}}
    answer = await ask(f"{url}{MODEL}:generateContent", {"contents": [{"parts": [image, {"text": "what?"}]}]})
    assert "image/png" in answer.json["candidates"][0]["content"]["parts"][0]["text"]


@pytest.mark.parametrize("cancelling", [True, False])
async def test_a_client_that_leaves_in_any_phase_leaves_no_trace_in_the_log(
    caplog: pytest.LogCaptureFixture, cancelling: bool
) -> None:
    """Whether the server cancels the handler then, or lets it find out."""
    body = json.dumps(HELLO).encode()
    request = f"POST {MODEL}:streamGenerateContent?alt=sse HTTP/1.1\r\nHost: x\r\nContent-Length: "
    runner = web.AppRunner(create_app(pace=0.01), handler_cancellation=cancelling, shutdown_timeout=5)
    async with simulator(runner) as url:
        address = urlsplit(url)
        assert address.hostname
        assert address.port
        async with RawClient(address.hostname, address.port) as client:
            await client.send(f"{request}{len(body) + 1}\r\n\r\n".encode() + body)
        async with RawClient(address.hostname, address.port) as client:
            await client.send(f"{request}{len(body)}\r\n\r\n".encode() + body)
            await client.read_body(await client.read_head(), b"data: ")
            client.reset()
        assert (await ask(f"{url}{MODEL}:generateContent", HELLO)).status == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_the_command_prints_its_address_serves_and_ends_cleanly() -> None:
    process = Process(["simulate", "--listen", "127.0.0.1:0", "--pace", "0"])
    try:
        url = process.wait_for_line(r"http://127\.0\.0\.1:\d+")[0]
        assert (await ask(f"{url}{MODEL}:generateContent", HELLO)).status == 200
    finally:
        code = process.stop()
    assert code == 0
    assert len(process.log_lines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--listen", "nowhere"], 2), (["--pace", "-1"], 2), (["--listen", "192.0.2.1:1"], 1)],
)
def test_the_command_says_in_one_line_why_it_does_not_start(arguments: list[str], code: int) -> None:
    process = Process(["simulate", *arguments])
    process.wait_for_line(r"not HOST:PORT|not a number|cannot listen on 192\.0\.2\.1:1: ")
    assert process.popen.wait(30) == code
    process.stop()
    assert not any("Traceback" in line for line in process.log_lines())
