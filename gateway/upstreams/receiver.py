"""What the connection to an upstream tells of a response, and to whom."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from gateway.upstreams.response_head import ResponseHead


class Failure(Enum):
    """Why a response will not become whole."""

    STALE = "the pooled connection was closed before a response byte came"
    CLOSED = "the upstream closed the connection"
    MALFORMED = "the upstream's response is not HTTP"


class Receiver(Protocol):
    """Who asked: told of everything that comes of its request, from within `data_received`."""

    def on_response(self, head: ResponseHead | None, body: bytes, whole: bool) -> None:
        """What one read brought: the head, if it came with it, and body bytes, without their framing.

        When `whole` comes, the connection may be back in the pool already. What has neither head nor end in
        it goes to the connection's `take_body` instead, where that is set.
        """

    def on_response_failed(self, failure: Failure) -> None: ...
    def on_upload_flow(self) -> None:
        """`writing_paused` has changed: the upstream takes no more of the request for now, or does again."""
