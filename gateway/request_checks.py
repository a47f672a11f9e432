"""What a request's head says that is no business of any dialect: is it HTTP, its host, its own id."""

from __future__ import annotations

import re

from gateway.client_connection import ClientConnection
from gateway.dialects import gemini
from gateway.errors import HOST_MALFORMED, HTTP_MALFORMED, GatewayError, printable
from gateway.http_request import HttpRequest

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_LENGTH_DIGITS = 19  # the parser takes the largest number that it can count to for none


def check_http(request: HttpRequest, action: str) -> None:
    """Raises GatewayError for what the parser lets through, but the contract, or passing it on, does not."""
    if request.fault:
        raise GatewayError(request.fault)
    if (
        (not request.target.startswith("/") and (request.target != "*" or request.method != "OPTIONS"))
        or (not request.http_1_1 and (request.http_version != "1.0" or action == gemini.STREAM_ACTION))
        or (
            request.chunked
            and (not request.http_1_1 or request.fields[b"transfer-encoding"].lower() != b"chunked")
        )
        or len(request.fields.get(b"content-length", b"")) > _LENGTH_DIGITS
        or not _has_one_host(request)
    ):
        raise GatewayError(HTTP_MALFORMED)


def _has_one_host(request: HttpRequest) -> bool:
    host = request.fields.get(b"host")
    if host is None:
        return not request.http_1_1
    return b"," not in host or sum(name.lower() == b"host" for name, _ in request.headers) == 1


def host_asked_for(client: ClientConnection) -> str:
    """The host as it was spelled; a trusted proxy's word for it counts, where it is one word.

    Raises GatewayError where it is several.
    """
    fields = client.request.fields
    forwarded = fields.get(b"x-forwarded-host")
    if forwarded is None or not client.from_trusted_proxy:
        return fields.get(b"host", b"").decode("utf-8", "surrogateescape")
    host = forwarded.decode("utf-8", "surrogateescape")
    if "," in host:
        raise GatewayError(HOST_MALFORMED, {"host": printable(host)})
    return host


def client_request_id(request: HttpRequest) -> str:
    """What the client calls its request; empty where it says nothing that can be passed on."""
    value = request.fields.get(b"x-request-id")
    if value is None or not _REQUEST_ID.fullmatch(value):
        return ""
    given = value.decode("ascii")
    # Whoever puts a token there does not want to find it in a log.
    return given if printable(given) == given else ""
