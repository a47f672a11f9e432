"""A table of prices as a file has it: the package's `prices.toml`, and the operator's `[prices]` section."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

import msgspec

from gateway.catalog import ModelName

Tier = Literal["standard", "flex", "priority"]
Price = Annotated[float, msgspec.Meta(ge=0, le=10_000)]
"""US dollars for a million tokens, to the sixth decimal."""


class RateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Prices of a model and when they hold, as a file has them."""

    since: date | None = None
    """From this day on, 0:00 UTC."""
    tier: Tier = "standard"
    over: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Where the input has more tokens than this."""
    input: Price
    audio: Price | None = None
    """Audio that comes in; None: as other input."""
    cached: Price | None = None
    """Of the input what came from a cache; None: as other input."""
    cached_audio: Price | None = None
    """None: as `cached`, or else as audio."""
    output: Price
    """Thoughts included."""
    image_output: Price | None = None
    """None: the model makes none; if it does, they count as other output, and it is told."""


class ModelPrices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The prices of one model, as a file has them."""

    versions: tuple[str, ...] = ()
    """Patterns (`*`, `?`, `[…]`; case counts) of the names that it answers by, beside its short id."""
    rates: Annotated[tuple[RateSettings, ...], msgspec.Meta(min_length=1)]


class PriceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The operator's `[prices]` section."""

    models: dict[ModelName, ModelPrices] = {}
    """By short id: models to add, or whose rates stand instead of the package's."""
