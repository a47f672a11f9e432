"""The request body on its way up: as it arrives, framed as it was announced, counted, held to a limit.

Until the first response byte, a small body is also kept, so that it can be sent again when the pooled
connection turns out to have been closed by the upstream in the meantime.
"""

from __future__ import annotations

from aiohttp import web

from gateway.errors import BODY_TOO_LARGE, HTTP_MALFORMED, Refusal

KEPT_BYTES = 64 * 1024
"""How much of a body is kept for sending it again; a larger one is sent once."""


class UploadError(Exception):
    """The body can't be taken: the refusal says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class Upload:
    """One request body. `read` waits for the client; everything else is immediate."""

    def __init__(self, request: web.BaseRequest, max_bytes: int) -> None:
        self._content = request.content
        self._max_bytes = max_bytes
        self.chunked = "Transfer-Encoding" in request.headers
        self.announced = request.headers.get("Content-Length", "0").encode("ascii")
        self.received = 0
        """Body bytes so far, without their transfer framing."""
        self.whole = False
        """Whether the last byte has been read."""
        self._kept: list[bytes] | None = []
        self._kept_bytes = 0

    def head_lines(self) -> bytes:
        """The end of the upstream request's head: how its body is framed, and the empty line."""
        if self.chunked:
            return b"\r\nTransfer-Encoding: chunked\r\n\r\n"
        return b"\r\nContent-Length: %b\r\n\r\n" % self.announced

    def at_hand(self) -> bytes:
        """What of the body is here already, framed for the upstream; nothing if it has to be waited for.

        Raises UploadError.
        """
        if not self._content.is_eof():
            return b""
        try:
            return self._framed(self._content.read_nowait(-1), last=True)
        except web.RequestPayloadError:
            raise UploadError(HTTP_MALFORMED) from None

    async def read(self) -> bytes:
        """The next piece, framed for the upstream; `whole` is set with the last. Raises UploadError."""
        try:
            data = await self._content.readany()
        except web.RequestPayloadError:
            raise UploadError(HTTP_MALFORMED) from None
        return self._framed(data, last=self._content.at_eof())

    def _framed(self, data: bytes, *, last: bool) -> bytes:
        self.received += len(data)
        if self.received > self._max_bytes:
            raise UploadError(BODY_TOO_LARGE)
        self.whole = last
        framed = data
        if self.chunked:
            framed = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            framed = framed + b"0\r\n\r\n" if last else framed
        if self._kept is not None:
            self._kept.append(framed)
            self._kept_bytes += len(framed)
            if self._kept_bytes > KEPT_BYTES:
                self._kept = None
        return framed

    def again(self) -> bytes | None:
        """All that has been sent so far, for a second connection; None when it is no longer kept."""
        return None if self._kept is None else b"".join(self._kept)

    def forget(self) -> None:
        """Keep nothing any more: a response has begun."""
        self._kept = None
