"""Clients that send something wrong: each request gets the one refusal that it deserves."""

from __future__ import annotations

import random
from dataclasses import dataclass

from soak.asking import Ask, Traffic, ask, check_refusal, note
from soak.ledger import Violation
from soak.plan import draw
from soak.samples import samples
from tests.support.raw_client import RawResponse

_WRONG_TOKENS = 100
"""Few: the gateway remembers each for a while, and its memory must not grow by what it may well keep."""


@dataclass(frozen=True)
class _Wrong:
    """What makes a good request a bad one: `old` replaced by `new`."""

    what: str
    status: int
    old: bytes
    new: bytes

    def in_place(self, request: Ask) -> bytes:
        encoded = request.encoded()
        assert self.old in encoded
        return encoded.replace(self.old, self.new, 1)


_MALFORMED = (
    _Wrong("TLS", 400, b"POST ", bytes.fromhex("1603010200010001fc0303") + bytes(300)),
    _Wrong("a control byte in a header", 400, b"Host: ", b"X: \x01\r\nHost: "),
    _Wrong("a space in a header's name", 400, b"Host: ", b"X Y: 1\r\nHost: "),
    _Wrong("an absolute target", 400, b"POST ", b"POST http://elsewhere.test"),
    _Wrong("a length and chunks", 400, b"Host: ", b"Transfer-Encoding: chunked\r\nHost: "),
    _Wrong("an unknown coding", 400, b"Host: ", b"Transfer-Encoding: gzip\r\nHost: "),
    _Wrong("no chunk size", 400, b"Content-Length: 2\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    _Wrong("too long a line", 414, b"POST ", b"POST /" + b"a" * 20_000),
    _Wrong("too long a header", 431, b"Host: ", b"X: " + b"a" * 20_000 + b"\r\nHost: "),
)
_REFUSED = (
    _Wrong("no token", 401, b"Authorization: ", b"X-Other: "),
    _Wrong("a malformed token", 401, b"Bearer nt_live_", b"Bearer nt_live"),
    _Wrong("an unknown model", 400, b"/models/gemini-", b"/models/gemini-9-"),
    _Wrong("an unknown action", 404, b"enerateContent", b"enerateNothing"),
    _Wrong("an unknown path", 404, b"/ai-gateway/", b"/elsewhere/"),
    _Wrong("another method", 405, b"POST ", b"PUT "),
    _Wrong("too large a body", 413, b"Content-Length: 2\r\n", b"Content-Length: 33554433\r\n"),
)


async def malformed(traffic: Traffic, chance: random.Random) -> None:
    """What is not HTTP, or must not be passed on: refused, and its connection ended with FIN."""
    wrong = chance.choice(_MALFORMED)
    async with traffic.connect() as client:
        await client.send(wrong.in_place(_small(traffic, chance)))
        answer = await client.read_response()
        _judge(traffic, wrong, answer)
        if (left := await client.peer_left()) != "fin":
            raise Violation(f"{wrong.what}: refused, and its connection ended by {left}")
    traffic.ledger.count("malformed", wrong.what)


async def refused(traffic: Traffic, chance: random.Random) -> None:
    """Good HTTP with something wrong in it, several times on one connection as long as it is kept."""
    async with traffic.connect() as client:
        for _ in range(chance.randrange(1, 6)):
            request = _small(traffic, chance)
            wrong = chance.choice((*_REFUSED, _wrong_token(request, chance)))
            await client.send(wrong.in_place(request))
            answer = await client.read_response()
            _judge(traffic, wrong, answer)
            traffic.ledger.count("refused", wrong.what)
            if answer.header("connection") == ["close"]:
                return


def _small(traffic: Traffic, chance: random.Random) -> Ask:
    return ask(traffic, chance, draw(chance, samples().positions(status=200)), size=2)


def _wrong_token(request: Ask, chance: random.Random) -> _Wrong:
    number = chance.randrange(_WRONG_TOKENS)
    return _Wrong("a wrong token", 401, request.token.encode(), f"nt_live_{'a' * 16}_{number:064x}".encode())


def _judge(traffic: Traffic, wrong: _Wrong, answer: RawResponse) -> None:
    if answer.status != wrong.status or not answer.header("x-gateway-error"):
        raise Violation(f"{wrong.what}: answered with {answer.status}, not {wrong.status}")
    check_refusal(wrong.what, answer)
    note(traffic, answer, wrong.what, {"refused"})
