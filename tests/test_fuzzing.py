"""The fuzzer's parts: every input it starts from runs without a finding, and what is wrong is one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzzing import meaning, script
from fuzzing.__main__ import INPUTS
from fuzzing.ends import AnswerReader, Asked, End, Finding, Upstream, connect
from fuzzing.request_check import Circumstances, check_answers, check_asked, check_secrecy, owed
from fuzzing.response_check import check
from fuzzing.rig import Rig
from fuzzing.sides import LOOPS, SIDES
from tests.relay.parts import EVENT, SSE, STREAM_HEAD, UNARY, WHOLE
from tests.support.places import UPSTREAM_KEY
from tests.support.raw_client import RawResponse
from tests.support.script import LAST_CHUNK, chunk, response_bytes

FILES = sorted(path for side in SIDES for path in (INPUTS / side).iterdir())


@pytest.fixture(scope="module", params=LOOPS)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    running = Rig(LOOPS[request.param](), tmp_path_factory.mktemp("rig"))
    yield running
    running.close()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_an_input(path: Path, rig: Rig) -> None:
    rig.run(SIDES[path.parent.name], path.read_bytes())


# The language of inputs


@pytest.mark.parametrize(
    ("data", "steps"),
    [
        (b"", [[]]),
        (b"a`|b", [[b"a", "|", b"b"]]),
        (b"`|`|", [["|", "|"]]),
        (b"a``b`", [[b"a`b`"]]),
        (b"a`zb`", [[b"a`zb`"]]),
        (b"`(ab`)c", [[b"2\r\nab\r\nc"]]),
        (b"`(a`|b`)", [[b"2\r\na", "|", b"b\r\n"]]),
        (b"`(ab", [[b"2\r\nab"]]),
        (b"ab`)", [[b"ab"]]),
        (b"Length: `#\r\n\r\n`(ab`)", [[b"Length: 7\r\n\r\n2\r\nab\r\n"]]),
        (b"a`nb`F", [[b"a"], [b"b", "F"]]),
        (b"a`Bb", [[b"a" + script.BLOCK + b"b"]]),
        (b"`B" * 9, [[script.BLOCK * script.MAX_BLOCKS]]),
    ],
)
def test_an_input_as_steps(data: bytes, steps: list[list[script.Step]]) -> None:
    assert script.parse(data, "nF") == steps


def test_any_bytes_can_be_said() -> None:
    data = bytes(range(256)) + b"``(`|"
    assert script.parse(script.escape(data), "nF") == [[data]]


# What is wrong with an answer

CUT = STREAM_HEAD + chunk(EVENT)
OURS = (("x-request-id", "0" * 32), ("x-gateway-attempts", "1"))
HEAD = response_bytes(200, [SSE, *OURS], framing="chunked").removesuffix(LAST_CHUNK)
"""Of the gateway's answer, which says how it is framed, and has an id and a count."""
BROKEN = b'data: {"error":{"code":502,"message":"x"}}\r\n\r\n'


def received(data: bytes) -> RawResponse:
    """An answer read off a client's end, whose connection ends behind it."""
    gateway, client = socket.socketpair()
    end = End(client)
    try:
        gateway.sendall(data)
        gateway.close()
        end.pump()
        answers = AnswerReader(end)
        assert answers.read()
        assert answers.answer
        return answers.answer
    finally:
        end.close()


def judge(answer: bytes, sent: bytes, *, lossy: bool = False) -> None:
    check(received(answer), meaning.response(sent, "fin"), sse=True, array=False, lossy=lossy)


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (HEAD + chunk(EVENT) + LAST_CHUNK, CUT + LAST_CHUNK),
        (HEAD + chunk(EVENT) + chunk(BROKEN), CUT),
        (HEAD + chunk(EVENT[:9]), STREAM_HEAD + b"ff\r\n" + EVENT[:9]),
        (response_bytes(200, [*OURS], UNARY), response_bytes(200, [], UNARY)),
        (response_bytes(200, [*OURS], UNARY)[:-1], response_bytes(200, [], UNARY)[:-1]),
    ],
)
def test_a_right_answer(answer: bytes, sent: bytes) -> None:
    judge(answer, sent)


@pytest.mark.parametrize(
    ("answer", "sent", "what"),
    [
        (HEAD + chunk(EVENT) + LAST_CHUNK, CUT, "a clean end"),
        (HEAD + chunk(EVENT) + LAST_CHUNK, STREAM_HEAD + chunk(EVENT * 2) + LAST_CHUNK, "another body"),
        (HEAD + chunk(EVENT), CUT, "no error event"),
        (HEAD + chunk(EVENT[:9]) + chunk(BROKEN), STREAM_HEAD + b"ff\r\n" + EVENT[:9], "takes none"),
        (HEAD + chunk(EVENT) + chunk(b"more"), CUT, "did not send"),
        (HEAD + chunk(BROKEN), CUT, "are lacking"),
        (HEAD + chunk(EVENT) + chunk(BROKEN), CUT + LAST_CHUNK, "no clean end"),
        (response_bytes(200, [*OURS], UNARY), b"HTTP/1.1 200 OK\r\nX: a\x00\r\n\r\n", "out of nothing"),
        (response_bytes(500, [*OURS], UNARY), response_bytes(200, [], UNARY), "another status"),
        (response_bytes(401, [*OURS], b"{}"), response_bytes(401, [], b"{}"), "own key"),
        (response_bytes(200, [*OURS, ("A", "b")], b"{}"), response_bytes(200, [], b"{}"), "not send: a"),
        (response_bytes(200, [], b"{}"), response_bytes(200, [], b"{}"), "the one id"),
        (
            response_bytes(200, [*OURS, ("Server", "b")], b"{}"),
            response_bytes(200, [("Server", "b")], b"{}"),
            "stays here: server",
        ),
        (response_bytes(502, [("x-gateway-error", "UPSTREAM_FAILED")], b"{}"), CUT, "client: 502"),
    ],
)
def test_a_wrong_answer(answer: bytes, sent: bytes, what: str) -> None:
    with pytest.raises(Finding, match=what):
        judge(answer, sent)


def test_what_may_be_lost_may_lack() -> None:
    judge(HEAD + chunk(EVENT), CUT + chunk(EVENT) + LAST_CHUNK, lossy=True)
    with pytest.raises(Finding, match="a clean end"):
        judge(HEAD + chunk(EVENT) + LAST_CHUNK, CUT + chunk(EVENT), lossy=True)


def test_what_is_no_http_is_a_finding() -> None:
    with pytest.raises(Finding, match="no HTTP"):
        received(b"HTTP/1.1 41 OK\r\n\r\n")


# What is wrong with a request upstream

TOKEN = "nt_live_0123456789abcdef_" + "a" * 64
ASKED = b"POST /v1beta/models/gemini-2.5-flash:generateContent HTTP/1.1\r\nHost: %b\r\nx-goog-api-key: %b\r\n"


def sent_by_client(*bodies: bytes) -> meaning.Requests:
    heads = (
        f"POST /v1/gemini/v1/models/gemini-2.5-flash:generateContent HTTP/1.1\r\nHost: a\r\n"
        f"x-goog-api-key: {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        for body in bodies
    )
    return meaning.requests(b"".join(head + body for head, body in zip(heads, bodies, strict=True)))


def came_upstream(rest: bytes, key: str = UPSTREAM_KEY) -> list[Asked]:
    """What an upstream reads when it is asked so."""
    upstream = Upstream()
    gateway = connect(int(upstream.url.rpartition(":")[2]))
    try:
        gateway.send(ASKED % (upstream.url.removeprefix("http://").encode(), key.encode()) + rest)
        while not upstream.asked or not upstream.asked[0].body.complete:
            upstream.pump()
        return list(upstream.asked)
    finally:
        gateway.close()
        upstream.close()


def test_a_right_request() -> None:
    check_asked(came_upstream(b"Content-Length: 2\r\n\r\n{}"), sent_by_client(b"1", b"{}"))


@pytest.mark.parametrize(
    ("rest", "what"),
    [
        (b"Content-Length: 2\r\n\r\n[]", "nobody sent"),
        (b"Content-Length: 2\r\nUser-Agent: a\r\n\r\n{}", "nobody sent"),
        (b"Content-Length: 2\r\nCookie: a\r\n\r\n{}", "stays here"),
        (b"Content-Length: 2\r\nx-goog-api-key: a\r\n\r\n{}", "another credential"),
        (b"Content-Length: 2\r\nHost: a\r\n\r\n{}", "twice"),
        (b"Content-Length: 2\r\n\r\n{}POST", "behind an unanswered"),
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", "no HTTP"),
    ],
)
def test_a_wrong_request(rest: bytes, what: str) -> None:
    with pytest.raises(Finding, match=what):
        check_asked(came_upstream(rest), sent_by_client(b"1", b"{}"))


def test_what_is_owed() -> None:
    assert owed(sent_by_client(b"{}", b"{}"), TOKEN) == 2
    assert owed(sent_by_client(b"{}", b"x" * 200_001, b"{}"), TOKEN) == 1
    assert owed(sent_by_client(b"{}"), "another") == 0


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        ([], "1 good requests"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", response_bytes(body=b'{"answer": 0}')], "nobody expected"),
        ([response_bytes(body=b'{"answer": 0}')] * 2, "1 requests, and the answers"),
        ([response_bytes(body=b'{"answer": 1}')], "not the upstream's"),
        ([WHOLE], "nobody's answer"),
        ([WHOLE[:-1]], "not whole"),
        ([response_bytes(500, [("x-gateway-error", "INTERNAL")], b"{}")], "no refusal of the contract"),
    ],
)
def test_wrong_answers(answers: list[bytes], what: str) -> None:
    how = Circumstances(answered=1, failing=False, left=False)
    with pytest.raises(Finding, match=what):
        check_answers([received(answer) for answer in answers], sent_by_client(b"{}"), 1, how)


def test_a_token_in_an_answer() -> None:
    with pytest.raises(Finding, match="a token"):
        check_secrecy(TOKEN, [received(response_bytes(body=TOKEN.encode()))])
