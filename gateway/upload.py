"""A request body on its way up that was not whole with its head: framed as announced, counted, held back.

Until the first response byte, the beginning of it is also kept, so that it can be sent again when the pooled
connection turns out to have been closed by the upstream in the meantime.
"""

from __future__ import annotations

from gateway.client_connection import ClientConnection
from gateway.deadlines import Deadline, Waiting
from gateway.errors import BODY_TOO_LARGE, HTTP_MALFORMED, Refusal
from gateway.exchange import Exchange
from gateway.keeping import Keeping
from gateway.upstreams.connection import UpstreamConnection


class Upload:
    """One request body, from the client's connection to the upstream's."""

    def __init__(
        self,
        client: ClientConnection,
        exchange: Exchange,
        deadline: Deadline,
        keeping: Keeping,
        begun: bytes,
        *,
        max_bytes: int,
    ) -> None:
        """begun: what of it came with the head."""
        self._client = client
        self._request = client.request
        self._exchange = exchange
        self._deadline = deadline
        self._keeping = keeping
        self._max_bytes = max_bytes
        self._connection: UpstreamConnection | None = None
        self._kept: list[bytes] | None = []
        self._counted = 0
        """How much of it `keeping` knows of: nothing until it was sent, for until then it must be kept."""
        self._sent = False
        self.whole = False
        """All of it has come; it may still have to be sent."""
        self._take(begun)
        if self._request.fields.get(b"expect", b"").lower() == b"100-continue" and self._request.http_1_1:
            client.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def go_on(self) -> Refusal | None:
        """More of it has come, or it is broken: send that on. Why it can't be, where it can't."""
        request = self._request
        piece = self._take(request.take_body())
        if self._exchange.request_bytes > self._max_bytes:
            return BODY_TOO_LARGE
        if self._client.body_is_broken:
            return HTTP_MALFORMED
        self.whole = request.body_whole
        if self._connection:  # otherwise one is being opened: the piece is kept, and goes with the rest
            self._connection.write(piece)
            if self.whole:
                self._connection.request_sent()
            else:
                self.flow()
        return None

    def wait(self) -> None:
        """There is no connection to send it on for now."""
        self._connection = None
        self._client.pause_reading()

    def send_on(self, connection: UpstreamConnection) -> None:
        """It has been sent all of `so_far`, and is to get the rest."""
        self._connection = connection
        if not self.whole:
            self.flow()

    def flow(self) -> None:
        """Wait for the next piece or, before it, for the upstream to take the last one."""
        if self.whole or self._connection is None:
            return
        if self._connection.writing_paused:
            self._client.pause_reading()
            waiting = Waiting.UPSTREAM_UPLOAD
        else:
            self._client.resume_reading()
            waiting = Waiting.CLIENT_BODY
        if not self._client.writing_paused:
            self._deadline.wait_for(waiting)

    def so_far(self) -> bytes | None:
        """All that has come, to be sent on a connection that has none of it; None if it is no longer kept."""
        if self._kept is None:
            return None
        body = b"".join(self._kept)
        if not self._sent:
            self._sent = True
            self._keep(len(body))
        return body

    def can_send_again(self) -> bool:
        """Whether `so_far` would give it."""
        return self._kept is not None

    def forget(self) -> None:
        """Keep nothing any more: a response has begun, or nobody waits for one."""
        self._kept = None
        self._keeping.give_back(self._counted)
        self._counted = 0

    def _take(self, data: bytes) -> bytes:
        """Count and keep a piece: how it is framed for the upstream."""
        request = self._request
        self._exchange.request_bytes += len(data)
        piece = framed(data, last=request.body_whole) if request.chunked else data
        if self._kept is not None:
            self._kept.append(piece)
            if self._sent:
                self._keep(len(piece))
        return piece

    def _keep(self, size: int) -> None:
        """So much more has been sent and is here: it stays, if there is room for it."""
        if self._keeping.take(size, already=self._counted):
            self._counted += size
        else:
            self.forget()


def framed(data: bytes, *, last: bool) -> bytes:
    """A piece of a chunked body, with the end of the body behind the last one."""
    chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return chunk + b"0\r\n\r\n" if last else chunk
