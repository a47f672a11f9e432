"""Requests that wait: for the store to say who asks, for the counters to say whether there is room."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.branches import Branches
from gateway.dialects import gemini
from gateway.exchange import Principal
from gateway.http_request import HttpRequest
from gateway.identity import Identity
from gateway.passing_on import pass_on

T = TypeVar("T")


class Asking:
    """The passage of a request's bytes meanwhile: none. `left` is called when the client leaves."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[T]],
        then: Callable[[T], None],
        failed: Callable[[Exception], None],
        left: Callable[[], None],
    ) -> None:
        """The first three: see `pass_on`."""
        self._left = left
        self._task = pass_on(ask, then, failed)

    def on_body(self) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

    def client_lost(self) -> None:
        self._task.cancel()
        self._left()


async def who_asks(
    identity: Identity, branches: Branches, request: HttpRequest, label: str
) -> tuple[Principal, str]:
    """Whom a request is from, and the id of the branch it is for. Raises GatewayError."""
    principal = await identity.authenticate(request.fields, gemini.query_of(request.target))
    return principal, await branches.authorize(principal, label)
