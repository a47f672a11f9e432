"""The size and the form of a request's head: 16 KiB in all, strict lines, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract import refusals
from tests.contract.asking import Request
from tests.contract.refusals import Row, check_some_refusal
from tests.contract.rig import Rig
from tests.support.raw_client import PeerLeftError

HEAD_BYTES = 16 * 1024
SPLITS = {
    "whole": [],
    "halved": [8192],
    "last byte apart": [HEAD_BYTES - 1],
    "in 50": list(range(0, HEAD_BYTES, 330)),
}


def in_a_header(request: Request, size: int) -> Request:
    """The request with a head of that size, filled up by one header."""
    short = len(with_header(request, "").head())
    return with_header(request, "a" * (size - short))


def with_header(request: Request, value: str) -> Request:
    return Request(**{**vars(request), "headers": (("X-Fill", value),)})


def in_many_headers(request: Request, size: int) -> Request:
    few = Request(**{**vars(request), "headers": tuple((f"X-{n}", "a" * 100) for n in range(100))})
    return Request(
        **{**vars(few), "headers": (*few.headers, ("X-Fill", "a" * (size - len(few.head()) - 10)))}
    )


def in_the_query(request: Request, size: int) -> Request:
    return Request(**{**vars(request), "query": "x=" + "a" * (size - len(request.head()) - 3)})


FILLED: dict[str, Callable[[Request, int], Request]] = {
    "one header": in_a_header,
    "many headers": in_many_headers,
    "query": in_the_query,
}


@pytest.mark.parametrize("splits", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("filled", FILLED.values(), ids=FILLED)
async def test_a_head_of_just_16_kib(
    rig: Rig, filled: Callable[[Request, int], Request], splits: list[int]
) -> None:
    request = filled(rig.request(), HEAD_BYTES)
    assert len(request.head()) == HEAD_BYTES
    async with rig.client() as client:
        await client.send(request.encode(), splits)
        assert (await client.read_response()).status == 200


@pytest.mark.parametrize("splits", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("filled", FILLED.values(), ids=FILLED)
async def test_a_head_of_one_byte_more(
    rig: Rig, filled: Callable[[Request, int], Request], splits: list[int]
) -> None:
    asked_before = rig.upstream.total_requests
    request = filled(rig.request(), HEAD_BYTES + 1)
    assert len(request.head()) == HEAD_BYTES + 1
    async with rig.client() as client:
        await client.send(request.encode(), splits)
        assert check_some_refusal(await client.read_response()) is refusals.HEADER_TOO_LONG
        assert await client.peer_left() == "fin"
    assert rig.upstream.total_requests == asked_before


def line(size: int) -> bytes:
    """A request line of that many bytes, its end included."""
    return b"POST /" + b"a" * (size - 17) + b" HTTP/1.1\r\n"


ENDLESS: dict[str, tuple[bytes, set[Row]]] = {
    "line of one byte more": (line(HEAD_BYTES + 1) + b"Host: a\r\n\r\n", {refusals.LINE_TOO_LONG}),
    "line of a few bytes more": (line(HEAD_BYTES + 100) + b"Host: a\r\n\r\n", {refusals.LINE_TOO_LONG}),
    "line of 20,000 bytes": (line(20_000) + b"Host: a\r\n\r\n", {refusals.LINE_TOO_LONG}),
    "line without end": (b"POST /" + b"a" * 20_000, {refusals.LINE_TOO_LONG}),
    "header without end": (b"POST / HTTP/1.1\r\nX: " + b"a" * 20_000, {refusals.HEADER_TOO_LONG}),
    "name without end": (b"POST / HTTP/1.1\r\n" + b"a" * 20_000, {refusals.HEADER_TOO_LONG}),
    "headers without end": (b"POST / HTTP/1.1\r\n" + b"X-Y: z\r\n" * 2_500, {refusals.HEADER_TOO_LONG}),
    "129 headers": (b"POST / HTTP/1.1\r\n" + b"X-Y: z\r\n" * 129 + b"\r\n", {refusals.HEADER_TOO_LONG}),
    "empty lines": (b"\r\n" * 10_000, {refusals.HEADER_TOO_LONG}),
}


@pytest.mark.parametrize("every", [1 << 20, 1000], ids=["whole", "in pieces"])
@pytest.mark.parametrize("case", ENDLESS)
async def test_what_does_not_end_is_answered_at_once(rig: Rig, case: str, every: int) -> None:
    data, rows = ENDLESS[case]
    async with rig.client(deadline=5.0) as client:
        await client.send(data, range(every, len(data), every))
        row = check_some_refusal(await client.read_response())
        assert row in rows | ({refusals.HEADER_TOO_LONG} if every == 1000 else set())
        assert await client.peer_left() == "fin"


FORMS: dict[str, bytes] = {
    "bare LF at the line's end": b"POST / HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF at a header's end": b"POST / HTTP/1.1\r\nHost: a\n\r\n",
    "bare LF at the head's end": b"POST / HTTP/1.1\r\nHost: a\r\n\n",
    "bare CR in a header": b"POST / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    "bare CR at a header's end": b"POST / HTTP/1.1\r\nHost: a\r\r\n\r\n",
    "folded header": b"POST / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
    "folded header with a tab": b"POST / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n",
    "folded first header": b"POST / HTTP/1.1\r\n Host: a\r\n\r\n",
    "space before a colon": b"POST / HTTP/1.1\r\nHost : a\r\n\r\n",
    "space in a name": b"POST / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n",
    "empty name": b"POST / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "no colon": b"POST / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    "byte beyond ASCII in a name": b"POST / HTTP/1.1\r\nHost: a\r\nX\xe4: b\r\n\r\n",
    "control byte in a name": b"POST / HTTP/1.1\r\nHost: a\r\nX\x01: b\r\n\r\n",
    "control byte in a value": b"POST / HTTP/1.1\r\nHost: a\r\nX: \x1b[31m\r\n\r\n",
    "DEL in a value": b"POST / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
    "NUL in a value": b"POST / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    "tab in the line": b"POST\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "space before the line": b" POST / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two targets": b"POST / / HTTP/1.1\r\nHost: a\r\n\r\n",
    "small letters": b"post / http/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.2": b"POST / HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"POST / HTTP/0.9\r\nHost: a\r\n\r\n",
    "HTTP/11": b"POST / HTTP/11\r\nHost: a\r\n\r\n",
    "HTTP/1.10": b"POST / HTTP/1.10\r\nHost: a\r\n\r\n",
    "TLS": bytes.fromhex("1603010200010001fc0303") + bytes(300),
    "SSH": b"SSH-2.0-OpenSSH_9.7\r\n",
    "answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("every", [1 << 20, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("case", FORMS)
async def test_a_head_of_bad_form(rig: Rig, case: str, every: int) -> None:
    data = FORMS[case]
    async with rig.client(deadline=5.0) as client:
        await client.send(data, range(every, len(data), every))
        assert check_some_refusal(await client.read_response()) is refusals.HTTP_MALFORMED
        assert await client.peer_left() == "fin"


async def test_empty_lines_before_a_request_are_forgiven(rig: Rig) -> None:
    async with rig.client() as client:
        for _ in range(3):
            await client.send(b"\r\n\r\n" + rig.request().encode())
            assert (await client.read_response()).status == 200


async def test_requests_one_behind_the_other_are_answered_in_their_order(rig: Rig) -> None:
    asked_before = rig.upstream.total_requests
    requests = [
        rig.request(body=b"first"),
        rig.request(token="", body=b""),  # refused before its body is here, it would be the last
        rig.request(method="GET", length=None, body=b""),
        rig.request(body=b"fourth", headers=(("Expect", "100-continue"),)),
        rig.request(path="*", method="OPTIONS", body=b""),
        rig.request(body=b"sixth"),
    ]
    statuses = [200, 401, 405, 200, 404, 200]
    data = b"".join(request.encode() for request in requests)
    for every in (len(data), 100, 1):
        async with rig.client() as client:
            await client.send(data, range(every, len(data), every))
            seen: list[int] = []
            while len(seen) < len(statuses):
                answer = await client.read_response()
                seen += [answer.status] * (answer.status != 100)  # where the fourth's body came late
        assert seen == statuses
    bodies = [one.body for one in rig.upstream.requests[asked_before:]]
    assert bodies == [b"first", b"fourth", b"sixth"] * 3


async def test_a_hundred_requests_at_once(rig: Rig) -> None:
    asked_before = rig.upstream.total_requests
    async with rig.client() as client:
        await client.send(b"".join(rig.request(body=b"%d" % n).encode() for n in range(100)))
        for _ in range(100):
            assert (await client.read_response()).status == 200
    assert [one.body for one in rig.upstream.requests[asked_before:]] == [b"%d" % n for n in range(100)]


async def test_nothing_is_answered_behind_a_malformed_request(rig: Rig) -> None:
    asked_before = rig.upstream.total_requests
    good = rig.request().encode()
    async with rig.client() as client:
        await client.send(good)
        assert (await client.read_response()).status == 200
        await client.send(b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n" + good)
        assert check_some_refusal(await client.read_response()) is refusals.HTTP_MALFORMED
        with pytest.raises(PeerLeftError):
            await client.read_response()
    assert rig.upstream.total_requests == asked_before + 1


async def test_what_comes_before_a_malformed_request_is_answered(rig: Rig) -> None:
    asked_before = rig.upstream.total_requests
    async with rig.client() as client:
        await client.send(rig.request().encode() + b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read_response()).status == 200
        assert check_some_refusal(await client.read_response()) is refusals.HTTP_MALFORMED
        assert await client.peer_left() == "fin"
    assert rig.upstream.total_requests == asked_before + 1


@pytest.mark.parametrize(
    ("http", "connection", "kept"),
    [
        ("HTTP/1.1", "", True),
        ("HTTP/1.1", "close", False),
        ("HTTP/1.1", "Keep-Alive, Close", False),
        ("HTTP/1.0", "", False),
        ("HTTP/1.0", "keep-alive", True),
    ],
)
@pytest.mark.parametrize("token", [None, ""], ids=["answered", "refused"])
async def test_keep_alive_of_both_versions(
    rig: Rig, http: str, connection: str, kept: bool, token: str | None
) -> None:
    headers = (("Connection", connection),) if connection else ()
    request = rig.request(http=http, headers=headers)
    if token is not None:
        request = rig.request(http=http, headers=headers, token=token)
    async with rig.client() as client:
        await client.send(request.encode())
        answer = await client.read_response()
        assert answer.status == (200 if token is None else 401)
        if kept:
            await client.send(request.encode())
            assert (await client.read_response()).status == answer.status
        else:
            assert answer.header("Connection") == ["close"]
            assert await client.peer_left() == "fin"
