"""One request of a client, and the judgement on what it got: whole and right, or plainly broken."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from soak.answers import Expected, expected
from soak.ledger import Ledger, Seen, Violation
from soak.plan import Plan
from soak.samples import Sample, samples
from tests.support.raw_client import RawClient, RawResponse
from tests.support.script import LAST_CHUNK, chunk

DEADLINE = 60.0
"""Seconds that a client waits for anything. Each of the gateway's own deadlines is much shorter."""
MODELS: dict[Literal["plain", "tls"], str] = {"plain": "gemini-2.5-flash", "tls": "gemini-2.5-pro"}
"""By the upstream that serves it."""
_BLOCK = random.Random(0).randbytes(8 << 20)
_EVENT_START = b'data: {"error":{'


@dataclass(frozen=True)
class Traffic:
    """Where requests go, as whom, and where is noted what comes of them."""

    port: int
    token: str
    ledger: Ledger

    def connect(self, *, receive_buffer: int | None = None) -> RawClient:
        """A connection to the gateway, to be opened with `async with`."""
        return RawClient("127.0.0.1", self.port, receive_buffer=receive_buffer, deadline=DEADLINE)


@dataclass(frozen=True)
class Ask:
    """A good request with the plan for its answer."""

    plan: Plan
    upstream: Literal["plain", "tls"]
    token: str
    body: bytes
    chunked: bool = False
    expects: bool = False
    """Whether it waits for `100 Continue` before it sends its body."""
    closes: bool = False
    """Whether it says that it will be the last on its connection."""

    @property
    def sample(self) -> Sample:
        return samples().all[self.plan.sample]

    def head(self) -> bytes:
        """Up to the empty line."""
        name, value = self.plan.header()
        lines = [
            f"POST /ai-gateway/gemini/v1beta/models/{MODELS[self.upstream]}:{self.sample.action} HTTP/1.1",
            "Host: gateway.test",
            f"Authorization: Bearer {self.token}",
            "Content-Type: application/json",
            "Accept-Encoding: gzip",
            f"{name}: {value}",
            "Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {len(self.body)}",
        ]
        lines += ["Expect: 100-continue"] if self.expects else []
        lines += ["Connection: close"] if self.closes else []
        return "\r\n".join([*lines, "", ""]).encode()

    def pieces(self, size: int) -> list[bytes]:
        """The body as it goes over the wire, cut into pieces of that size before it is framed."""
        pieces = [self.body[start : start + size] for start in range(0, len(self.body), size)]
        return [*map(chunk, pieces), LAST_CHUNK] if self.chunked else pieces

    def encoded(self) -> bytes:
        """The whole request."""
        return self.head() + b"".join(self.pieces(65536))

    def __str__(self) -> str:
        return f"{self.plan} over {self.upstream} of {self.sample.exchange.name}"


def ask(
    traffic: Traffic,
    chance: random.Random,
    plan: Plan,
    *,
    size: int | None = None,
    chunked: bool = False,
    expects: bool = False,
    closes: bool = False,
    token: str = "",
) -> Ask:
    """A request for that plan, with a body of `size` bytes (by default of some hundred or thousand)."""
    size = chance.choice((2, 300, 3000, 30_000)) if size is None else size
    start = chance.randrange(len(_BLOCK) - size)
    body = _BLOCK[start : start + size]
    plan = msgspec.structs.replace(plan, upload_bytes=size, upload_crc32=zlib.crc32(body))
    upstream = chance.choice(tuple(MODELS))
    return Ask(plan, upstream, token or traffic.token, body, chunked, expects, closes)


async def receive(traffic: Traffic, client: RawClient, request: Ask) -> tuple[str, bool]:
    """Read the answer to its end, judge and note it. Raises Violation.

    What it came to, and whether another request may follow on the connection.
    """
    answer = await client.read_head()
    await client.read_body(answer)
    return settle(traffic, request, answer), keeps(answer)


def keeps(answer: RawResponse) -> bool:
    """Whether another request may follow on the connection."""
    return answer.ended == "complete" and answer.header("connection") != ["close"]


def settle(traffic: Traffic, request: Ask, answer: RawResponse, *, also: frozenset[int] = frozenset()) -> str:
    """Judge an answer that has been read to its end, and note it; what it came to. Raises Violation.

    `also` are statuses of the gateway's own that may come instead.
    """
    wanted = expected(request.plan, request.sample)
    if answer.status in also - wanted.statuses:
        check_refusal(str(request), answer)
        note(traffic, answer, str(request), None)
        return f"refused with {answer.status}"
    outcome, body_bytes = _check(request, answer, wanted)
    note(
        traffic,
        answer,
        str(request),
        wanted.endings,
        request_bytes=None if request.plan.early else len(request.body),
        response_bytes=body_bytes if outcome == "whole" else None,
        tokens=wanted.tokens,
        planned=True,
    )
    return outcome


def note(
    traffic: Traffic,
    answer: RawResponse,
    what: str,
    endings: Iterable[str] | None,
    *,
    request_bytes: int | None = None,
    response_bytes: int | None = None,
    tokens: int | None = None,
    planned: bool = False,
) -> None:
    """Note an answer's head for the comparison with the access log; see `Seen`. Raises Violation."""
    ids = answer.header("x-request-id")
    if len(ids) != 1:
        raise Violation(f"{what}: answered with {len(ids)} request ids")
    admitted = None if endings is None else frozenset(endings)
    seen = Seen(what, answer.status, admitted, request_bytes, response_bytes, tokens)
    traffic.ledger.saw(ids[0], seen, planned=planned)


def check_refusal(what: str, answer: RawResponse) -> None:
    """Raises Violation unless it is whole and says in its body, too, what its status says."""
    document = json.loads(answer.body) if answer.ended == "complete" else {}
    [document] = document if isinstance(document, list) else [document]
    if document.get("error", {}).get("code") != answer.status:
        raise Violation(f"{what}: {answer.status}, {answer.ended} with {answer.body[:300]!r}")


def _check(request: Ask, answer: RawResponse, wanted: Expected) -> tuple[str, int]:
    if answer.status not in wanted.statuses:
        raise Violation(f"{request}: answered with {answer.status}, {answer.body[:300]!r}")
    if answer.header("x-gateway-error"):
        check_refusal(str(request), answer)
        return f"refused with {answer.status}", len(answer.body)
    if answer.header("x-upstream-request-id") != [request.plan.id]:
        raise Violation(f"{request}: answered with what another request asked for")
    if wanted.whole:
        if answer.ended != "complete" or answer.body != wanted.body:
            raise Violation(f"{request}: {answer.ended} with {_difference(answer.body, wanted.body)}")
        return "whole", len(answer.body)
    body = _without_event(request, answer, wanted)
    if answer.ended not in ("eof_without_terminator", "short"):
        raise Violation(f"{request}: ended as {answer.ended} though it broke")
    if not wanted.body.startswith(body) or (wanted.exact and body != wanted.body):
        raise Violation(f"{request}: broken with {_difference(body, wanted.body)}")
    return "broken", len(body)


def _without_event(request: Ask, answer: RawResponse, wanted: Expected) -> bytes:
    """The body without the error event at its end, which must be there or not."""
    body = answer.body
    start = body.rfind(_EVENT_START)
    if start < 0 or (wanted.body.startswith(body)):
        if wanted.event:
            raise Violation(f"{request}: broken without the event that says why: {body[-300:]!r}")
        return body
    event = body[start:].removeprefix(b"data: ")
    code = json.loads(event)["error"]["code"]
    if (wanted.event is not None or wanted.exact) and code != wanted.event:
        raise Violation(f"{request}: broken with an event of {code}, not {wanted.event}: {event!r}")
    return body[:start]


def _difference(got: bytes, wanted: bytes) -> str:
    same = next(
        (n for n, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), len(wanted))
    )
    return (
        f"{len(got)} bytes for {len(wanted)}, different from byte {same}: "
        f"{got[same : same + 80]!r} for {wanted[same : same + 80]!r}"
    )
