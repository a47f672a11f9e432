"""Which upstream and which of its keys a request goes to: the first by priority that serves the model."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from itertools import cycle
from urllib.parse import urlsplit

from gateway import config
from gateway.catalog import Model
from gateway.errors import MODEL_NOT_ON_ENDPOINT, GatewayError
from gateway.upstreams import Kind, Target, Upstream, ai_studio, gateway, simulated
from gateway.upstreams.connector import Connector

KNOWN_MODELS = 1000
"""For how many models the choice is remembered: where `catalog.allow` is set, clients choose the names."""

_KINDS: dict[str, Kind] = {module.KIND: module for module in (ai_studio, gateway, simulated)}


def build(settings: config.Upstream, connect_timeout: float, simulator_port: int = 0) -> Upstream:
    """A configured upstream, ready to be asked. A simulated one is at `simulator_port` on loopback."""
    url = urlsplit(settings.base_url or f"http://127.0.0.1:{simulator_port}")
    assert url.hostname
    tls = None
    if url.scheme == "https":
        tls = ssl.create_default_context(cafile=settings.ca_file)
        tls.set_alpn_protocols(["http/1.1"])
    port = url.port or (443 if tls else 80)
    return Upstream(
        name=settings.name,
        kind=_KINDS[settings.kind],
        connector=Connector(url.hostname, port, tls, connect_timeout),
        host=url.netloc.encode("ascii"),
        path_prefix=url.path,
        keys=settings.keys,
        serves=settings.serves,
        priority=settings.priority,
    )


class Pool:
    """The upstreams of this gateway, in order of priority."""

    def __init__(self, upstreams: Iterable[Upstream]) -> None:
        self.upstreams = sorted(upstreams, key=lambda upstream: upstream.priority)
        self._targets: dict[str, Iterator[Target]] = {}
        """By model, its targets over and over."""

    def choose(self, model: Model) -> Target:
        """Where a request for the model goes. Raises GatewayError where no upstream serves it."""
        targets = self._targets.get(model.id)
        if targets is None:
            targets = self._find(model)
            if len(self._targets) >= KNOWN_MODELS:
                self._targets.clear()
            self._targets[model.id] = targets
        return next(targets)

    def _find(self, model: Model) -> Iterator[Target]:
        upstream = next((upstream for upstream in self.upstreams if upstream.serves(model.id)), None)
        if upstream is None:
            raise GatewayError(MODEL_NOT_ON_ENDPOINT, {"model": model.id})
        name = model.upstream_name(upstream.kind.KIND)
        return cycle([Target(upstream, key, name) for key in upstream.keys or (None,)])

    def close(self) -> None:
        """Close every connection to every upstream."""
        for upstream in self.upstreams:
            upstream.connector.close()
