"""The catalog: which model a client's name means, and what that model is called at each kind of upstream.

Built once, from the package's `catalog.toml` and the operator's `[catalog]` section; then pure look-ups.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from gateway.errors import (
    MODEL_NOT_ON_ENDPOINT,
    MODEL_UNKNOWN,
    ConfigurationError,
    GatewayError,
    printable,
)

Kind = Literal["simulated", "ai-studio", "vertex", "gateway"]
"""The kinds of upstream for which a model can have a name of its own and a shutdown date."""
ModelName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,128}\Z")]
"""What a model may be called: the characters of the contract."""

_WARN_DAYS = 60


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model as a file describes it."""

    aliases: tuple[ModelName, ...] = ()
    upstream_names: dict[Kind, ModelName] = {}
    shutdown: dict[Kind, date] = {}
    fallback: tuple[ModelName, ...] = ()


class CatalogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The operator's `[catalog]` section."""

    allow: tuple[str, ...] = ()
    """Patterns (`*`, `?`, `[…]`; case counts) of names outside the catalog that pass unchanged."""
    remove: tuple[ModelName, ...] = ()
    """Short ids of the package's models that are unknown here, whatever `allow` says."""
    models: dict[ModelName, ModelSettings] = {}
    """By short id: models to add, or what to add to and override in the package's."""


class _Package(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    prefixes: tuple[str, ...]
    models: dict[ModelName, ModelSettings]
    elsewhere: dict[str, tuple[ModelName, ...]]


@dataclass(frozen=True, slots=True)
class Model:
    """One model: its short id, which quotas, metrics and the ledger use, and its names everywhere else."""

    id: str
    provider: str = "google"
    aliases: tuple[str, ...] = ()
    on_endpoint: bool = True
    """False: a real model, but not one of the Gemini endpoint."""
    upstream_names: Mapping[str, str] = field(default_factory=dict)
    """By kind of upstream; a kind that is absent takes the short id."""
    shutdown: Mapping[str, date] = field(default_factory=dict)
    """By kind of upstream: the day from which it answers no more, as announced."""
    fallback: tuple[str, ...] = ()
    """The short ids of the models that answer in its place, the first that can, while no upstream does."""

    def upstream_name(self, kind: str) -> str:
        """What an upstream of this kind calls the model."""
        return self.upstream_names.get(kind, self.id)


class Catalog:
    """All models by every name they have."""

    def __init__(
        self, models: Iterable[Model], allow: Iterable[str] = (), removed: Iterable[str] = ()
    ) -> None:
        """`removed` are names that no pattern of `allow` may bring back.

        Raises ValueError where two models claim one name.
        """
        self.models = tuple(models)
        self._allow = tuple(allow)
        self._removed = frozenset(removed)
        self._by_name: dict[str, Model] = {}
        for model in self.models:
            for name in (model.id, *model.aliases):
                other = self._by_name.setdefault(name, model)
                if other is not model:
                    raise ValueError(f"{name!r} names both {other.id} and {model.id}")

    @classmethod
    def build(cls, settings: CatalogSettings | None = None) -> Catalog:
        """The package's catalog with the operator's changes.

        Raises ConfigurationError, naming the key below `catalog` but no file.
        """
        settings = settings or CatalogSettings()
        package = _read_package()
        models = {name: _merge(Model(name), given) for name, given in package.models.items()}
        for provider, ids in package.elsewhere.items():
            models |= {name: Model(name, provider, on_endpoint=False) for name in ids}
        removed: set[str] = set()
        for name in settings.remove:
            if name not in models:
                raise ConfigurationError(f"catalog.remove: no model of the catalog has the id {name!r}")
            removed |= {name, *_aliases(models.pop(name), package.prefixes)}
        for name, given in settings.models.items():
            models[name] = _merge(models.get(name) or Model(name), given)
        for name, given in settings.models.items():
            for fallback in given.fallback:
                if fallback == name or fallback not in models or not models[fallback].on_endpoint:
                    raise ConfigurationError(
                        f"catalog.models.{name}.fallback: {fallback!r} is not the short id of another model"
                    )
        named = [replace(model, aliases=_aliases(model, package.prefixes)) for model in models.values()]
        try:
            return cls(named, settings.allow, removed)
        except ValueError as error:
            raise ConfigurationError(f"catalog.models: {error}") from None

    def resolve(self, name: str) -> Model:
        """The model that a client's name means.

        Raises GatewayError: MODEL_UNKNOWN, or MODEL_NOT_ON_ENDPOINT for a real model of another endpoint.
        """
        model = self._by_name.get(name)
        if model is None:
            if name in self._removed or not any(fnmatchcase(name, pattern) for pattern in self._allow):
                raise GatewayError(MODEL_UNKNOWN, {"model": printable(name)})
            return Model(name)
        if not model.on_endpoint:
            raise GatewayError(MODEL_NOT_ON_ENDPOINT, {"model": printable(name)})
        return model

    def shutdown_warnings(self, kinds: Iterable[str], today: date) -> list[str]:
        """One line for each model that ended on one of these kinds of upstream, or ends within 60 days."""
        used = sorted(set(kinds))
        lines = []
        for model in self.models:
            ends = [(kind, model.shutdown[kind]) for kind in used if kind in model.shutdown]
            told = [_ending(kind, day, today) for kind, day in ends if (day - today).days <= _WARN_DAYS]
            if told and model.on_endpoint:
                lines.append(f"{model.id} {' and '.join(told)}")
        return lines


def _ending(kind: str, day: date, today: date) -> str:
    left = (day - today).days
    if left <= 0:
        return f"was shut down on {kind} on {day}"
    return f"will be shut down on {kind} on {day} (in {left} day{'s' if left > 1 else ''})"


def _read_package() -> _Package:
    with Path(__file__).with_name("catalog.toml").open("rb") as file:
        return msgspec.convert(tomllib.load(file), _Package)


def _aliases(model: Model, prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """Its own and its id behind each prefix, each once."""
    return tuple(dict.fromkeys([*model.aliases, *(prefix + model.id for prefix in prefixes)]))


def _merge(model: Model, given: ModelSettings) -> Model:
    """A model that a file describes is one of this endpoint, even when the package has it elsewhere."""
    return replace(
        model,
        aliases=model.aliases + given.aliases,
        on_endpoint=True,
        upstream_names=dict(model.upstream_names) | dict(given.upstream_names),
        shutdown=dict(model.shutdown) | dict(given.shutdown),
        fallback=given.fallback or model.fallback,
    )
