"""What is right on the response side: what a client may see of an answer, given what its upstream sent.

Whole answers arrive whole. What broke never looks whole, is the beginning of what was sent, and says so in
one event where its framing takes one. What was never an answer is a refusal of the contract's.
"""

from __future__ import annotations

import json
import re
from collections import Counter

from fuzzing.ends import Finding, described
from fuzzing.meaning import Response
from gateway.exchange import Ending, Exchange
from tests.contract import refusals
from tests.contract.refusals import check_some_refusal
from tests.support.raw_client import RawResponse

_EXAMINED = {400, 401, 403, 429}
"""Statuses of which the body has to be known before a client sees anything."""
_KEY_REFUSALS = {400, 401, 403}
"""Those that may be about the gateway's own key; a 401 always is."""
_HEAD_LIMIT = 60_000
"""A head longer than that may be refused."""
_HIDDEN = {
    "keep-alive", "proxy-authenticate", "proxy-connection", "te", "trailer", "upgrade", "set-cookie",
    "server", "alt-svc", "x-client-request-id",
}  # fmt: skip
"""Headers that never pass, beside those that the upstream's Connection header names."""
_OWN = {
    "connection",
    "transfer-encoding",
    "content-length",
    "x-request-id",
    "x-upstream-request-id",
    "x-gateway-attempts",
}
"""Headers that the gateway writes itself."""
_EVENT_ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")
_ERROR_EVENT = re.compile(rb'data: (\{"error":\{"code":502,[^\r\n]*\}\})\r\n\r\n\Z')
_WHOLE = {Ending.COMPLETE, Ending.SUSPECT, Ending.UPSTREAM_ERROR, Ending.UPSTREAM_ERROR_IN_STREAM}


def check(answer: RawResponse, sent: Response, *, sse: bool, array: bool, lossy: bool) -> None:
    """Compare what a client got with what its upstream sent. Raises Finding.

    `sse` and `array` say how the client asked to have its answer framed. `lossy`: somebody left with RST or
    early, so that the end of what was sent may be lost.
    """
    try:
        if answer.header("x-gateway-error"):
            _check_refusal(answer, sent, array=array, lossy=lossy)
        else:
            _check_passed(answer, sent, sse=sse, lossy=lossy)
    except (AssertionError, ValueError, LookupError, TypeError) as error:
        state = "whole" if sent.whole else "not whole"
        meant = f"{sent.status}, {state}, {sent.body.framing}, {sent.data[:300]!r}"
        raise Finding(f"{error}\n  client: {described(answer)}\n  upstream: {meant}") from error


def _check_refusal(answer: RawResponse, sent: Response, *, array: bool, lossy: bool) -> None:
    assert answer.ended == "complete", "a refusal that is not whole"
    row = check_some_refusal(answer)
    assert row is refusals.UPSTREAM_FAILED, f"refused as {row.reason}"
    assert isinstance(json.loads(answer.body), list) == array, "a refusal not framed as its answer"
    if lossy or sent.odd_interim or sent.head_bytes > _HEAD_LIMIT:
        return
    if sent.whole:
        assert sent.status in _KEY_REFUSALS, "a whole answer was refused"
    elif not sent.doubtful:
        assert sent.head is None or sent.status in _EXAMINED, "refused though its head was whole"


def _check_passed(answer: RawResponse, sent: Response, *, sse: bool, lossy: bool) -> None:
    assert sent.head, "an answer out of nothing"
    assert sent.status != 401, "a refusal of the gateway's own key was passed on"
    assert (answer.status, answer.reason) == (sent.status, sent.reason), "another status"
    _check_headers(answer, sent)
    if answer.framing == "close":  # to an HTTP/1.0 client, who can't be told of a break
        assert sent.data.startswith(answer.body), "bytes that the upstream did not send"
        assert lossy or sent.doubtful or answer.body == sent.data, "bytes of the upstream are lacking"
    elif answer.ended == "complete":
        assert sent.whole, "what was not whole has a clean end"
        assert answer.body == sent.data, "another body"
    else:
        assert lossy or not sent.whole, "what was whole has no clean end"
        assert lossy or answer.ended != "reset", "the client was reset"
        _check_broken(answer, sent, sse=sse, lossy=lossy)


def _check_broken(answer: RawResponse, sent: Response, *, sse: bool, lossy: bool) -> None:
    passed = answer.body
    event = _ERROR_EVENT.search(passed)
    if event and sent.data.startswith(passed[: event.start()]):
        passed = passed[: event.start()]
        json.loads(event[1])
    assert sent.data.startswith(passed), "bytes that the upstream did not send"
    assert lossy or sent.doubtful or passed == sent.data, "bytes of the upstream are lacking"
    takes_events = (
        answer.framing == "chunked"
        and (sse or sent.header("content-type").startswith("text/event-stream"))
        and sent.header("content-encoding") in ("", "identity")
        and (not passed or passed.endswith(_EVENT_ENDS))
    )
    if event:
        assert takes_events, "an error event where the stream takes none"
    else:
        assert lossy or not takes_events, "a stream that broke between two events has no error event"


def _check_headers(answer: RawResponse, sent: Response) -> None:
    assert sent.head
    fields = {(name.lower(), value) for name, value in sent.head.headers}
    own = Counter[str]()
    for written, value in answer.headers:
        name = written.lower()
        own[name] += 1
        if name in _OWN or (name == "retry-after" and sent.status == 429):
            continue
        assert (name, value) in fields, f"a header that the upstream did not send: {name}"
        assert name not in _HIDDEN | sent.connection_options, f"a header that stays here: {name}"
        assert not name.startswith("x-gateway-"), "a label of the gateway's own"
    assert own["x-request-id"] == own["x-gateway-attempts"] == 1, "not the one id and count of the request"


def check_record(record: Exchange, answer: RawResponse, sent: Response, *, lossy: bool) -> None:
    """Compare the gateway's record of a request with what its client got. Raises Finding."""
    if answer.header("x-gateway-error"):
        right = record.ending is Ending.REFUSED
    elif not sent.whole:
        passed = answer.body[: record.response_bytes]
        right = record.ending is Ending.TRUNCATED and sent.data.startswith(passed)
    elif lossy:
        right = record.ending in _WHOLE | {Ending.TRUNCATED}
    else:
        right = record.ending in _WHOLE and record.response_bytes == len(sent.data)
    if not right or record.status != answer.status:
        what = f"{record.ending}, {record.status}, {record.response_bytes} bytes"
        raise Finding(f"recorded as {what}\n  client: {described(answer)}")
