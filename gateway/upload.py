"""A request body on its way up that was not whole with its head: framed as it was announced, and counted.

Until the first response byte, the beginning of it is also kept, so that it can be sent again when the pooled
connection turns out to have been closed by the upstream in the meantime.
"""

from __future__ import annotations

KEPT_BYTES = 64 * 1024
"""How much of a body that has been sent is kept for sending it again; a larger one is sent once."""


class Upload:
    """One request body."""

    def __init__(self, *, chunked: bool) -> None:
        self._chunked = chunked
        self.received = 0
        """Body bytes so far, without their transfer framing."""
        self._kept: list[bytes] | None = []
        self._kept_bytes = 0
        self._sent = False

    def add(self, data: bytes, *, last: bool) -> bytes:
        """A piece has come: how it is framed for the upstream."""
        self.received += len(data)
        piece = framed(data, last=last) if self._chunked else data
        if self._kept is not None:
            self._kept.append(piece)
            self._kept_bytes += len(piece)
            self._keep_little()
        return piece

    def so_far(self) -> bytes | None:
        """All that has come, to be sent on a connection that has none of it; None if it is no longer kept."""
        if self._kept is None:
            return None
        body = b"".join(self._kept)
        self._sent = True
        self._keep_little()
        return body

    def can_send_again(self) -> bool:
        """Whether `so_far` would give it."""
        return self._kept is not None

    def forget(self) -> None:
        """Keep nothing any more: a response has begun."""
        self._kept = None

    def _keep_little(self) -> None:
        if self._sent and self._kept_bytes > KEPT_BYTES:
            self._kept = None


def framed(data: bytes, *, last: bool) -> bytes:
    """A piece of a chunked body, with the end of the body behind the last one."""
    chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return chunk + b"0\r\n\r\n" if last else chunk
