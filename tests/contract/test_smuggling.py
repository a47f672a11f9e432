"""Where a request's body ends: two opinions about it are one too many, so what is ambiguous is refused.

Each case carries a whole second request in the place where another reading of the framing would find it.
What the upstream sees is exactly one request with exactly the expected body, or none.
"""

from __future__ import annotations

import pytest

from tests.contract import refusals
from tests.contract.refusals import check, check_some_refusal
from tests.contract.rig import Rig
from tests.support.raw_client import RawClient

TE = "Transfer-Encoding: chunked"
BODY = b"2\r\n{}\r\n0\r\n\r\n"
SPLITS = {"whole": 1 << 20, "in pieces": 7, "byte by byte": 1}


def smuggled(rig: Rig) -> bytes:
    """A good request that nobody must ever see."""
    return rig.request(body=b"SMUGGLED").encode()


def request(rig: Rig, framing: str, rest: bytes, method: str = "POST") -> bytes:
    """A good head with that framing (lines, or parts of lines), and what follows it."""
    head = rig.request(method=method, length=None, headers=(("X-Last", "1"),)).head()
    return head.removesuffix(b"\r\n") + framing.encode("latin-1") + b"\r\n\r\n" + rest


def whole_bodies(rig: Rig, asked_before: int) -> list[bytes]:
    """Bodies that came upstream to their end; what was given up may be recorded in a later test."""
    return [one.body for one in rig.upstream.requests[asked_before:] if one.body_complete]


AMBIGUOUS: dict[str, tuple[str, bytes]] = {
    "CL and TE": (f"Content-Length: 3\r\n{TE}", b"0\r\n\r\n"),
    "TE and CL": (f"{TE}\r\nContent-Length: 3", b"0\r\n\r\n"),
    "CL of nothing and TE": (f"Content-Length: 0\r\n{TE}", BODY),
    "two lengths": ("Content-Length: 0\r\nContent-Length: 2", b"{}"),
    "one length twice": ("Content-Length: 2\r\nContent-Length: 2", b"{}"),
    "list of lengths": ("Content-Length: 2, 2", b"{}"),
    "empty length": ("Content-Length:", b""),
    "length with a plus": ("Content-Length: +2", b"{}"),
    "negative length": ("Content-Length: -1", b""),
    "hexadecimal length": ("Content-Length: 0x2", b"{}"),
    "length with a space inside": ("Content-Length: 1 2", b"{}"),
    "length with a fraction": ("Content-Length: 2.0", b"{}"),
    "length of other digits": ("Content-Length: \xb2", b"{}"),
    "length with more digits than any needs": (f"Content-Length: {'0' * 20}2", b"{}"),
    "length past 64 bits": (f"Content-Length: {2**64}", b""),
    "length that parsers take for none": (f"Content-Length: {2**64 - 1}", b""),
    "folded length": ("Content-Length: 1\r\n 0", b"{}"),
    "space before the length's colon": ("Content-Length : 2", b"{}"),
    "TE twice": (f"{TE}\r\n{TE}", BODY),
    "TE twice, once identity": (f"{TE}\r\nTransfer-Encoding: identity", BODY),
    "TE list": ("Transfer-Encoding: chunked, chunked", BODY),
    "TE list, identity first": ("Transfer-Encoding: identity, chunked", BODY),
    "TE list, identity last": ("Transfer-Encoding: chunked, identity", BODY),
    "TE gzip": ("Transfer-Encoding: gzip, chunked", BODY),
    "TE identity": ("Transfer-Encoding: identity", b""),
    "TE empty": ("Transfer-Encoding:", b""),
    "TE empty and CL": ("Transfer-Encoding:\r\nContent-Length: 0", b""),
    "TE unknown": ("Transfer-Encoding: xchunked", BODY),
    "TE quoted": ('Transfer-Encoding: "chunked"', BODY),
    "TE with a parameter": ("Transfer-Encoding: chunked;q=1", BODY),
    "TE with spaces behind it": ("Transfer-Encoding: chunked \t", BODY),
    "TE with a comma": ("Transfer-Encoding: ,chunked", BODY),
    "TE with a vertical tab": ("Transfer-Encoding: \x0bchunked", BODY),
    "TE with a NUL": ("Transfer-Encoding: chunked\x00", BODY),
    "TE behind a byte": ("Transfer-Encoding: \xffchunked", BODY),
    "TE, space before the colon": ("Transfer-Encoding : chunked", BODY),
    "TE, tab before the colon": ("Transfer-Encoding\t: chunked", BODY),
    "TE, folded": ("Transfer-Encoding:\r\n chunked", BODY),
    "TE, folded into the line before": (f" {TE}", BODY),
    "TE behind a bare LF": (f"X: y\n{TE}", BODY),
    "TE behind a bare CR": (f"X: y\r{TE}", BODY),
    "TE under a name with a control byte": ("Transfer-Encoding\x0b: chunked", BODY),
    "no colon": ("Transfer-Encoding chunked", BODY),
}
"""Heads that leave open where the body ends, with what they would like to have taken for it."""

BROKEN: dict[str, bytes] = {
    "no size": b"\r\n\r\n",
    "size that is none": b"zz\r\n{}\r\n0\r\n\r\n",
    "size with a prefix": b"0x2\r\n{}\r\n0\r\n\r\n",
    "size with a plus": b"+2\r\n{}\r\n0\r\n\r\n",
    "negative size": b"-2\r\n{}\r\n0\r\n\r\n",
    "space before the size": b" 2\r\n{}\r\n0\r\n\r\n",
    "space behind the size": b"2 \r\n{}\r\n0\r\n\r\n",
    "tab behind the size": b"2\t\r\n{}\r\n0\r\n\r\n",
    "size past 64 bits": b"10000000000000002\r\n{}\r\n0\r\n\r\n",
    "more data than the size": b"2\r\n{}x\r\n0\r\n\r\n",
    "less data than the size": b"3\r\n{}\r\n0\r\n\r\n",
    "no line end behind the data": b"2\r\n{}0\r\n\r\n",
    "bare LF behind the size": b"2\n{}\r\n0\r\n\r\n",
    "bare LF behind the data": b"2\r\n{}\n0\r\n\r\n",
    "bare LF at the end": b"2\r\n{}\r\n0\n\n",
    "bare LF in an extension": b"2;a\nb\r\n{}\r\n0\r\n\r\n",
    "NUL in an extension": b"2;a=\x00\r\n{}\r\n0\r\n\r\n",
    "trailer that is none": b"2\r\n{}\r\n0\r\nno colon\r\n\r\n",
    "length in a trailer": b"2\r\n{}\r\n0\r\nContent-Length: 2\r\n\r\n",
    "coding in a trailer": b"2\r\n{}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "folded trailer": b"2\r\n{}\r\n0\r\nA: b\r\n c\r\n\r\n",
}
"""Chunked bodies that are not what they should be."""

TAKEN: dict[str, tuple[str, bytes, bytes]] = {
    "length": ("Content-Length: 2", b"{}", b"{}"),
    "length with spaces": ("Content-Length:\t 2 \t", b"{}", b"{}"),
    "length with zeros": ("Content-Length: 002", b"{}", b"{}"),
    "no length": ("X: 1", b"", b""),
    "length of nothing": ("Content-Length: 0", b"", b""),
    "underscore": ("Transfer_Encoding: chunked\r\nContent-Length: 2", b"{}", b"{}"),
    "other encoding": ("Content-Encoding: chunked\r\nContent-Length: 2", b"{}", b"{}"),
    "prefixed": ("X-Transfer-Encoding: chunked\r\nContent-Length: 2", b"{}", b"{}"),
    "chunked": (TE, BODY, b"{}"),
    "chunked in capitals": ("TRANSFER-ENCODING: CHUNKED", BODY, b"{}"),
    "chunked with spaces": ("Transfer-Encoding:\t  chunked", BODY, b"{}"),
    "chunked without a space": ("Transfer-Encoding:chunked", BODY, b"{}"),
    "size with zeros": (TE, b"0002\r\n{}\r\n0000\r\n\r\n", b"{}"),
    "hexadecimal size": (TE, b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
    "extensions": (TE, b'1;a\r\n{\r\n1;b="c;d";e\r\n}\r\n0;f\r\n\r\n', b"{}"),
    "chunks in the data": (TE, b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
    "trailers": (TE, b"2\r\n{}\r\n0\r\nX-Trailer: 1\r\nx-goog-api-key: a\r\n\r\n", b"{}"),
    "nothing, chunked": (TE, b"0\r\n\r\n", b""),
}
"""Framings that mean one thing, and the body that they mean."""


async def send(client: RawClient, data: bytes, every: int) -> None:
    await client.send(data, range(every, len(data), every))


@pytest.mark.parametrize("every", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("case", AMBIGUOUS)
async def test_an_ambiguous_head_is_refused_and_nothing_behind_it_is_read(
    rig: Rig, case: str, every: int
) -> None:
    asked_before = rig.upstream.total_requests
    framing, rest = AMBIGUOUS[case]
    async with rig.client() as client:
        await send(client, request(rig, framing, rest) + smuggled(rig), every)
        assert check_some_refusal(await client.read_response()) is refusals.HTTP_MALFORMED
        assert await client.peer_left() == "fin"
    assert rig.upstream.total_requests == asked_before


@pytest.mark.parametrize("every", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("case", BROKEN)
async def test_a_broken_chunk_ends_both_connections(rig: Rig, case: str, every: int) -> None:
    asked_before = rig.upstream.total_requests
    async with rig.client() as client:
        await send(client, request(rig, TE, BROKEN[case]) + smuggled(rig), every)
        assert check_some_refusal(await client.read_response()) is refusals.HTTP_MALFORMED
        assert await client.peer_left() == "fin"
    for upstream in rig.upstream.requests[asked_before:]:  # that one, if it was asked before the break
        await upstream.closed()
    assert whole_bodies(rig, asked_before) == []


@pytest.mark.parametrize("every", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("case", TAKEN)
async def test_a_clear_framing_gives_that_body_and_nothing_of_it_to_the_next_request(
    rig: Rig, case: str, every: int
) -> None:
    asked_before = rig.upstream.total_requests
    framing, rest, body = TAKEN[case]
    async with rig.client() as client:
        await send(client, request(rig, framing, rest) + smuggled(rig), every)
        assert (await client.read_response()).status == 200
        assert (await client.read_response()).status == 200
    assert whole_bodies(rig, asked_before) == [body, b"SMUGGLED"]
    assert not any(one.incoming.trailers for one in rig.upstream.requests[asked_before:])


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_the_body_of_a_refused_method_is_no_request(rig: Rig, method: str, *, chunked: bool) -> None:
    asked_before = rig.upstream.total_requests
    inner = smuggled(rig)
    rest = b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner) if chunked else inner
    framing = TE if chunked else f"Content-Length: {len(inner)}"
    async with rig.client() as client:
        await client.send(request(rig, framing, rest, method) + rig.request(body=b"next").encode())
        answer = await client.read_response(method)
        assert check_some_refusal(answer, head=method == "HEAD") is refusals.METHOD
        assert (await client.read_response()).status == 200
    assert whole_bodies(rig, asked_before) == [b"next"]


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0", "a, b"])
async def test_nothing_behind_an_offer_to_upgrade_is_another_protocol(rig: Rig, protocol: str) -> None:
    asked_before = rig.upstream.total_requests
    offer = f"Connection: Upgrade\r\nUpgrade: {protocol}\r\nContent-Length: 2"
    async with rig.client() as client:
        await client.send(request(rig, offer, b"{}") + smuggled(rig))
        answer = await client.read_response()
        assert (answer.status, answer.header("Connection")) == (200, ["close"])
        assert await client.peer_left() == "fin"
    assert whole_bodies(rig, asked_before) == [b"{}"]
    async with rig.client() as client:
        refused = request(rig, offer.replace("2", "1"), b"{", method="GET")
        await client.send(refused + smuggled(rig))
        check(await client.read_response(), refusals.METHOD, {"method": "GET"}, keep=False)
        assert await client.peer_left() == "fin"


async def test_chunks_over_http_1_0_are_refused(rig: Rig) -> None:
    head = request(rig, TE, BODY).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    async with rig.client() as client:
        await client.send(head + smuggled(rig))
        check(await client.read_response(), refusals.HTTP_MALFORMED, keep=False)
        assert await client.peer_left() == "fin"
