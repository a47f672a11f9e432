"""The request side: a client that sends anything, cut anywhere, and an upstream that answers what reaches it.

An input begins with a byte that says how the upstream answers (`WAYS`); what follows is what the client
sends, with these marks of its own:

    `t      a good token
    `T      a token that nobody was given
    `n      the client waits until it has what answers there are
    `F  `R  the client leaves with FIN, with RST: the last thing of an input

Otherwise it leaves when it has all answers, or when the gateway waits for more from it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from fuzzing import meaning, script
from fuzzing.ends import Asked, Finding
from fuzzing.request_check import Circumstances, check_answers, check_asked, check_secrecy, owed
from fuzzing.rig import Rig
from fuzzing.script import PAUSE
from tests.support.raw_client import RawResponse
from tests.support.script import response_bytes

MARKS = f"tTFR{script.NEXT}"
UNKNOWN_TOKEN = b"nt_live_0123456789abcdef_" + b"0" * 64
PATIENCE_TURNS = 40
"""Turns without a byte after which the gateway is taken to wait for its client."""


@dataclass(frozen=True)
class Way:
    """How the upstream answers."""

    after_body: bool = True
    """When it has the whole request; otherwise as soon as it has its head."""
    answers: bool = True
    interim: bool = False
    """It sends a 100 Continue first."""
    leaves: str = ""
    """How it leaves behind its answer: `fin` or `rst`."""

    def answer(self, number: int) -> bytes:
        """To the request of that number."""
        if not self.answers:
            return b""
        body = json.dumps({"answer": number, "candidates": [{"finishReason": "STOP"}]}).encode()
        headers = [("Content-Type", "application/json"), *([("Connection", "close")] if self.leaves else [])]
        interim = b"HTTP/1.1 100 Continue\r\n\r\n" if self.interim else b""
        return interim + response_bytes(200, headers, body)


WAYS = {
    "w": Way(),
    "e": Way(after_body=False),
    "c": Way(leaves="fin"),
    "i": Way(interim=True),
    "x": Way(after_body=False, answers=False, leaves="fin"),
    "r": Way(after_body=False, answers=False, leaves="rst"),
}
"""By the first byte of an input; others mean one of these, too."""


async def run(rig: Rig, data: bytes) -> None:
    """Run one input. Raises Finding."""
    conversation = _Conversation(rig, script.chosen(WAYS, data[:1]))
    await conversation.play(data[1:])
    await conversation.check()


class _Conversation:
    """What a client sends, and what it is answered."""

    def __init__(self, rig: Rig, way: Way) -> None:
        self._rig = rig
        self._way = way
        self._client, self._reader = rig.connect()
        self._sent = bytearray()
        self._answers: list[RawResponse] = []
        self._replied = 0
        """How many requests the upstream has answered."""
        self._left = False

    async def play(self, data: bytes) -> None:
        """Send what the input says."""
        rig, client = self._rig, self._client
        stands_for = {"t": rig.stack.token.encode(), "T": UNKNOWN_TOKEN}
        messages = script.parse(data, MARKS)
        for number, message in enumerate(messages):
            if number:
                await self._wait()
            for step in message:
                if isinstance(step, bytes) or step in stands_for:
                    piece = step if isinstance(step, bytes) else stands_for[step]
                    self._sent += piece
                    await rig.send(client, piece, self._proceed)
                elif step == PAUSE:
                    await rig.handled(client)
                    self._proceed()
                else:
                    self._left = True
                    client.leave(by_reset=step == "R")
                    return

    async def check(self) -> None:
        """Wait for what is owed, leave, and compare. Raises Finding."""
        rig, client, token = self._rig, self._client, self._rig.stack.token
        sent = meaning.requests(bytes(self._sent))
        due = owed(sent, token)
        if not self._way.after_body:
            due = min(due, 1)  # an answer that began before its request was whole is the last
        if not self._left:
            await rig.until("the answers", lambda: self._proceed() >= due or bool(client.left))
            await self._wait()
            if client.left == "rst":
                raise Finding("the client was reset")
            client.leave(by_reset=False)
        await rig.until("the end of the connection", lambda: bool(client.left or client.closed))
        await rig.until("the end of the requests", lambda: not rig.stack.proxy.open)
        self._proceed()
        if client.received and not self._left:
            raise Finding(f"behind its answers the client was sent {bytes(client.received[:200])!r}")
        how = Circumstances(self._replied, failing=not self._way.answers, left=self._left)
        check_answers(self._answers, sent, due, how)
        check_asked(rig.upstream.asked, sent)
        check_secrecy(token, self._answers)

    def _proceed(self) -> int:
        """Answer what has come upstream, and read what the client has: how many answers, 100 left out."""
        asked = self._rig.upstream.asked
        while self._replied < len(asked) and self._may_reply(asked[self._replied]):
            request = asked[self._replied]
            request.answered = True
            request.end.send(self._way.answer(self._replied))
            self._replied += 1
            if self._way.leaves:
                request.end.leave(by_reset=self._way.leaves == "rst")
        while self._reader.read(bodiless=b"HEAD " in self._sent):
            answer = self._reader.answer
            assert answer
            if not self._answers or self._answers[-1] is not answer:
                self._answers.append(answer)
            if answer.ended != "complete":
                break
            self._reader.answer = None
        return sum(answer.status != 100 for answer in self._answers)

    def _may_reply(self, request: Asked) -> bool:
        return request.body.complete or not self._way.after_body or bool(request.end.left)

    async def _wait(self) -> None:
        """Return when the gateway has done what it was about to do."""
        rig = self._rig
        turns = 0
        while turns < PATIENCE_TURNS and not self._client.left:
            before = self._proceed()
            turns = 0 if await rig.turn() or self._proceed() > before else turns + 1
            waits = not rig.stack.proxy.open or any(not one.body.complete for one in rig.upstream.asked)
            if waits and turns > 3:
                return
