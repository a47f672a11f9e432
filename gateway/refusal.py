"""A refusal as the bytes of a whole HTTP answer."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

from gateway.dialects import gemini
from gateway.errors import GatewayError
from gateway.exchange import Exchange

_REASONS = {status.value: status.phrase for status in HTTPStatus}


def refusal_bytes(exchange: Exchange, error: GatewayError, *, keep: bool, with_body: bool) -> bytes:
    """A refusal as it goes over the wire, noted in the exchange. A HEAD request gets it without the body."""
    refusal = error.refusal
    exchange.status = refusal.http
    exchange.reason = refusal.reason
    body = gemini.error_body(error, exchange.route.framing, exchange.id)
    lines = [
        f"HTTP/1.1 {refusal.http} {_REASONS[refusal.http]}",
        "Content-Type: application/json; charset=UTF-8",
        f"Content-Length: {len(body)}",
        f"Date: {formatdate(usegmt=True)}",
        f"x-request-id: {exchange.id}",
        f"x-gateway-error: {refusal.reason}",
        *(f"{name}: {value}" for name, value in refusal.headers),
    ]
    if exchange.attempts:
        lines.append(f"x-gateway-attempts: {exchange.attempts}")
    if exchange.client_request_id:
        lines.append(f"x-client-request-id: {exchange.client_request_id}")
    lines.append("Connection: keep-alive" if keep else "Connection: close")
    if exchange.rate_limit_lines:
        lines.append(exchange.rate_limit_lines.decode("ascii"))
    head = "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"
    exchange.response_bytes = len(body) if with_body else 0
    return head + body if with_body else head
