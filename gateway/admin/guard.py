"""Who gets past the admin listener's door: the names it is asked under first, then the token."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from ipaddress import ip_address

from aiohttp import web

from gateway.admin.refusals import Refused
from gateway.config import Admin, Listen

OPEN = frozenset({"/healthz", "/readyz", "/metrics"})
"""What a listener on loopback answers without the token: it changes nothing and tells no secret."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?")
_BEARER = re.compile(r"(?i:bearer) +([!-~]+)")


class Guard:
    """The door of one admin listener."""

    def __init__(self, settings: Admin, listen: Listen) -> None:
        self._token = None if settings.token is None else _digest(settings.token.reveal())
        self._hosts = {"localhost", listen.host.lower(), *settings.hosts}
        self._is_loopback = listen.is_loopback

    def check(self, request: web.Request) -> None:
        """Raise Refused unless the request may come in."""
        # A browser can be made to ask here under a name of the attacker's (DNS rebinding), but under no
        # address but the one it connects to; and none leaves the header out.
        host = request.headers.get("Host")
        if host is not None and not self._is_ours(host):
            raise Refused(403, "HOST_NOT_ALLOWED", "not asked under a name of this listener; see admin.hosts")
        if self._is_loopback and request.path in OPEN:
            return
        if self._token is None:
            raise Refused(
                403,
                "ADMIN_TOKEN_NOT_SET",
                "the admin API is off: set admin.token in the configuration, to a reference such as "
                "env:GATEWAY_ADMIN_TOKEN, and restart",
            )
        if not _carries(request.headers.getall("Authorization", ()), self._token):
            challenge = {"WWW-Authenticate": "Bearer"}
            raise Refused(401, "UNAUTHENTICATED", "missing or wrong admin token", challenge)

    def _is_ours(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        return match is not None and (match[1].lower() in self._hosts or _is_address(match[1]))


def _carries(sent: Iterable[str], digest: bytes) -> bool:
    """Whether one value was sent, and only one, with the token of that digest."""
    bearers = [_BEARER.fullmatch(value) for value in sent]
    if len(bearers) != 1 or bearers[0] is None:
        return False
    return hmac.compare_digest(_digest(bearers[0][1]), digest)


def _digest(token: str) -> bytes:
    """As long for any token, so that to compare two takes as long for any two."""
    return hashlib.sha256(token.encode("ascii")).digest()


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
