"""What a plan comes to: the bytes that the upstream sends for it, and what its client has to get."""

from __future__ import annotations

from dataclasses import dataclass

from soak.plan import STALLS, Fault, Plan
from soak.samples import Sample
from tests.support.script import (
    LAST_CHUNK,
    Script,
    Step,
    close,
    cut,
    fin,
    keep_open,
    pause,
    response_bytes,
    rst,
    send,
)
from tests.support.wire import take_head

_INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
_SURPLUS = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsurplus"
_DROP_SECONDS = 0.02
"""So that the drop sometimes meets the connection's next request, and sometimes the pool."""
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n")
_NO_HEAD = {Fault.NO_HEAD_FIN, Fault.NO_HEAD_RST, Fault.IN_HEAD, Fault.NO_HTTP, Fault.STALL_NO_HEAD}
_IN_BODY = {Fault.IN_BODY_FIN, Fault.IN_BODY_CLOSE, Fault.IN_BODY_RST, Fault.BAD_CHUNK, Fault.STALL_IN_BODY}
_INEXACT = {Fault.IN_BODY_RST, Fault.BAD_CHUNK}
"""What came before it, even of the head, may be lost, by the kernel or for being read with what is wrong."""
_KEY_REFUSED = (b"API_KEY_INVALID", b"UNAUTHENTICATED")


def script(plan: Plan, sample: Sample, *, used: bool) -> Script:
    """What the upstream does when the request is there; `used` is whether its connection had one before."""
    if plan.fault is Fault.STALE and used:
        return [close()]
    return [*_sending(plan, _sent(plan, sample)), *_end(plan)]


def _sending(plan: Plan, data: bytes) -> list[Step]:
    chance = plan.chance()
    steps: list[Step] = []
    for piece in cut(data, (chance.randrange(len(data) + 1) for _ in range(plan.pieces - 1))):
        steps += [send(piece), pause(plan.gap)]
    return steps[:-1]


def _end(plan: Plan) -> list[Step]:
    match plan.fault:
        case Fault.CLOSES | Fault.UNTIL_CLOSE | Fault.NO_HEAD_FIN | Fault.IN_HEAD | Fault.IN_BODY_CLOSE:
            return [close()]
        case Fault.DROPS:
            return [pause(_DROP_SECONDS * plan.at), close()]
        case Fault.NO_HEAD_RST | Fault.IN_BODY_RST:
            return [rst()]
        case Fault.IN_BODY_FIN:
            return [fin(), keep_open()]
        case Fault.NO_HTTP | Fault.BAD_CHUNK | Fault.STALL_NO_HEAD | Fault.STALL_IN_BODY:
            return [keep_open()]
        case _:
            return []


def _whole(plan: Plan, sample: Sample) -> bytes:
    """The answer that there would be without the fault."""
    headers = [*sample.exchange.headers, ("x-request-id", plan.id)]
    if plan.fault is Fault.CLOSES:
        headers.append(("Connection", "close"))
    chance = plan.chance()
    body = cut(sample.body, (chance.randrange(len(sample.body)) for _ in range(chance.randrange(20))))
    framing = "close" if plan.fault is Fault.UNTIL_CLOSE else plan.framing
    answer = response_bytes(sample.exchange.status, headers, body, framing)
    return _INTERIM + answer if plan.interim else answer


def _sent(plan: Plan, sample: Sample) -> bytes:
    """All that the upstream sends."""
    answer = _whole(plan, sample)
    interim = len(_INTERIM) if plan.interim else 0
    body_at = answer.index(b"\r\n\r\n", interim) + 4
    part = answer[: body_at + int(plan.at * (len(answer) - body_at))]
    match plan.fault:
        case Fault.NO_HEAD_FIN | Fault.NO_HEAD_RST | Fault.STALL_NO_HEAD:
            return b""
        case Fault.IN_HEAD:
            return answer[: interim + 1 + int(plan.at * (body_at - interim - 2))]
        case Fault.NO_HTTP:
            return b"what is this?\r\n\r\n"
        case Fault.IN_BODY_FIN | Fault.IN_BODY_CLOSE | Fault.IN_BODY_RST | Fault.STALL_IN_BODY:
            return part
        case Fault.BAD_CHUNK:
            return answer.removesuffix(LAST_CHUNK) + b"no size\r\n"
        case Fault.SURPLUS:
            return answer + _SURPLUS
        case _:
            return answer


@dataclass(frozen=True)
class Expected:
    """What a client that reads to the end has to get."""

    statuses: frozenset[int]
    whole: bool
    """Otherwise it must look broken."""
    body: bytes
    """All of it, or, where it breaks off, as far as the upstream has sent it."""
    exact: bool
    """Whether just this body must come; otherwise its beginning, of any length."""
    endings: frozenset[str]
    """That the access log may show."""
    tokens: int | None = None
    """What the access log has to show of a whole answer."""
    event: int | None = None
    """The code of the error event with which the body has to end; None where there must be none."""


def expected(plan: Plan, sample: Sample) -> Expected:
    """Whatever the client does that is right."""
    if not _passes(plan, sample):
        deadline = plan.fault in STALLS
        return _refused(504 if deadline else 502, "deadline" if deadline else "refused")
    if plan.fault in _IN_BODY:
        return _broken(plan, sample)
    status = sample.exchange.status
    return Expected(frozenset({status}), True, sample.body, True, frozenset({sample.ending}), sample.tokens)


def _passes(plan: Plan, sample: Sample) -> bool:
    """Whether anything of the upstream's answer reaches the client."""
    if plan.fault in _NO_HEAD:
        return False
    return sample.exchange.status == 200 or not any(reason in sample.body for reason in _KEY_REFUSED)


def _refused(status: int, ending: str) -> Expected:
    return Expected(frozenset({status}), True, b"", False, frozenset({ending}))


def _broken(plan: Plan, sample: Sample) -> Expected:
    exact = plan.fault not in _INEXACT
    if not exact:
        return Expected(frozenset({200, 502}), False, sample.body, False, frozenset({"truncated", "refused"}))
    sent = bytearray(_sent(plan, sample)[len(_INTERIM) if plan.interim else 0 :])
    head = take_head(sent)
    assert head
    body = head.response_body("POST")
    body.feed(sent)
    data = bytes(body.data)
    takes_event = sample.readable_sse and body.framing == "chunked"
    code, ending = (504, "deadline") if plan.fault in STALLS else (502, "truncated")
    return Expected(
        statuses=frozenset({200}),
        whole=False,
        body=data,
        exact=True,
        endings=frozenset({ending}),
        event=code if takes_event and (not data or data.endswith(_EVENT_ENDS)) else None,
    )
