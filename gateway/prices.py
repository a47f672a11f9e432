"""What a response cost: a dated table of prices, and the arithmetic of it in whole numbers.

Built once, from the package's `prices.toml` and the operator's `[prices]` section; then pure look-ups. The
sum is the metered token spend; what is billed beside tokens is only told (docs/prices.md).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, time
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from gateway.errors import ConfigurationError
from gateway.price_settings import ModelPrices, PriceSettings, RateSettings
from gateway.token_usage import NO_DETAILS, Usage, UsageDetails

MOST_NANOS: Final = 10**15
"""The most that a response can cost, a million dollars: what comes to more is an upstream's mistake."""

_PICOS: Final = 10**6
"""Picodollars for one token where a million of them cost a dollar."""
_LOOK_UPS = 1024  # whose outcome is kept; an upstream may say any `modelVersion`
_STANDARD = "standard"
_TRAFFIC_TIERS = {"ON_DEMAND": _STANDARD, "ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority"}
_PROVISIONED = "PROVISIONED_THROUGHPUT"


class Cost(NamedTuple):
    """What a response cost."""

    nanos: int | None
    """Billionths of a US dollar; None where the usage, or the price of the model, is unknown."""
    unpriced: tuple[str, ...]
    """What was used that has no price of its own here, by the names of docs/prices.md."""


class _Rate(NamedTuple):
    """Picodollars for a token."""

    over: int
    input: int
    audio: int
    cached: int
    cached_audio: int
    output: int
    image_output: int | None


# Of one model, by tier: since when (seconds since the epoch), the latest first, and the rates, those for long
# input first.
_Sheets = dict[str, list[tuple[float, list[_Rate]]]]


class Prices:
    """The prices of all models that have one."""

    def __init__(self, models: Mapping[str, ModelPrices]) -> None:
        """By short id; where two models answer by one name, the first one counts.

        Raises ConfigurationError, naming the key below `prices` but no file.
        """
        self._sheets = {name: _sheets(name, model.rates) for name, model in models.items()}
        self._versions = [(pattern, name) for name, model in models.items() for pattern in model.versions]
        self._find = lru_cache(_LOOK_UPS)(self._look_up)

    @classmethod
    def build(cls, settings: PriceSettings | None = None) -> Prices:
        """The package's prices with the operator's changes.

        Raises ConfigurationError, naming the key below `prices` but no file.
        """
        package = _read_package().models
        models = {}
        for name, given in (settings or PriceSettings()).models.items():
            known = package.pop(name, None)
            models[name] = ModelPrices(
                versions=given.versions + (known.versions if known else ()), rates=given.rates
            )
        return cls(models | package)

    def cost(
        self,
        model: str,
        model_version: str,
        at: float,
        usage: Usage | None,
        details: UsageDetails = NO_DETAILS,
    ) -> Cost:
        """What a response cost whose request began at this time (seconds since the epoch).

        It is priced as what answered, `model_version`; if that has no price, as what was asked for, `model`.
        """
        unpriced = _unpriced_features(details)
        if usage is None:
            return Cost(None, unpriced)
        sheets, by_version = self._find(model, model_version)
        tier = _tier(details)
        rate = _rate(sheets, tier, at, usage.input)
        if rate is None:
            rate = _rate(sheets, _STANDARD, at, usage.input)
            if rate is None:
                return Cost(None, ("model", *unpriced))
            unpriced = ("service_tier", *unpriced)
        if model_version and not by_version:
            unpriced = ("model_version", *unpriced)
        picos = _input_picos(rate, usage, details.modalities)
        picos += (usage.candidates + usage.thoughts) * rate.output
        if "candidates" in details.modalities:
            made = details.modalities["candidates"]
            if rate.image_output is not None:
                picos += min(made.get("IMAGE", 0), usage.candidates) * (rate.image_output - rate.output)
            elif made.get("IMAGE"):
                unpriced = (*unpriced, "image_output")
            if made.get("AUDIO"):
                unpriced = (*unpriced, "audio_output")
            if made.get("VIDEO"):
                unpriced = (*unpriced, "video_output")
        return Cost(min((picos + 500) // 1000, MOST_NANOS), unpriced)

    def _look_up(self, model: str, model_version: str) -> tuple[_Sheets, bool]:
        """The prices, none where there are none, and whether the version has them."""
        by_version = self._by_name(model_version)
        return by_version or self._by_name(model), bool(by_version)

    def _by_name(self, name: str) -> _Sheets:
        if name in self._sheets:
            return self._sheets[name]
        matching = (model for pattern, model in self._versions if fnmatchcase(name, pattern))
        return self._sheets.get(next(matching, ""), {})


def _tier(details: UsageDetails) -> str:
    """The tier that answered, which may be one without a name here."""
    if details.service_tier:
        return details.service_tier.lower()
    traffic = details.traffic_type
    if not traffic or traffic == _PROVISIONED:
        return _STANDARD
    return _TRAFFIC_TIERS.get(traffic, traffic)


def _unpriced_features(details: UsageDetails) -> tuple[str, ...]:
    features = details.features
    if not details.traffic_type:
        # What AI Studio retrieves is paid for when it is stored; to Vertex it is a search.
        return tuple(name for name in features if name != "retrieval") if features else ()
    return (*features, "provisioned_throughput") if details.traffic_type == _PROVISIONED else features


def _rate(sheets: _Sheets, tier: str, at: float, tokens: int) -> _Rate | None:
    """The rate of this tier for this many tokens of input at this time."""
    for since, rates in sheets.get(tier, ()):
        if at >= since:
            for rate in rates:
                if tokens > rate.over:
                    return rate
            return rates[-1]
    return None


def _input_picos(rate: _Rate, usage: Usage, modalities: dict[str, dict[str, int]]) -> int:
    prompt, tool_use = usage.prompt, usage.tool_use_prompt
    cached = min(usage.cached, prompt)
    picos = (prompt - cached + tool_use) * rate.input + cached * rate.cached
    audio = min(_audio(modalities, "prompt"), prompt)
    if audio:
        # Of the cached tokens so many are audio: at least those that can't be anything else.
        cached_audio = max(min(_audio(modalities, "cached"), cached, audio), cached - (prompt - audio))
        picos += (audio - cached_audio) * (rate.audio - rate.input)
        picos += cached_audio * (rate.cached_audio - rate.cached)
    return picos + min(_audio(modalities, "tool_use_prompt"), tool_use) * (rate.audio - rate.input)


def _audio(modalities: dict[str, dict[str, int]], kind: str) -> int:
    counts = modalities.get(kind)
    return 0 if counts is None else counts.get("AUDIO", 0)


def _sheets(name: str, settings: tuple[RateSettings, ...]) -> _Sheets:
    found: dict[str, dict[float, dict[int, _Rate]]] = {}
    for given in settings:
        since = datetime.combine(given.since, time(), UTC).timestamp() if given.since else -math.inf
        rates = found.setdefault(given.tier, {}).setdefault(since, {})
        if given.over in rates:
            raise ConfigurationError(f"prices.models.{name}.rates: two rates hold at once")
        rates[given.over] = _in_picos(given)
    if not all(0 in rates for days in found.values() for rates in days.values()):
        raise ConfigurationError(f"prices.models.{name}.rates: a rate with `over` needs one without it")
    return {
        tier: [
            (since, [rates[over] for over in sorted(rates, reverse=True)])
            for since, rates in sorted(days.items(), reverse=True)
        ]
        for tier, days in found.items()
    }


def _in_picos(given: RateSettings) -> _Rate:
    audio = given.input if given.audio is None else given.audio
    cached = given.input if given.cached is None else given.cached
    cached_audio = audio if given.cached is None else cached
    if given.cached_audio is not None:
        cached_audio = given.cached_audio
    return _Rate(
        over=given.over,
        input=round(given.input * _PICOS),
        audio=round(audio * _PICOS),
        cached=round(cached * _PICOS),
        cached_audio=round(cached_audio * _PICOS),
        output=round(given.output * _PICOS),
        image_output=None if given.image_output is None else round(given.image_output * _PICOS),
    )


def _read_package() -> PriceSettings:
    with Path(__file__).with_name("prices.toml").open("rb") as file:
        return msgspec.convert(tomllib.load(file), PriceSettings)
