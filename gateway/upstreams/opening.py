"""From the settings of an upstream to one that can be asked, and what of it other settings may change."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import msgspec

from gateway import config
from gateway.errors import ConfigurationError
from gateway.secrets import Secret
from gateway.upstreams import Key, Kind, Upstream, ai_studio, gateway, simulated
from gateway.upstreams.connector import Connector
from gateway.upstreams.renewal import Renewal
from gateway.upstreams.vertex import Vertex

_KINDS: dict[str, Kind] = {module.KIND: module for module in (ai_studio, gateway, simulated)}
"""Those that are the same wherever they are."""


async def open_upstream(settings: config.Upstream, connect_timeout: float) -> Upstream:
    """A configured upstream, ready to be asked; to be closed. A simulated one is started, too; of one whose
    token does not come soon the key is unavailable at first.

    Raises ConfigurationError where a file that was there when it was checked is no more.
    """
    try:
        return await _open(settings, connect_timeout)
    except OSError as error:
        file = f" with {settings.ca_file}" if settings.ca_file else ""
        raise ConfigurationError(
            f"upstream {settings.name!r} could not be opened{file}: {error.strerror or error}"
        ) from None


async def _open(settings: config.Upstream, connect_timeout: float) -> Upstream:
    async with AsyncExitStack() as life:
        base_url: str = settings.base_url
        if settings.kind == simulated.KIND:
            runner, port = await simulated.start(settings.pace / 1000)
            life.push_async_callback(runner.cleanup)
            base_url = f"http://127.0.0.1:{port}"
        url = urlsplit(base_url)
        assert url.hostname
        tls = None
        if url.scheme == "https":
            # In a thread: reading all the system's authorities takes tens of milliseconds.
            tls = await asyncio.to_thread(ssl.create_default_context, cafile=settings.ca_file)
            tls.set_alpn_protocols(["http/1.1"])
        kind = _kind(settings)
        keys = _keys(kind, settings.keys)
        renewal = None
        if settings.credentials:
            renewal = Renewal(settings.name, keys[0], settings.credentials, kind.authorization)
            life.push_async_callback(renewal.close)
            await renewal.start()
        return Upstream(
            name=settings.name,
            kind=kind,
            connector=Connector(url.hostname, url.port or (443 if tls else 80), tls, connect_timeout),
            host=url.netloc.encode("ascii"),
            path_prefix=url.path,
            keys=keys,
            serves=settings.serves,
            projects=_projects(settings),
            priority=settings.priority,
            weight=settings.weight,
            cooldown=_cools_down(settings),
            renewal=renewal,
            life=life.pop_all(),
        )


def fixed(settings: config.Upstream) -> config.Upstream:
    """What of the settings can't change while the upstream is open: all but what `adjust` takes up."""
    anyone = ("*",)
    return msgspec.structs.replace(
        settings, credentials=None, keys=(), models=anyone, projects=anyone, priority=1, weight=1
    )


def adjust(upstream: Upstream, settings: config.Upstream) -> None:
    """Take up what may have changed while it is open."""
    upstream.keys = _keys(upstream.kind, settings.keys, upstream.keys)
    upstream.serves = settings.serves
    upstream.projects = _projects(settings)
    upstream.priority = settings.priority
    upstream.weight = settings.weight
    if upstream.renewal and settings.credentials:
        upstream.renewal.use(settings.credentials)


def _projects(settings: config.Upstream) -> frozenset[str] | None:
    return None if "*" in settings.projects else frozenset(settings.projects)


def _cools_down(settings: config.Upstream) -> bool:
    """A simulated one fails when it is asked to, which says nothing of the next request."""
    return settings.cooldown and settings.kind != simulated.KIND


def _kind(settings: config.Upstream) -> Kind:
    if settings.kind == Vertex.KIND:
        return Vertex(settings.project, settings.location)
    return _KINDS[settings.kind]


def _keys(kind: Kind, secrets: Sequence[Secret], old: Sequence[Key] = ()) -> tuple[Key, ...]:
    """A key for each secret, or one that is none. What is asked with as before stays the same object."""
    if not secrets:
        return tuple(old) or (Key("1"),)
    known = {key.line: key for key in old}
    keys = []
    for place, secret in enumerate(secrets, 1):
        line = kind.authorization(secret.reveal())
        key = known.pop(line, None) or Key("", line)
        key.name = str(place)
        keys.append(key)
    return tuple(keys)
