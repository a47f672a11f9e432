"""The single values of a configuration that are more than a number or a text, each with its own form.

Each has a `parse` that raises ValueError saying what was expected; none quotes what could hold a password.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, quote, urlsplit

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_BASE_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~%/-]*)?")
_REDIS = re.compile(
    r"rediss?://([A-Za-z0-9._-]+@)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?(/[0-9]{1,4})?"
)
_POSTGRESQL = re.compile(r"postgresql://[!-~]*/[A-Za-z0-9_.%~-]+(\?[!-~]*)?")
_POSTGRESQL_OPTIONS = ("host", "sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs")
_SUFFIX = re.compile(r"(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SOCKET_PATH_BYTES = 107  # of a Unix socket's address, on Linux

_CREDENTIALS = {"authorization", "proxy-authorization", "cookie", "x-goog-api-key", "x-api-key", "api-key"}
_OF_THE_CONNECTION = {"host", "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"}
_OF_THE_BODY = {"content-length", "transfer-encoding", "expect"}
_REWRITTEN = {"accept-encoding", "x-server-timeout", "x-goog-request-params"}
_CHANGING_THE_ANSWER = {"x-goog-fieldmask", "x-http-method-override", "x-http-method", "x-method-override"}
_NOT_FORWARDED = _CREDENTIALS | _OF_THE_CONNECTION | _OF_THE_BODY | _REWRITTEN | _CHANGING_THE_ANSWER


class Listen(str):
    """Where to listen: `host:port`, `[::1]:port` or `unix:/path`, as it was written."""

    host: str
    """A name or an address, an IPv6 one without its brackets; empty for a Unix socket."""
    port: int
    """0 lets the system choose one."""
    path: str
    """The Unix socket's; empty for a host."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """A Unix socket's path must be absolute."""
        self = cls(text)
        self.host, self.port, self.path = "", 0, ""
        if text.startswith("unix:"):
            self.path = text.removeprefix("unix:")
            if not self.path.startswith("/") or len(self.path.encode()) > _SOCKET_PATH_BYTES or "\0" in text:
                raise ValueError(f"{text!r} is not unix: and an absolute path of at most 107 bytes")
            return self
        host, _, port = text.rpartition(":")
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
            raise ValueError(f"{text!r} is not host:port, [ipv6]:port or unix:/path (ports 0 to 65535)")
        if not _is_host(host):
            raise ValueError(f"{text!r} has no valid host before its port")
        self.host, self.port = host.strip("[]"), int(port)
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def _is_host(text: str) -> bool:
    try:
        if text.startswith("[") and text.endswith("]"):
            IPv6Address(text[1:-1])
        elif text.replace(".", "").isdigit():
            ip_address(text)
        else:
            return _HOST_NAME.fullmatch(text) is not None
    except ValueError:
        return False
    return True


class Network:
    """A range of addresses: `peer in network` for an address in text form."""

    def __init__(self, network: IPv4Network | IPv6Network) -> None:
        self._network = network

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self._network == other._network

    def __hash__(self) -> int:
        return hash(self._network)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From CIDR notation, `10.0.0.0/8` or `fd00::/8`, or one address."""
        return cls(ip_network(text))

    def __repr__(self) -> str:
        return f"Network({self._network})"

    def __contains__(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False  # a Unix socket's peer has no address
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return address in self._network


class HeaderName(str):
    """A request header that may be passed on to upstreams, in lower case."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Refuses what carries credentials, belongs to the connection, or is the gateway's own to write."""
        name = text.lower()
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{text!r} is not a header's name")
        if name in _NOT_FORWARDED or name.startswith("x-gateway-"):
            raise ValueError(f"{text!r} is a header that is never passed on")
        return cls(name)


class HostSuffix(str):
    """What follows a branch's label in a host name: `.ai.example.com`, in lower case."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The leading dot is required: without it a suffix would match in the middle of a label."""
        if not _SUFFIX.fullmatch(text.lower()):
            raise ValueError(f"{text!r} is not a suffix of host names such as '.ai.example.com'")
        return cls(text.lower())


class HostName(str):
    """A name under which a listener may be asked, `gateway.internal`, in lower case."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Without a port: a name is allowed at any."""
        if not _HOST_NAME.fullmatch(text):
            raise ValueError(f"{text!r} is not a host's name without a port, as 'gateway.internal' is")
        return cls(text.lower())


class BaseUrl(str):
    """An upstream's address, `https://host[:port][/path]`, without a slash at its end."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """A query, a fragment and user information are refused."""
        form = "expected http(s)://host[:port][/path], without user, query and fragment"
        if not _BASE_URL.fullmatch(text):
            raise ValueError(form)
        try:
            urlsplit(text).port  # noqa: B018 - the property checks the range
        except ValueError:
            raise ValueError(form) from None
        return cls(text.rstrip("/"))


class StoreUrl(str):
    """Where the store is, without a password; SQLAlchemy's rule for files: three slashes before a relative
    path, four before an absolute one.
    """

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `sqlite:///relative/path`, `sqlite:////absolute/path` or `postgresql://user@host:port/database`."""
        if text.startswith("postgresql://"):
            _check_postgresql(text)
            return cls(text)
        path = text.removeprefix("sqlite:///")
        if path == text or not path.strip("/") or path.startswith(":") or re.search(r"[?#\0]", path):
            raise ValueError(
                "expected sqlite:///relative/path, sqlite:////absolute/path or "
                "postgresql://user@host:port/database"
            )
        return cls(text)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file, and not a server."""
        return self.startswith("sqlite:")

    @property
    def path(self) -> Path:
        """SQLite's file; a relative one counts from the working folder."""
        return Path(self.removeprefix("sqlite:///"))


class CountersUrl(str):
    """Where limits are counted: `memory://`, or a Redis server's address without a password."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `memory://`, `redis://[user@]host[:port][/number]`, or the same with `rediss://` for TLS."""
        form = "expected memory:// or redis(s)://[user@]host[:port][/database's number], without a password"
        if text != "memory://" and not _REDIS.fullmatch(text):
            raise ValueError(form)
        try:
            urlsplit(text).port  # noqa: B018 - the property checks the range
        except ValueError:
            raise ValueError(form) from None
        return cls(text)

    @property
    def is_memory(self) -> bool:
        """Whether only the processes of this machine count together."""
        return self == "memory://"

    def with_password(self, password: str) -> str:
        """For the client library alone: it is a secret."""
        parts = urlsplit(self)
        user, _, place = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}").geturl()


def _check_postgresql(text: str) -> None:
    form = "expected postgresql://user@host:port/database"
    if not _POSTGRESQL.fullmatch(text):
        raise ValueError(form)
    try:
        parts = urlsplit(text)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        parts.port  # noqa: B018 - the property checks the range
    except ValueError:
        raise ValueError(form) from None
    if parts.password is not None:
        raise ValueError("a password is not for here: store.password refers to it")
    for name, _ in options:
        if name not in _POSTGRESQL_OPTIONS:
            known = ", ".join(_POSTGRESQL_OPTIONS)
            raise ValueError(f"after the ? only {known} can be set")
