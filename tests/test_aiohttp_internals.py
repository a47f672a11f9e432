"""What the gateway takes from inside aiohttp: four names, in one file, each as that file believes it to be.

When a new aiohttp fails here, look at how `aiohttp/web_protocol.py` and `aiohttp/base_protocol.py` changed,
then at `gateway/client_connection.py`, where all of it is used.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong

import gateway
from gateway.client_connection import Answer, ClientConnection, ClientServer

ROOT = Path(gateway.__file__).parent
USER = ROOT / "client_connection.py"
PRIVATE = {"_loop", "_messages", "_reading_paused", "_resume_transport_reading"}
LOOK = "look at web_protocol.py and base_protocol.py of this aiohttp, and at gateway/client_connection.py"


def classes(file: Path) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.ClassDef))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def own_names(tree: ast.AST) -> set[str]:
    """Names that this code gives to attributes itself: assigned, annotated, in slots, or of a method."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def used(tree: ast.AST) -> set[str]:
    """Private attributes that this code reads or sets, of whatever object."""
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_private(node.attr)}


def test_one_file_alone_takes_them_and_takes_no_others() -> None:
    (connection,) = [node for node in classes(USER) if node.name == "ClientConnection"]
    slots = set(ClientConnection.__slots__)
    methods = {
        node.name for node in connection.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert used(connection) - slots - methods == PRIVATE
    users = {file for file in ROOT.rglob("*.py") if "aiohttp" in file.read_text("utf-8")}
    assert USER in users
    for file in users:
        tree = ast.parse(file.read_text("utf-8"))
        foreign = used(tree) - own_names(tree) - {"_SubParsersAction"}  # argparse's: it has no other name
        assert foreign <= (PRIVATE if file == USER else set()), f"{file.name} takes {foreign} from elsewhere"


def test_only_that_file_builds_upon_aiohttps_classes() -> None:
    builders = {
        (file.name, node.name)
        for file in ROOT.rglob("*.py")
        for node in classes(file)
        if any(ast.unparse(base).startswith(("web.", "aiohttp.")) for base in node.bases)
    }
    assert builders == {(USER.name, name) for name in ("Answer", "ClientServer", "ClientConnection")}


def base_slots() -> set[str]:
    return {name for base in ClientConnection.__mro__[1:] for name in getattr(base, "__slots__", ())}


def test_aiohttp_has_them_and_none_of_ours() -> None:
    attributes = PRIVATE - {"_resume_transport_reading"}
    assert attributes <= base_slots(), f"{attributes - base_slots()} are gone: {LOOK}"
    assert callable(getattr(web.RequestHandler, "_resume_transport_reading", None)), LOOK
    ours = set(ClientConnection.__slots__) | (vars(ClientConnection).keys() - vars(web.RequestHandler).keys())
    taken = {name for name in ours if name in base_slots() and not name.startswith("__")}
    assert not taken, f"aiohttp has a {taken} of its own now: {LOOK}"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(web.RequestHandler, ClientConnection), (web.Server, ClientServer), (web.StreamResponse, Answer)],
)
def test_what_is_overridden_is_called_in_the_same_way(theirs: type, ours: type) -> None:
    overridden = [
        name
        for name, value in vars(ours).items()
        if inspect.isfunction(value) and hasattr(theirs, name) and not name.startswith("__")
    ]
    assert overridden, f"nothing of {theirs.__name__} is overridden any more"
    for name in overridden:
        theirs_takes = list(inspect.signature(getattr(theirs, name)).parameters)
        ours_takes = list(inspect.signature(getattr(ours, name)).parameters)
        assert ours_takes == theirs_takes, f"{name} is called in another way: {LOOK}"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("handle_error", ClientConnection),
        ("force_close", ClientConnection),
        ("data_received", ClientConnection),
        ("eof_received", ClientConnection),
        ("keep_alive", Answer),
        ("prepare", Answer),
        ("write_eof", Answer),
    ],
)
def test_aiohttp_still_has_what_must_be_overridden(name: str, kind: type) -> None:
    base = kind.__mro__[1]
    assert name in vars(kind)
    assert hasattr(base, name), f"{base.__name__}.{name} is gone, so ours is never called: {LOOK}"


class Watched(web.RequestHandler):
    """Notes what aiohttp's own protocol has in its private attributes after each read."""

    __slots__ = ("first_told", "seen")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[Any] = []
        self.first_told: BaseException | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.seen += self._messages
        self.first_told = self.seen[0][1].exception() if self.seen else None
        assert isinstance(self._messages, deque), LOOK


async def seen_of(*reads: bytes, **limits: int) -> tuple[Watched, list[Any]]:
    """A protocol of aiohttp's, and what it has queued after each of these reads: message and body."""
    loop = asyncio.get_running_loop()
    answered = asyncio.Event()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        answered.set()
        await asyncio.Event().wait()
        return web.Response()

    made: list[Watched] = []

    def make() -> Watched:
        made.append(Watched(web.Server(handle), loop=loop, **limits))
        return made[-1]

    server = await loop.create_server(make, "127.0.0.1", 0)
    try:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for data in reads:
            writer.write(data)
            await writer.drain()
            if data is reads[0] and len(reads) > 1:
                await answered.wait()
        async with asyncio.timeout(10):
            while not made or len(made[0].seen) < len(reads):
                await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()
    finally:
        server.close()
    await made[0].shutdown(1.0)
    return made[0], made[0].seen


async def test_a_request_is_queued_with_its_body() -> None:
    connection, seen = await seen_of(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
    ((message, body),) = seen
    assert isinstance(message, RawRequestMessage), LOOK
    assert isinstance(body, StreamReader), LOOK
    assert not body.is_eof()
    assert connection._reading_paused is False, LOOK
    assert connection._loop is asyncio.get_running_loop(), LOOK


async def test_a_broken_chunk_is_queued_as_an_error_and_its_reader_is_not_told() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection, [_, (error, _)] = await seen_of(head, b"zz\r\n")
    assert not isinstance(error, RawRequestMessage), LOOK
    assert connection.first_told is None, f"aiohttp tells it by itself now, _watch_body can go: {LOOK}"


async def test_which_limit_a_head_broke_can_be_told() -> None:
    limits = {"max_line_size": 100, "max_field_size": 99}
    for data, limit in ((b"POST /" + b"a" * 200, 100), (b"POST / HTTP/1.1\r\nX: " + b"a" * 200, 99)):
        _, [(error, *_)] = await seen_of(data, **limits)
        assert isinstance(error.exc, LineTooLong), LOOK
        assert error.exc.args[1] == limit, LOOK
    many = b"POST / HTTP/1.1\r\n" + b"X: a\r\n" * 200
    _, [(error, *_)] = await seen_of(many)
    assert error.message == "Too many headers received", LOOK
