"""The simulated upstream over HTTP: paths, Google's three framings, gzip, and failures on demand.

Source of the white space, headers and framings: recorded answers of the real API.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import zlib
from enum import Enum, auto
from typing import Any

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from gateway.http_log import http_log
from gateway.simulator.content import compose
from gateway.simulator.errors import GoogleError, invalid, on_demand, unknown_model
from gateway.simulator.request import parse
from gateway.simulator.response import Responses
from gateway.simulator.usage import PromptUsage

_MAX_BODY = 100 * 1024 * 1024
_PATH = re.compile(
    r"/(?P<version>v1|v1beta|v1alpha|v1beta1)/"
    r"(?P<resource>(?:projects/[^/]+/locations/[^/]+/publishers/google/)?models/(?P<model>[^/:]+))"
    r":(?P<verb>[^/:]+)"
)
_VERBS = ("generateContent", "streamGenerateContent")
_FAILURE = re.compile(r"simulate-error:(\d{3}|cut)(?:@(\d))?")
_NOT_FOUND_PAGE = (
    "<!DOCTYPE html>\n<html lang=en>\n  <title>Error 404 (Not Found)!!1</title>\n"
    "  <p>The requested URL was not found on this server.\n"
)
"""Where no method of its API is, Google answers in HTML."""


class _Framing(Enum):
    UNARY = auto()
    SSE = auto()
    JSON_ARRAY = auto()


def create_app(*, pace: float = 0.02) -> web.Application:
    """The application, to be run on any listener. `pace`: seconds between two chunks of a stream; 0: none."""
    app = web.Application(client_max_size=_MAX_BODY)
    app.router.add_route("*", "/{path:.*}", _Simulator(pace).handle)
    return app


def create_runner(*, pace: float = 0.02) -> web.AppRunner:
    """The application in a runner that suits it: no log of what is asked, an end within a second."""
    # A body that only says it is compressed would make aiohttp fail, loudly, before the handler sees it.
    return web.AppRunner(
        create_app(pace=pace),
        access_log=None,
        logger=http_log,
        auto_decompress=False,
        handler_cancellation=True,
        shutdown_timeout=1,
    )


class _Simulator:
    def __init__(self, pace: float):
        self._pace = pace

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one request, whatever it asks."""
        try:
            return await self._answer(request)
        except ConnectionError:
            return web.Response()  # the client has left: aiohttp finds nobody to send it to

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = _PATH.fullmatch(request.path)
        if not path or request.method != "POST":
            return web.Response(status=404, text=_NOT_FOUND_PAGE, content_type="text/html")
        answer = _Answer(request, _framing(request, path["verb"]), self._pace)
        try:
            body = _plain(await request.read())
            chunks, cut = _chunks(
                body, path, answer.framing, enum_numbers="enum-encoding=int" in _alt(request)
            )
        except web.HTTPRequestEntityTooLarge:
            return await answer.refuse(invalid(f"Request payload size exceeds the limit: {_MAX_BODY} bytes."))
        except RecursionError:
            return await answer.refuse(invalid("Message too deep. Max recursion depth reached."))
        except GoogleError as error:
            return await answer.refuse(error)
        return await answer.send(200, chunks, cut)


def _plain(body: bytes) -> bytes:
    """The body unzipped, if it is gzip (which no JSON begins like)."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        return zlib.decompressobj(wbits=31).decompress(body, _MAX_BODY)
    except zlib.error:
        return body


def _alt(request: web.Request) -> str:
    return request.query.get("$alt") or request.query.get("alt") or "json"


def _framing(request: web.Request, verb: str) -> _Framing:
    if verb != "streamGenerateContent":
        return _Framing.UNARY
    return _Framing.SSE if _alt(request).startswith("sse") else _Framing.JSON_ARRAY


def _chunks(
    body: bytes, path: re.Match[str], framing: _Framing, *, enum_numbers: bool
) -> tuple[list[dict[str, Any]], int | None]:
    """The objects of the answer, and the number of those after which to cut the connection, if at all.

    Raises GoogleError where the answer is to be an error.
    """
    model = path["model"]
    if path["verb"] not in _VERBS or not model.startswith("gemini"):
        raise unknown_model(path["version"], path["resource"], path["verb"])
    request = parse(body)
    usage = PromptUsage(request, vertex=path["resource"].startswith("projects/"))
    responses = Responses(compose(request, model), usage, model, enum_numbers=enum_numbers)
    chunks = [responses.whole()] if framing is _Framing.UNARY else responses.chunks()
    failure = _FAILURE.search(request.prompt)
    if not failure:
        return chunks, None
    what, after = failure[1], int(failure[2] or 0)
    if what == "cut":
        return chunks, after
    error = on_demand(int(what), model)
    if framing is _Framing.UNARY or not after:
        raise error
    return [*chunks[:after], {"error": error.error}], None


class _Answer:
    """The answer to one request: its head, and the objects of its body one after the other."""

    def __init__(self, request: web.Request, framing: _Framing, pace: float):
        self.framing = framing
        self._request = request
        self._pace = pace
        self._began = time.perf_counter()

    async def refuse(self, error: GoogleError) -> web.StreamResponse:
        """An error status. Google frames it as a JSON array where the stream would have been one."""
        if self.framing is _Framing.SSE:
            self.framing = _Framing.UNARY
        return await self.send(error.code, [{"error": error.error}])

    async def send(self, status: int, objects: list[Any], cut: int | None = None) -> web.StreamResponse:
        """Sends them all, or closes the connection without an end before the one numbered `cut`."""
        compressor = zlib.compressobj(wbits=31) if self._is_compressed() else None
        response = web.StreamResponse(status=status, headers=self._headers(compressed=compressor is not None))
        await response.prepare(self._request)
        for number, each in enumerate(objects):
            if number:
                await asyncio.sleep(self._pace)
            if number == cut and self._request.transport:
                # FIN after what has been written: aiohttp no longer gets the terminating chunk out.
                self._request.transport.close()
                return response
            piece = self._framed(each, first=number == 0, last=number + 1 == len(objects))
            if compressor:
                piece = compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH)
            await response.write(piece)
        if compressor:
            await response.write(compressor.flush())
        await response.write_eof()
        return response

    def _framed(self, each: Any, *, first: bool, last: bool) -> bytes:
        if self.framing is _Framing.SSE:
            text = json.dumps(each, ensure_ascii=False, separators=(",", ": ")).encode()
            return b"data: " + _escaped(text) + b"\r\n\r\n"
        text = _escaped(msgspec.json.format(msgspec.json.encode(each), indent=2)) + b"\n"
        if self.framing is _Framing.UNARY:
            return text
        return (b"[" if first else b",\r\n") + text + (b"]" if last else b"")

    def _is_compressed(self) -> bool:
        """Google compresses JSON for who asks for it, but no event stream."""
        accepted = self._request.headers.get("Accept-Encoding", "").lower().replace(" ", "").split(",")
        wanted = any(re.fullmatch(r"(gzip|\*)(;q=(1(\.0*)?|0\.0*[1-9]\d*))?", each) for each in accepted)
        return wanted and self.framing is not _Framing.SSE

    def _headers(self, *, compressed: bool) -> CIMultiDict[str]:
        headers = CIMultiDict[str]()
        headers.add("Content-Type", "application/json; charset=UTF-8")
        if self.framing is _Framing.SSE:
            headers["Content-Type"] = "text/event-stream"
            headers.add("Content-Disposition", "attachment")
        if compressed:
            headers.add("Content-Encoding", "gzip")
        for name in ("Origin", "X-Origin", "Referer"):
            headers.add("Vary", name)
        headers.add("Server", "gateway-simulator")
        headers.add("X-XSS-Protection", "0")
        headers.add("X-Frame-Options", "SAMEORIGIN")
        headers.add("X-Content-Type-Options", "nosniff")
        milliseconds = round((time.perf_counter() - self._began) * 1000)
        headers.add("Server-Timing", f"gfet4t7; dur={milliseconds}")
        return headers


def _escaped(text: bytes) -> bytes:
    """As Google writes JSON: angle brackets, which only strings can hold, as escapes."""
    return text.replace(b"<", b"\\u003c").replace(b">", b"\\u003e")
