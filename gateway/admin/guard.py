"""Who gets past the admin listener's door: the names it is asked under first, then the token."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from contextlib import suppress
from ipaddress import ip_address

from aiohttp import web

from gateway.admin.refusals import Refused
from gateway.config import Admin, Listen

OPEN = frozenset({"/healthz", "/readyz", "/metrics"})
"""What a listener on loopback answers without the token: it changes nothing and tells no secret."""

PAGES = frozenset({"/usage"})
"""What is for a browser, which sends the token by HTTP Basic, as the password of any user name. Nothing else
takes it so: a browser adds it to what other sites make it ask, too.
"""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?")
_BEARER = re.compile(r"(?i:bearer) +([!-~]+)")
_BASIC = re.compile(r"(?i:basic) +([A-Za-z0-9+/]+={0,2})")


class Guard:
    """The door of one admin listener."""

    def __init__(self, settings: Admin, listen: Listen) -> None:
        self._token = None if settings.token is None else _digest(settings.token.reveal().encode("ascii"))
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
        is_page = request.path in PAGES and request.method in ("GET", "HEAD")
        sent = [_token_in(value, basic=is_page) for value in request.headers.getall("Authorization", ())]
        if len(sent) != 1 or not hmac.compare_digest(_digest(sent[0]), self._token):
            challenge = 'Basic realm="gateway admin", charset="UTF-8"' if is_page else "Bearer"
            raise Refused(
                401, "UNAUTHENTICATED", "missing or wrong admin token", {"WWW-Authenticate": challenge}
            )

    def _is_ours(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        return match is not None and (match[1].lower() in self._hosts or _is_address(match[1]))


def _token_in(value: str, *, basic: bool) -> bytes:
    """What an `Authorization` carries where the token would be; nothing where it has another form."""
    if match := _BEARER.fullmatch(value):
        return match[1].encode("ascii")
    if basic and (match := _BASIC.fullmatch(value)):
        with suppress(binascii.Error):
            return base64.b64decode(match[1], validate=True).partition(b":")[2]
    return b""


def _digest(token: bytes) -> bytes:
    """As long for any token, so that to compare two takes as long for any two."""
    return hashlib.sha256(token).digest()


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
