"""The response side: an upstream that answers anything, cut anywhere, to a client's good requests.

An input is one message for each request, at most three, with `` `n `` between them. A message begins with a
byte that says what is asked (`ASKED`); what follows is what the upstream sends, with these marks of its own:

    `F  `R  the upstream leaves with FIN, with RST
    `b      the client sends what it held back of its request
    `s  `g  the client stops reading, goes on reading
    `f  `r  the client leaves with FIN, with RST: the last thing of an input
    `n      the client has its answer, and asks again, on the same connection where it may

An upstream that has sent less than a whole answer leaves with FIN at its message's end.
"""

from __future__ import annotations

from dataclasses import dataclass

from fuzzing import meaning, script
from fuzzing.ends import Asked, End, Finding
from fuzzing.meaning import Ending, Response
from fuzzing.response_check import check, check_record
from fuzzing.rig import Rig
from fuzzing.script import PAUSE, Step
from tests.support.raw_client import RawResponse
from tests.support.script import LAST_CHUNK, chunk, response_bytes

MARKS = f"FRbsgfr{script.NEXT}"
MAX_REQUESTS = 3
BODY = b'{"contents": []}'


@dataclass(frozen=True)
class Ask:
    """What a client asks."""

    action: str
    version: str = "HTTP/1.1"
    chunked: bool = False
    held: int = 0
    """How many bytes of the request the client holds back."""

    @property
    def sse(self) -> bool:
        """Whether it asks for server-sent events."""
        return self.action.endswith("alt=sse")

    @property
    def array(self) -> bool:
        """Whether it asks for a JSON array."""
        return self.action == "streamGenerateContent"


ASKED = {
    "u": Ask("generateContent"),
    "s": Ask("streamGenerateContent?alt=sse"),
    "a": Ask("streamGenerateContent"),
    "o": Ask("generateContent", version="HTTP/1.0"),
    "h": Ask("streamGenerateContent?alt=sse", held=len(BODY)),
    "c": Ask("generateContent", chunked=True, held=3),
}
"""By the first byte of a message; others mean one of these, too."""

_KEEP = (("Connection", "keep-alive"),)
_AGAIN = response_bytes(200, [("Content-Type", "application/json")], b'{"asked": "again"}')
"""What an upstream answers when it is asked once more, because a connection was stale."""


async def run(rig: Rig, data: bytes) -> None:
    """Run one input. Raises Finding."""
    conversation = _Conversation(rig)
    for message in script.parse(data, MARKS)[:MAX_REQUESTS]:
        await conversation.exchange(message)
        if conversation.left:
            return
    await conversation.end()


class _Conversation:
    """A client's requests, one after another, and an upstream's answers to them."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._client, self._answers = rig.connect()
        self._gone = False
        """The connection has ended with its last answer."""
        self._reusable: set[End] = set()
        """The upstream's ends on which another request may come."""
        self.left = False
        """The client has left before its answer was whole."""

    async def exchange(self, message: list[Step]) -> None:
        """One request, whatever its upstream does, and what the client got."""
        rig = self._rig
        first = message[0][:1] if message and isinstance(message[0], bytes) else b""
        ask = script.chosen(ASKED, first)
        steps = [message[0][1:], *message[1:]] if first else message
        before = len(rig.exchanges)
        if self._gone:
            self._client, self._answers = rig.connect()
        asked, held = await self._ask(ask)
        data, ended = await self._play(asked, steps, held)
        sent = meaning.response(data, ended)
        if self.left:
            await self._check_what_was_seen(ask, sent)
            return
        lossy = ended == "rst" or sent.odd
        stale = ended == "rst" or (ended == "fin" and not data)
        if await self._answered(asked, stale=stale):
            asked, sent, ended, lossy = rig.upstream.asked[-1], meaning.response(_AGAIN, ""), "", False
        asked.answered = sent.whole
        answer = self._answers.answer
        if answer is None or answer.ended == "open":
            raise Finding(f"the client was left without an answer: {bytes(self._client.received)!r}")
        check(answer, sent, sse=ask.sse, array=ask.array, lossy=lossy)
        await rig.handled(asked.end)
        if sent.keeps_connection and asked.body.complete and not ended:
            self._reusable.add(asked.end)
        else:
            self._reusable.discard(asked.end)
        await rig.until("the request's record", lambda: len(rig.exchanges) == before + 1)
        check_record(rig.exchanges[before], answer, sent, lossy=lossy)
        await self._end_of(answer)

    async def _ask(self, ask: Ask) -> tuple[Asked, bytes]:
        """Send a request; it as it came upstream, and what of it the client holds back."""
        rig = self._rig
        self._answers.answer = None
        if ask.chunked:
            data = rig.stack.chunked_request(chunk(BODY) + LAST_CHUNK, action=ask.action)
        else:
            data = rig.stack.request(BODY, action=ask.action, version=ask.version, headers=_KEEP)
        at = len(data) - ask.held
        asked = rig.upstream.asked
        number = len(asked)
        await rig.send(self._client, data[:at])
        await rig.until(
            "the request to come upstream",
            lambda: len(asked) > number and (ask.held > 0 or asked[number].body.complete),
        )
        arrived = asked[number]
        if arrived is not arrived.end.asked[0] and arrived.end not in self._reusable:
            raise Finding("a request came on a connection whose last answer was not whole, or was its last")
        return arrived, data[at:]

    async def _play(self, asked: Asked, steps: list[Step], held: bytes) -> tuple[bytes, Ending]:
        """What the upstream has sent, and how it has left."""
        rig, end, client = self._rig, asked.end, self._client
        sent = bytearray()
        ended: Ending = ""
        for step in steps:
            if isinstance(step, bytes):
                if not ended:
                    sent += step
                    await rig.send(end, step)
            elif step == PAUSE:
                await rig.handled(end)
            elif step in "FR":
                ended = ended or end.leave(by_reset=step == "R")
            elif step == "b":
                await rig.send(client, held)
                held = b""
            elif step in "sg":
                client.reads = step == "g"
            else:
                client.leave(by_reset=step == "r")
                self.left = True
                break
        if not ended and not self.left and not meaning.response(bytes(sent), "").whole:
            ended = end.leave(by_reset=False)
        client.reads = True
        return bytes(sent), ended

    async def _answered(self, asked: Asked, *, stale: bool) -> bool:
        """Wait for the answer's end; whether the upstream has been asked once more for it.

        `stale`: it has left, perhaps before a byte of it was read: on a connection that is no new one it may
        be asked again.
        """
        rig = self._rig
        times = rig.upstream.asked.index(asked) + 1

        def ended() -> bool:
            return self._answers.read() or bool(self._client.left) or len(rig.upstream.asked) > times

        await rig.until("the answer's end", ended)
        if len(rig.upstream.asked) == times:
            return False
        if not stale or asked is asked.end.asked[0]:
            raise Finding("the upstream was asked twice")
        times += 1
        await rig.send(rig.upstream.asked[-1].end, _AGAIN)
        await rig.until("the answer's end", ended)
        return True

    async def _check_what_was_seen(self, ask: Ask, sent: Response) -> None:
        """By a client who has left."""
        client, answers = self._client, self._answers
        await self._rig.until("the gateway to leave, too", lambda: bool(client.left or client.closed))
        answers.read()
        if answers.answer and not answers.answer.header("x-gateway-error"):
            check(answers.answer, sent, sse=ask.sse, array=ask.array, lossy=True)

    async def _end_of(self, answer: RawResponse) -> None:
        """The gateway ends a connection where its answer says so, and says nothing more."""
        kept = answer.ended == "complete" and answer.header("connection") != ["close"]
        self._gone = not kept or answer.framing == "close"
        if self._gone:
            await self._rig.until("the end of the connection", lambda: bool(self._client.left))
            if self._client.left == "rst":
                raise Finding("the connection was reset after its answer")
            self._nothing_more()
            self._client.close()

    async def end(self) -> None:
        """The client, who has all its answers, goes."""
        if not self._gone:
            await self._rig.quiet()
            self._nothing_more()
            self._client.leave(by_reset=False)
            await self._rig.until("the end of the connection", lambda: bool(self._client.left))
            self._nothing_more()

    def _nothing_more(self) -> None:
        if self._client.received:
            raise Finding(f"behind its answer the client was sent {bytes(self._client.received[:200])!r}")
