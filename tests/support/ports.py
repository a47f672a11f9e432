"""Addresses on which nobody answers: one that refuses, one that stays silent."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses every connection while the context lasts."""
    with socket.socket() as bound:  # bound and not listening: nobody else gets it either
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextmanager
def silent_port() -> Iterator[int]:
    """A port of 127.0.0.1 where a connection is neither accepted nor refused: its queue is full."""
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        filler = sockets.enter_context(socket.socket())
        filler.connect(listener.getsockname())  # a queue of 0 holds one
        yield listener.getsockname()[1]
