"""The access log: one request's record as one line of JSON.

What stands in a line is this file's business alone: names, units and what is left out. Bodies, secrets, the
path and the query are not in it. The fields are documented in docs/observability.md.
"""

from __future__ import annotations

from time import gmtime, strftime, time

import msgspec

from gateway.access_line import AccessLine
from gateway.exchange import Exchange
from gateway.line_writer import LineWriter

_FOREIGN_LIMIT = 128
"""Characters kept of a value that the upstream chose."""
_MILLISECONDS = tuple(f".{number:03d}Z" for number in range(1000))
"""How a time ends."""


class AccessLog:
    """Turns finished exchanges into lines of `writer`."""

    def __init__(self, writer: LineWriter) -> None:
        self._write = writer.write
        self._encode = msgspec.json.Encoder().encode
        self._second = 0
        self._second_text = ""

    def record(self, exchange: Exchange) -> None:
        """Write the line of an exchange that is over (`ended` is set)."""
        line = self._line(exchange)
        try:
            encoded = self._encode(line)
        except UnicodeEncodeError:  # a lone surrogate: JSON can spell it, UTF-8 can't
            encoded = self._encode(_repaired(line))
        self._write(encoded)

    def _line(self, exchange: Exchange) -> AccessLine:
        now = time()
        second = int(now)
        if second != self._second:  # `strftime` costs as much as a whole line
            self._second = second
            self._second_text = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        credential = project = ""
        if (principal := exchange.principal) is not None:
            credential, project = principal.credential_id, principal.project_id
        input_tokens = output_tokens = cached_tokens = total_tokens = None
        if (usage := exchange.usage) is not None:
            input_tokens, output_tokens = usage.input, usage.output
            cached_tokens, total_tokens = usage.cached, usage.total
        began = exchange.began
        first_byte = exchange.first_byte
        route = exchange.route
        # By position, for speed: the order is the struct's.
        return AccessLine(
            self._second_text + _MILLISECONDS[int((now - second) * 1000)],
            exchange.id,
            exchange.client_request_id,
            exchange.branch_id,
            credential,
            project,
            exchange.model,
            exchange.model_version[:_FOREIGN_LIMIT],
            route.action,
            route.framing,
            exchange.upstream,
            exchange.upstream_request_id[:_FOREIGN_LIMIT],
            exchange.status,
            exchange.reason,
            exchange.ending,
            int((first_byte - began) * 1e6) / 1e3 if first_byte else None,
            int((exchange.ended - began) * 1e6) / 1e3,
            exchange.request_bytes,
            exchange.response_bytes,
            input_tokens,
            output_tokens,
            cached_tokens,
            total_tokens,
            "unknown" if usage is None else "reported",
        )


def _repaired(line: AccessLine) -> AccessLine:
    for name in line.__struct_fields__:
        value = getattr(line, name)
        if isinstance(value, str):
            setattr(line, name, value.encode("utf-8", "replace").decode())
    return line
