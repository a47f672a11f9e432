"""What the clients saw, joined with what the gateway wrote down of it: each request once, and alike."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

SHOWN = 20
"""How many violations are kept in full."""


class Line(msgspec.Struct):
    """What is read of a line of the access log; see docs/observability.md."""

    id: str
    status: int
    reason: str
    ending: str
    upstream: str
    request_bytes: int
    response_bytes: int
    total_tokens: int | None


@dataclass(frozen=True)
class Seen:
    """What one client knows of its request. A None is what it can't know."""

    what: str
    status: int
    endings: frozenset[str] | None
    request_bytes: int | None = None
    response_bytes: int | None = None
    tokens: int | None = None
    """The total; looked at where `response_bytes` are known."""


class Violation(Exception):
    """Something that must not happen."""


@dataclass
class Ledger:
    """The whole run's."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often what a client did came to what."""
    lines: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    """Lines of the access log by ending, status and reason."""
    asked: int = 0
    """Of those, the ones for which an upstream was asked."""
    answered: int = 0
    """Requests of which a client has seen the head of an answer."""
    planned: int = 0
    """Of those, the ones that the upstream must have seen."""
    lost: int = 0
    """Uploads that failed since their upstream was just closing the connection."""
    left: int = 0
    """Requests whose client did not wait for one: the gateway may have seen them or not."""
    violations: list[str] = field(default_factory=list)
    total_violations: int = 0
    _seen: dict[str, Seen] = field(default_factory=dict)
    _written: dict[str, Line] = field(default_factory=dict)

    def violation(self, text: str) -> None:
        """Notes something that must not happen."""
        self.total_violations += 1
        if len(self.violations) < SHOWN:
            self.violations.append(text)
        elif self.total_violations == SHOWN + 1:
            self.violations.append("and more of this kind")

    def count(self, action: str, outcome: str) -> None:
        """Counts what a client did, and what came of it."""
        self.outcomes[action, outcome] += 1

    def saw(self, request_id: str, seen: Seen, *, planned: bool) -> None:
        """Notes an answered request of a client, by the gateway's id."""
        self.answered += 1
        self.planned += planned
        if request_id in self._seen:
            self.violation(f"{seen.what}: its id {request_id} is another request's too")
        elif line := self._written.pop(request_id, None):
            self._compare(seen, line)
        else:
            self._seen[request_id] = seen

    def wrote(self, line: Line) -> None:
        """Takes a line of the access log."""
        self.lines[line.ending, line.status, line.reason] += 1
        self.asked += bool(line.upstream)
        if seen := self._seen.pop(line.id, None):
            self._compare(seen, line)
        else:
            self._written[line.id] = line

    def close(self) -> None:
        """Judges what is left when every request is over and the log is read."""
        for request_id, seen in self._seen.items():
            self.violation(f"{seen.what}: answered, but not in the access log as {request_id}")
        if len(self._written) > self.left:
            self.violation(
                f"{len(self._written)} lines of the access log are nobody's, {self.left} clients left"
            )

    def _compare(self, seen: Seen, line: Line) -> None:
        differences = [
            f"{name} is {actual!r}, not {wanted!r}"
            for name, wanted, actual in (
                ("status", seen.status, line.status),
                ("request_bytes", seen.request_bytes, line.request_bytes),
                ("response_bytes", seen.response_bytes, line.response_bytes),
            )
            if wanted is not None and wanted != actual
        ]
        if seen.endings is not None and line.ending not in seen.endings:
            differences.append(f"ending is {line.ending}, not {' or '.join(sorted(seen.endings))}")
        if seen.response_bytes is not None and seen.tokens != line.total_tokens:
            differences.append(f"total_tokens are {line.total_tokens}, not {seen.tokens}")
        if differences:
            self.violation(f"{seen.what}: in the access log {', '.join(differences)} ({line})")


async def read_log(stream: asyncio.StreamReader, take: Callable[[Line], None]) -> None:
    """Hands on every line of the access log until it ends."""
    decoder = msgspec.json.Decoder(Line)
    while line := await stream.readline():
        take(decoder.decode(line))
