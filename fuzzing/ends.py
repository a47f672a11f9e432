"""Both ends of the gateway while it is fuzzed: sockets that a script drives, and a strict reader of each.

Nothing here waits. Sockets are read between two turns of the gateway's event loop, so that one input is one
coroutine, which knows at each moment what either end has been sent.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
from array import array
from contextlib import suppress
from typing import Literal

from tests.support.raw_client import RawResponse
from tests.support.wire import BodyReader, Head, WireError, take_head

PIECE = 1 << 18


class Finding(AssertionError):
    """The gateway has done what it must not."""


class End:
    """One end of a TCP connection to the gateway."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self.received = bytearray()
        """What has come and has not been taken off the front."""
        self.reads = True
        """Whether what comes is read."""
        self.left: Literal["", "fin", "rst"] = ""
        """How the gateway has left."""
        self._sent_fin = False
        self.closed = False
        self.address = sock.getsockname()

    def pump(self) -> bool:
        """Take what has come; whether there was something, the gateway's leaving included."""
        came = False
        while self.reads and not self.left and not self.closed:
            try:
                data = self._sock.recv(PIECE)
            except BlockingIOError:
                break
            except ConnectionError:
                self.left = "rst"
            else:
                self.received += data
                if not data:
                    self.left = "fin"
            came = True
        return came

    def send(self, data: bytes) -> bytes:
        """Send; what the kernel has no room for comes back. What goes to somebody who has left is dropped."""
        if self._sent_fin or self.closed:
            return b""
        try:
            return data[self._sock.send(data) :]
        except BlockingIOError:
            return data
        except ConnectionError:
            return b""

    def arrived(self) -> bool:
        """Whether all that was sent, a FIN included, is in the gateway's receive buffer, or lost for good."""
        if self.closed or self.left:
            return True
        in_kernel = array("i", [0])
        fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, in_kernel)
        return not in_kernel[0]

    def leave(self, *, by_reset: bool) -> Literal["fin", "rst"]:
        """Close with RST; or send FIN, after which reading goes on. Which of them."""
        if by_reset:
            if not self.closed:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()
            return "rst"
        if not self._sent_fin and not self.closed:
            self._sent_fin = True
            with suppress(OSError):  # the gateway has left before
                self._sock.shutdown(socket.SHUT_WR)
        return "fin"

    def close(self) -> None:
        """Close with FIN; with RST where something stands unread."""
        self.closed = True
        self._sock.close()


def connect(port: int) -> End:
    """A client's end. Its buffer and segments are small, so that a client who does not read is felt soon."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1024)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return End(sock)


class Asked:
    """One request as it came upstream, growing while its body arrives."""

    def __init__(self, end: UpstreamEnd, head: Head) -> None:
        self.end = end
        self.head = head
        self.method, self.target, self.version = head.request_line()
        self.body: BodyReader = head.request_body()
        self.answered = False
        """Whether the whole of an answer has been sent, so that another request may follow."""


class UpstreamEnd(End):
    """A connection that the gateway has opened. What comes on it is HTTP/1.1, to the letter, or a finding."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(sock)
        host, port = sock.getsockname()
        self.host = f"{host}:{port}"
        """What the gateway has to call it."""
        self.asked: list[Asked] = []

    def parse(self) -> Asked | None:
        """Read on in what has come; the request that has begun with it, if one has. Raises Finding."""
        new = None
        try:
            if not self.asked or self.asked[-1].body.complete:
                self._check_turn()
                head = take_head(self.received)
                if head is None:
                    return None
                new = Asked(self, head)
                self.asked.append(new)
            self.asked[-1].body.feed(self.received)
            if self.asked[-1].body.complete and self.received:
                self._check_turn()
        except WireError as error:
            raise Finding(f"the gateway has sent upstream what is no HTTP: {error}") from None
        return new

    def _check_turn(self) -> None:
        if self.asked and not self.asked[-1].answered:
            raise Finding(f"upstream came, behind an unanswered request, {bytes(self.received[:200])!r}")


class Upstream:
    """Where the gateway's upstream listens; every input begins and ends without a connection to it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.setblocking(False)
        self._waiting = select.poll()
        self._waiting.register(self._listener, select.POLLIN)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._newest: tuple[str, int] | None = None
        """Who has opened the connection accepted last."""
        self.ends: list[UpstreamEnd] = []
        self.asked: list[Asked] = []
        """All requests of the present input, in the order of their heads."""

    def pump(self) -> bool:
        """Accept and read what has come; whether there was something. Raises Finding."""
        came = self._accept()
        for end in self.ends:
            if end.pump():
                came = True
                if end.received and (new := end.parse()):
                    self.asked.append(new)
        return came

    def _accept(self) -> bool:
        came = False
        while self._waiting.poll(0):
            sock, self._newest = self._listener.accept()
            self.ends.append(UpstreamEnd(sock))
            came = True
        return came

    def clear(self) -> None:
        """Close every connection, those that nobody has accepted yet as well, and forget what was asked."""
        # They come in the order in which they were opened, on a busy machine some time later.
        with socket.create_connection(self._listener.getsockname()) as last:
            while self._newest != last.getsockname():
                self._accept()
        for end in self.ends:
            end.close()
        self.ends.clear()
        self.asked.clear()

    def close(self) -> None:
        """Stop listening."""
        self.clear()
        self._listener.close()


class AnswerReader:
    """Reads the gateway's answers off a client's end, each as far as it has come. Raises Finding."""

    def __init__(self, end: End) -> None:
        self._end = end
        self.answer: RawResponse | None = None
        """The one that is being read, or was read last."""

    def read(self, *, bodiless: bool = False) -> bool:
        """Read on in the present answer; whether it has ended. `bodiless`: it may be one to a HEAD."""
        end = self._end
        try:
            if self.answer is None or self.answer.ended != "open":
                if (head := take_head(end.received)) is None:
                    return False
                _, status, reason = head.status_line()
                method = "HEAD" if bodiless and not end.received.startswith((b"{", b"[")) else "POST"
                body = head.response_body(method)
                self.answer = RawResponse(status, reason, head.headers, head.raw, body)
            answer = self.answer
            answer.incoming.feed(end.received)
        except WireError as error:
            raise Finding(f"the gateway has sent a client what is no HTTP: {error}") from None
        if not answer.incoming.complete and end.left == "fin":
            answer.incoming.end()
            if not answer.incoming.complete:
                answer.ended = "short" if answer.framing == "length" else "eof_without_terminator"
        if answer.incoming.complete:
            answer.ended = "complete"
        elif end.left == "rst":
            answer.ended = "reset"
        return answer.ended != "open"


def described(answer: RawResponse) -> str:
    """An answer in one line."""
    headers = ", ".join(f"{name}: {value}" for name, value in answer.headers)
    return f"{answer.status}, {answer.ended}, {answer.framing}, ({headers}), {answer.body[:300]!r}"
