"""From settings as they were written to a configuration that is known to be good, secrets read.

Whatever is wrong becomes one ConfigurationError, whose line names the key and the place to mend.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, get_args

import msgspec

from gateway import catalog
from gateway.catalog import Catalog
from gateway.config import sources
from gateway.config.schema import (
    Admin,
    Branches,
    Counters,
    Ledger,
    Limits,
    Retries,
    Routing,
    Server,
    Settings,
    Store,
    StoreSecret,
    Timeouts,
    Upstream,
    UpstreamKind,
    WhenFull,
    WhenUnavailable,
)
from gateway.config.values import (
    BaseUrl,
    CountersUrl,
    HeaderName,
    HostName,
    HostSuffix,
    Listen,
    Network,
    StoreUrl,
)
from gateway.errors import ConfigurationError
from gateway.google_tokens import GoogleCredentials
from gateway.price_settings import ModelPrices, Tier
from gateway.prices import Prices
from gateway.secrets import Secret

_CHOICES = {"kind": UpstreamKind, "tier": Tier, "when_full": WhenFull, "when_unavailable": WhenUnavailable}
"""What a key of that name takes."""
_MODELS = {"catalog": catalog.ModelSettings, "prices": ModelPrices}
"""The sections that have an entry for each model."""
_PARSED = (BaseUrl, CountersUrl, HeaderName, HostName, HostSuffix, Listen, Network, StoreUrl)


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one run: every section checked, the catalog built, every secret read."""

    path: Path | None
    """None: no file, so the gateway is the embedded one, on loopback only."""
    server: Server
    admin: Admin
    store: Store
    ledger: Ledger
    counters: Counters
    limits: Limits
    branches: Branches
    catalog: Catalog
    prices: Prices
    timeouts: Timeouts
    routing: Routing
    retries: Retries
    upstreams: tuple[Upstream, ...]
    warnings: tuple[str, ...]
    """What is allowed but probably not meant, a line each."""
    settings: Settings
    """Every section as it was given, to be compared with another reading's."""

    def __reduce__(self) -> tuple[Callable[..., Config], tuple[object, ...]]:
        """How it reaches another process, secrets included: what can be built again is not passed on."""
        return _build, (self.path, self.settings, self.warnings)

    def with_upstreams(self, upstreams: tuple[Upstream, ...]) -> Config:
        """The same with other upstreams."""
        settings = msgspec.structs.replace(self.settings, upstreams=upstreams)
        return replace(self, upstreams=upstreams, settings=settings)

    def notices(self, today: date) -> list[str]:
        """What the operator should know: the warnings, and which models end, or have ended, by then."""
        kinds = {upstream.kind for upstream in self.upstreams}
        return [*self.warnings, *self.catalog.shutdown_warnings(kinds, today)]


def load(
    path: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    *,
    serving: bool = True,
) -> Config:
    """Read, convert and check the configuration. Raises ConfigurationError.

    `overrides` are the command line's options by dotted key, e.g. `{"server.listen": "127.0.0.1:0"}`; those
    that are None were not given. With `serving=False`, for commands that need only the store or the catalog,
    the files of secrets and certificates stay unread: whoever runs such a command may not be allowed to.
    """
    table = sources.read(path, environ, overrides or {})
    secrets: list[Secret | GoogleCredentials] = []

    def parse(kind: type, given: object) -> object:
        if not isinstance(given, str):
            raise ValueError(f"expected str, got {type(given).__name__}")
        if kind is Secret or kind is StoreSecret:
            secret = kind.parse(given, environ, read=serving or kind is StoreSecret)
            secrets.append(secret)
            return secret
        if kind is GoogleCredentials:
            credentials = GoogleCredentials.parse(given, environ, read=serving)
            secrets.append(credentials)
            return credentials
        if kind is Path:
            return _file_path(given)
        return next(parsed for parsed in _PARSED if parsed is kind).parse(given)

    try:
        settings = msgspec.convert(table.values, Settings, dec_hook=parse)
    except msgspec.ValidationError as error:
        raise table.error(*_explain(error, table.values, parse)) from None
    for key, message in _problems(settings, embedded=path is None, serving=serving):
        raise table.error(key, message)
    try:
        config = _build(path, settings)
    except ConfigurationError as error:
        raise table.error(*str(error).split(": ", 1)) from None
    return replace(config, warnings=tuple(_warnings(settings, config.catalog, secrets if serving else [])))


def _build(path: Path | None, settings: Settings, warnings: tuple[str, ...] = ()) -> Config:
    """Raises ConfigurationError, naming the key but no file."""
    return Config(
        path=path,
        server=settings.server,
        admin=settings.admin,
        store=settings.store,
        ledger=settings.ledger,
        counters=settings.counters,
        limits=settings.limits,
        branches=settings.branches,
        catalog=Catalog.build(settings.catalog),
        prices=Prices.build(settings.prices),
        timeouts=settings.timeouts,
        routing=settings.routing,
        retries=settings.retries,
        upstreams=settings.upstreams,
        warnings=warnings,
        settings=settings,
    )


def _file_path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("expected a file's path")
    return Path(text)


def _explain(
    error: msgspec.ValidationError, values: dict[str, Any], parse: Callable[[type, object], object]
) -> tuple[str, str]:
    """msgspec's message, "Expected `int`, got `str` - at `$.server.listen`", as a dotted key and words."""
    message, at, where = str(error).rpartition(" - at ")
    if not at:
        message, where = where, ""
    key = where.removeprefix("`key` in ").strip("`").removeprefix("$").removeprefix(".")
    section, found, _ = key.partition(".models[...]")
    if found:
        key = key.replace("[...]", f".{_bad_model(section, values, parse)}", 1)
    key = key.replace("[...]", "")
    if match := re.fullmatch(r"Object (contains unknown|missing required) field `(.*)`", message):
        return f"{key}.{match[2]}".removeprefix("."), "unknown key" if "unknown" in match[1] else "missing"
    if match := re.fullmatch(r"Invalid enum value '(.*)'", message):
        choices = get_args(_CHOICES.get(key.rpartition(".")[2], catalog.Kind))
        return key, f"{match[1]!r} is none of {', '.join(choices)}"
    message = message.replace(" | null", "")  # which TOML has not
    words = message.replace("`object`", "table").replace("`array`", "list")
    words = words.replace("`", "").replace(r"\\", "\\")
    return key, words[:1].lower() + words[1:]


def _bad_model(section: str, values: dict[str, Any], parse: Callable[[type, object], object]) -> str:
    """Which entry of the section's `models` does not convert; msgspec's path leaves that out."""
    for name, entry in values[section]["models"].items():
        try:
            msgspec.convert(entry, _MODELS[section], dec_hook=parse)
        except msgspec.ValidationError:
            return str(name)
    raise AssertionError(f"no entry of {section}.models is wrong")


def _problems(settings: Settings, *, embedded: bool, serving: bool) -> Iterator[tuple[str, str]]:
    """What is wrong between keys that are each right: dotted key and message, of which the first is told."""
    server = settings.server
    if not server.listen:
        yield "server.listen", "at least one address is needed"
    if embedded:
        for key, listens in (("listen", server.listen), ("admin_listen", (server.admin_listen,))):
            for listen in listens:
                if not listen.is_loopback:
                    yield f"server.{key}", f"{listen} is not on loopback, which needs a configuration file"
    if not server.admin_listen.is_loopback and settings.admin.token is None:
        yield "server.admin_listen", f"{server.admin_listen} is not on loopback, which needs admin.token"
    fixed = [listen for listen in (*server.listen, server.admin_listen) if listen.path or listen.port]
    for listen in fixed:
        if fixed.count(listen) > 1:
            yield "server.listen", f"{listen} is listened on twice"
    if (server.tls_cert is None) != (server.tls_key is None):
        yield "server.tls_cert" if server.tls_key else "server.tls_key", "tls_cert and tls_key go together"
    elif serving and server.tls_cert and server.tls_key:
        yield from _certificate_problems(server.tls_cert, server.tls_key)
    if settings.store.password and settings.store.url.is_sqlite:
        yield "store.password", "an SQLite file has none"
    if settings.counters.password and settings.counters.url.is_memory:
        yield "counters.password", "memory has none"
    if not settings.upstreams:
        yield "upstreams", "at least one upstream is needed"
    for index, upstream in enumerate(settings.upstreams):
        if upstream.name in [other.name for other in settings.upstreams[:index]]:
            yield f"upstreams[{index}].name", f"{upstream.name!r} is taken by another upstream"
        for key, message in _upstream_problems(upstream, serving=serving):
            yield f"upstreams[{index}].{key}", message


def _upstream_problems(upstream: Upstream, *, serving: bool) -> Iterator[tuple[str, str]]:
    if upstream.kind != "vertex":
        for key, default in (("project", ""), ("location", "global"), ("credentials", None)):
            if getattr(upstream, key) != default:
                yield key, "only a vertex upstream has one"
    if upstream.kind == "simulated":
        for key in ("base_url", "keys", "ca_file"):
            if getattr(upstream, key):
                yield key, "a simulated upstream has none"
        return
    if not upstream.base_url:
        yield "base_url", "missing"
    if upstream.kind == "vertex":
        if not upstream.project:
            yield "project", "missing"
        if not upstream.credentials:
            yield "credentials", "missing"
        if upstream.keys:
            yield "keys", "a vertex upstream has credentials in their place"
    elif not upstream.keys:
        yield "keys", "at least one key is needed"
    if upstream.pace:
        yield "pace", "only a simulated upstream has one"
    if upstream.ca_file is None:
        return
    if not upstream.base_url.startswith("https:"):
        yield "ca_file", "only an https base_url needs one"
    elif serving:
        if unreadable := _unreadable(upstream.ca_file):
            yield "ca_file", unreadable
        try:
            ssl.create_default_context(cafile=upstream.ca_file)
        except ssl.SSLError:
            yield "ca_file", f"{upstream.ca_file} holds no certificate in PEM form"


def _certificate_problems(cert: Path, key: Path) -> Iterator[tuple[str, str]]:
    for name, file in (("server.tls_cert", cert), ("server.tls_key", key)):
        if unreadable := _unreadable(file):
            yield name, unreadable
    try:
        # The password keeps OpenSSL from asking for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except ssl.SSLError:
        yield "server.tls_cert", f"{cert} and {key} are not a PEM certificate and its unencrypted key"


def _unreadable(file: Path) -> str | None:
    try:
        file.open("rb").close()
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    return None


def _warnings(
    settings: Settings, models: Catalog, secrets: list[Secret | GoogleCredentials]
) -> Iterator[str]:
    for secret in secrets:
        if warning := secret.warning():
            yield warning
    if settings.catalog.allow:
        return  # then a pattern may be meant for names that no catalog knows
    served = [model for model in models.models if model.on_endpoint]
    for upstream in settings.upstreams:
        if not any(upstream.serves(model.id) for model in served):
            patterns = ", ".join(upstream.models)
            yield f"upstream {upstream.name!r} serves nothing: no model's short id matches {patterns}"
