"""What is right on the request side: what a client may be answered, and what may come upstream.

Every good request is answered by the upstream. Everything else is refused with a row of the contract's table.
What comes upstream is what the client sent as a request, strictly read: the same ones in the same order, no
other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from fuzzing.ends import Asked, Finding, described
from fuzzing.meaning import Request, Requests
from fuzzing.rig import MAX_BODY_BYTES
from tests.contract import refusals
from tests.contract.refusals import check_some_refusal
from tests.support.places import UPSTREAM_KEY
from tests.support.raw_client import RawResponse
from tests.support.wire import WireError

_TARGETS = {
    "/ai-gateway/gemini/v1beta/models/gemini-2.5-flash:generateContent",
    "/ai-gateway/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent",
    "/ai-gateway/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    "/v1/gemini/v1/models/gemini-2.5-flash:generateContent",
}
"""Some of those that are good."""
_PLAIN = {
    "host", "x-goog-api-key", "content-type", "user-agent", "accept", "accept-encoding", "cookie",
    "content-length", "transfer-encoding",
}  # fmt: skip
"""Headers of which one each makes no request a bad one."""
_FORWARDED = re.compile(
    r"/(v1|v1beta|v1alpha)/models/[a-z0-9.-]+:(generateContent|streamGenerateContent)"
    r"(\?\$?alt=(sse|json|json;enum-encoding=int))?"
)
"""What is asked of an upstream, percent-decoded."""
_UPSTREAM = {
    "host", "x-goog-api-key", "content-type", "content-encoding", "accept", "user-agent", "x-goog-api-client",
    "accept-encoding", "x-server-timeout", "x-goog-request-params", "content-length", "transfer-encoding",
}  # fmt: skip
_UNCHANGED = ("content-type", "content-encoding", "accept", "user-agent", "x-goog-api-client")
_ONCE = ("host", "content-length", "transfer-encoding", "accept-encoding")
_NEVER = {refusals.INTERNAL, refusals.UPSTREAM_TIMEOUT, refusals.OVERLOADED, refusals.DRAINING}


@dataclass(frozen=True)
class Circumstances:
    """What else has to be known to judge answers."""

    answered: int
    """How many requests the upstream has answered."""
    failing: bool
    """The upstream never answers, but leaves."""
    left: bool
    """The client has left before it had its answers."""


def owed(sent: Requests, token: str) -> int:
    """To how many requests, from the first, nothing else than the upstream's answer is right."""
    for count, request in enumerate(sent.all):
        if not (_is_plain(request, token) and request.whole and len(request.body.data) <= MAX_BODY_BYTES):
            return count
    return len(sent.all)


def _is_plain(request: Request, token: str) -> bool:
    head = request.head
    method, target, version = head.request_line()
    names = [name.lower() for name, _ in head.headers]
    return (
        (method, version) == ("POST", "HTTP/1.1")
        and target in _TARGETS
        and head.all("x-goog-api-key") == [token]
        and "host" in names
        and set(names) <= _PLAIN
        and len(set(names)) == len(names)
        and len(head.raw) < 8000
        and not request.odd
    )


def check_answers(answers: Sequence[RawResponse], sent: Requests, due: int, how: Circumstances) -> None:
    """Compare what a client was answered with what it sent. Raises Finding."""
    finals = [answer for answer in answers if answer.status != 100]
    statuses = [answer.status for answer in finals]
    if len(finals) < due and not how.left:
        raise Finding(f"{due} good requests, and the answers {statuses}")
    if len(finals) > len(sent.all) + sent.broken:
        raise Finding(f"{len(sent.all)} requests, and the answers {statuses}")
    if len(answers) - len(finals) > sum(bool(one.head.all("expect")) for one in sent.all):
        raise Finding("a 100 Continue that nobody expected")
    passed = []
    for number, answer in enumerate(finals):
        if answer.ended != "complete" and not (how.left and answer is finals[-1]):
            raise Finding(f"an answer that is not whole: {described(answer)}")
        if answer.header("x-gateway-error"):
            _check_refusal(answer, good=number < due, failing=how.failing)
            if number < len(sent.all):
                _check_framing(answer, sent.all[number])
        elif answer.ended == "complete":
            passed.append(_number(answer, how.answered))
    if passed != sorted(set(passed)):
        raise Finding(f"the upstream's answers in the order {passed}")


def _check_refusal(answer: RawResponse, *, good: bool, failing: bool) -> None:
    try:
        row = check_some_refusal(answer, head=not answer.body)
    except (AssertionError, ValueError, LookupError, TypeError) as error:
        raise Finding(f"no refusal of the contract ({error}): {described(answer)}") from error
    upstreams_fault = failing and row is refusals.UPSTREAM_FAILED
    if row in _NEVER or (row is refusals.UPSTREAM_FAILED and not failing):
        raise Finding(f"a refusal without a reason: {described(answer)}")
    if good and not upstreams_fault:
        raise Finding(f"a good request was refused: {described(answer)}")


def _check_framing(answer: RawResponse, request: Request) -> None:
    """An error is framed as the answer would have been, where it is clear what was asked."""
    method, target, version = request.head.request_line()
    clear = target in _TARGETS and (method, version) == ("POST", "HTTP/1.1")
    if clear and answer.header("x-gateway-error") != [refusals.HTTP_MALFORMED.reason]:
        array = target.endswith("streamGenerateContent")
        if array != isinstance(json.loads(answer.body), list):
            raise Finding(f"a refusal framed in another way than its answer: {described(answer)}")


def _number(answer: RawResponse, answered: int) -> int:
    """The number of the upstream's answer that this is."""
    try:
        number = int(json.loads(answer.body)["answer"])
    except (ValueError, LookupError, TypeError) as error:
        raise Finding(f"nobody's answer: {described(answer)}") from error
    if answer.status != 200 or not 0 <= number < answered:
        raise Finding(f"not the upstream's answer: {described(answer)}")
    return number


def check_asked(asked: Sequence[Asked], sent: Requests) -> None:
    """Compare what came upstream with what the client sent. Raises Finding."""
    candidates = iter(sent.all)
    for one in asked:
        _check_form(one)
        if not any(_is_from(one, candidate) for candidate in candidates):
            raise Finding(f"upstream came what nobody sent: {one.head.raw!r} {bytes(one.body.data)!r}")


def _check_form(asked: Asked) -> None:
    head = asked.head
    names = [name.lower() for name, _ in head.headers]
    try:
        assert (asked.method, asked.version) == ("POST", "HTTP/1.1"), "another method or version"
        assert _FORWARDED.fullmatch(unquote(asked.target)), "a target that the gateway never asks for"
        assert head.all("x-goog-api-key") == [UPSTREAM_KEY], "another credential"
        assert set(names) <= _UPSTREAM, "a header that stays here"
        assert all(names.count(name) <= 1 for name in _ONCE), "a header twice"
        assert head.all("host") == [asked.end.host], "another host"
        assert len(asked.body.data) <= MAX_BODY_BYTES, "a body too large"
    except (AssertionError, WireError) as error:
        raise Finding(f"{error} came upstream: {head.raw!r}") from error


def _is_from(asked: Asked, sent: Request) -> bool:
    """Whether a request upstream is what the gateway made of that one."""
    method, target, _ = sent.head.request_line()
    action = asked.target.partition("?")[0].rpartition(":")[2]
    if method != "POST" or action not in target:
        return False
    if any(asked.head.all(name) != sent.head.all(name) for name in _UNCHANGED):
        return False
    if asked.body.complete:
        return sent.whole and asked.body.data == sent.body.data
    return sent.body.data.startswith(asked.body.data)


def check_secrecy(token: str, answers: Sequence[RawResponse]) -> None:
    """The client's token stands in no answer. Raises Finding."""
    secret = token.rpartition("_")[2].encode()
    for answer in answers:
        if secret in answer.raw_head + answer.body:
            raise Finding(f"a token in an answer: {described(answer)}")
