"""The table of prices: against one that others keep, by the models' names, and as an operator changes it."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import genai_prices
import msgspec
import pytest

from gateway import prices
from gateway.catalog import Catalog
from gateway.errors import ConfigurationError
from gateway.price_settings import ModelPrices, PriceSettings, RateSettings, Tier
from gateway.prices import Cost, Prices
from gateway.token_usage import Usage, UsageDetails

PRICES = Prices.build()
PACKAGE = msgspec.convert(
    tomllib.loads(Path(prices.__file__).with_name("prices.toml").read_text()), PriceSettings
).models
NOW = datetime(2026, 11, 22, tzinfo=UTC)
NEXT_YEAR = datetime(2027, 1, 2, tzinfo=UTC)
USAGES = [
    (Usage(prompt=1_000), {}),
    (Usage(prompt=200_000, cached=150_000, candidates=7, thoughts=500), {}),
    (Usage(prompt=200_001, cached=150_000, candidates=7, thoughts=500), {}),
    (Usage(prompt=150_000, tool_use_prompt=50_001, candidates=9), {}),
    (Usage(prompt=900, candidates=3), {"prompt": {"TEXT": 200, "AUDIO": 700}}),
    (
        Usage(prompt=900, cached=500, candidates=3),
        {"prompt": {"TEXT": 200, "AUDIO": 700}, "cached": {"TEXT": 100, "AUDIO": 400}},
    ),
    (Usage(prompt=9, candidates=1_290, thoughts=40), {"candidates": {"IMAGE": 1_290}}),
]


def genai_nanos(version: str, at: datetime, usage: Usage, modalities: dict[str, dict[str, int]]) -> Decimal:
    """What `genai-prices`, which is kept from Google's pages by others, says that it costs."""

    def count(kind: str, modality: str) -> int:
        return modalities.get(kind, {}).get(modality, 0)

    found = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input,
            cache_read_tokens=usage.cached,
            input_audio_tokens=count("prompt", "AUDIO"),
            cache_audio_read_tokens=count("cached", "AUDIO"),
            output_tokens=usage.output,
            output_image_tokens=count("candidates", "IMAGE"),
        ),
        model_ref=version,
        provider_id="google",
        genai_request_timestamp=at,
    )
    return found.total_price * 10**9


@pytest.mark.parametrize("at", [NOW, NEXT_YEAR], ids=["now", "next year"])
@pytest.mark.parametrize("model", sorted(PACKAGE))
def test_the_standard_prices_are_those_of_genai_prices(model: str, at: datetime) -> None:
    versions = PACKAGE[model].versions
    version = next((name.rstrip("*") for name in versions if name.endswith("preview*")), versions[0])
    compared = 0
    for usage, modalities in USAGES:
        cost = PRICES.cost(model, version, at.timestamp(), usage, UsageDetails(modalities))
        if cost.unpriced or (usage.cached and PACKAGE[model].rates[0].cached is None):
            continue
        assert cost.nanos is not None
        assert abs(genai_nanos(version, at, usage, modalities) - cost.nanos) <= Decimal("0.5"), usage
        compared += 1
    assert compared >= 4


@pytest.mark.parametrize("model", sorted(PACKAGE))
def test_the_prices_are_in_order(model: str) -> None:
    """Cached is never dearer than new, flex than standard, standard than priority; long input not cheaper."""
    for rate in PACKAGE[model].rates:
        assert rate.cached is None or rate.cached < rate.input
        assert (rate.audio or rate.input) >= rate.input
        assert rate.cached_audio is None or rate.audio is None or rate.cached_audio < rate.audio
    by_condition = {(rate.since, rate.over, rate.tier): rate for rate in PACKAGE[model].rates}
    for (since, over, tier), rate in by_condition.items():
        cheaper: Tier = "standard" if tier == "priority" else "flex"
        for other in (by_condition.get((since, over, cheaper)), by_condition[since, 0, tier]):
            if other is not None:
                assert other.input <= rate.input
                assert other.output <= rate.output
                assert (other.cached or 0) <= (rate.cached or 0)
                assert (other.audio or 0) <= (rate.audio or 0)


def test_every_model_of_the_catalog_has_a_price_by_all_its_names() -> None:
    for model in Catalog.build().models:
        if not model.on_endpoint:
            continue
        costs = {PRICES.cost(model.id, "", NOW.timestamp(), Usage(prompt=1_000_000, candidates=1))}
        for version in model.upstream_names.values():
            costs.add(PRICES.cost("", version, NOW.timestamp(), Usage(prompt=1_000_000, candidates=1)))
        assert len(costs) == 1
        assert costs.pop().unpriced == ()


@pytest.mark.parametrize(
    ("version", "model"),
    [
        ("gemini-2.5-flash", "gemini-2-5-flash"),
        ("gemini-2.5-flash-001", "gemini-2-5-flash"),
        ("gemini-2.5-flash-preview-09-2025", "gemini-2-5-flash"),
        ("gemini-2.5-flash-lite", "gemini-2-5-flash-lite"),
        ("gemini-2.5-flash-lite-preview-09-2025", "gemini-2-5-flash-lite"),
        ("gemini-2.5-flash-image", "gemini-2-5-flash-image"),
        ("gemini-2.5-pro-preview-06-05", "gemini-2-5-pro"),
        ("gemini-3-pro-preview-11-2025", "gemini-3-pro"),
        ("gemini-3.1-pro-preview-customtools", "gemini-3-1-pro"),
        ("gemini-3.1-flash-lite-preview", "gemini-3-1-flash-lite"),
        ("gemini-3-pro-image-preview", "gemini-3-pro-image"),
        # none of which costs what the model does whose name it begins with
        ("gemini-2.5-flash-preview-tts", ""),
        ("gemini-2.5-flash-native-audio-preview-09-2025", ""),
        ("gemini-2.5-pro-preview-tts", ""),
        ("gemini-2.5-flash-preview-05-20", ""),
        ("gemini-3.1-flash-live-preview", ""),
        ("gemini-3.8-flash-tts", ""),
        ("GEMINI-2.5-FLASH", ""),
        ("", ""),
    ],
)
def test_which_model_a_version_is(version: str, model: str) -> None:
    usage = Usage(prompt=1_000_000, cached=1, candidates=1_000_000)
    found = PRICES.cost("", version, NOW.timestamp(), usage)
    assert found == (PRICES.cost(model, "", NOW.timestamp(), usage) if model else Cost(None, ("model",)))


def test_what_answered_counts_before_what_was_asked_for() -> None:
    cost = PRICES.cost("gemini-2-5-pro", "gemini-2.5-flash", NOW.timestamp(), Usage(prompt=1))
    assert cost == Cost(300, ())


def test_very_many_versions_are_not_kept() -> None:
    for number in range(3 * prices._LOOK_UPS):
        PRICES.cost("gemini-2-5-pro", f"version-{number}", NOW.timestamp(), Usage(prompt=1))
    assert PRICES._find.cache_info().currsize == prices._LOOK_UPS


# The operator's

ONE_DOLLAR = RateSettings(input=1, output=1)


def built(**models: ModelPrices) -> Prices:
    return Prices.build(
        PriceSettings(models={name.replace("_", "-"): given for name, given in models.items()})
    )


def test_an_operator_replaces_the_prices_of_a_model_by_all_its_names() -> None:
    table = built(gemini_2_5_flash=ModelPrices(versions=("house-*",), rates=(ONE_DOLLAR,)))
    for version in ("", "gemini-2.5-flash", "gemini-2.5-flash-001", "house-1"):
        usage = Usage(prompt=1, cached=1, candidates=1)
        assert table.cost("gemini-2-5-flash", version, 0, usage) == Cost(2_000, ())
    flex = UsageDetails(service_tier="flex")
    assert table.cost("gemini-2-5-flash", "", 0, Usage(prompt=1), flex) == Cost(1_000, ("service_tier",))
    assert table.cost("gemini-2-5-pro", "", 0, Usage(prompt=1)) == Cost(1_250, ())


def test_an_operator_adds_a_model_and_takes_a_version_from_another() -> None:
    table = built(gemini_9=ModelPrices(versions=("gemini-2.5-flash-001",), rates=(ONE_DOLLAR,)))
    assert table.cost("gemini-9", "", 0, Usage(prompt=1)) == Cost(1_000, ())
    assert table.cost("", "gemini-2.5-flash-001", 0, Usage(prompt=1)) == Cost(1_000, ())
    assert table.cost("", "gemini-2.5-flash", 0, Usage(prompt=1)) == Cost(300, ())


def test_rates_hold_from_their_day_on() -> None:
    later = RateSettings(since=date(2026, 7, 1), input=3, output=3)
    first = RateSettings(since=date(2026, 1, 1), input=2, output=2)
    table = built(m=ModelPrices(rates=(later, first)))
    days = [datetime(2025, 12, 31), datetime(2026, 1, 1), datetime(2026, 6, 30), datetime(2026, 7, 1)]
    costs = [table.cost("m", "", day.replace(tzinfo=UTC).timestamp(), Usage(prompt=1)) for day in days]
    assert costs == [Cost(None, ("model",)), Cost(2_000, ()), Cost(2_000, ()), Cost(3_000, ())]


def test_rates_hold_over_their_number_of_tokens() -> None:
    rates = tuple(RateSettings(over=over, input=over + 1, output=0) for over in (10, 0, 100))
    table = built(m=ModelPrices(rates=rates))
    costs = [table.cost("m", "", 0, Usage(prompt=tokens)).nanos for tokens in (0, 1, 10, 11, 100, 101)]
    assert costs == [0, 1_000, 10_000, 121_000, 1_100_000, 101 * 101_000]


def test_what_is_not_given_costs_what_is_like_it() -> None:
    modalities = {"prompt": {"AUDIO": 2}, "cached": {"AUDIO": 1}, "candidates": {"IMAGE": 1}}
    usage = Usage(prompt=4, cached=2, candidates=1)  # one each of text, audio, cached text, cached audio

    def nanos(**given: float) -> int | None:
        table = built(
            m=ModelPrices(rates=(msgspec.convert({"input": 1, "output": 0} | given, RateSettings),))
        )
        return table.cost("m", "", 0, usage, UsageDetails(modalities)).nanos

    assert nanos() == 4_000
    assert nanos(audio=5) == 2_000 + 10_000
    assert nanos(cached=0.5) == 3_000
    assert nanos(audio=5, cached=0.5) == 1_000 + 5_000 + 1_000
    assert nanos(audio=5, cached=0.5, cached_audio=2) == 1_000 + 5_000 + 500 + 2_000
    assert nanos(image_output=7) == 11_000


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ((ONE_DOLLAR, RateSettings(input=2, output=2)), "two rates hold at once"),
        ((RateSettings(over=5, input=1, output=1),), "a rate with `over` needs one without it"),
        (
            (ONE_DOLLAR, RateSettings(tier="flex", over=5, input=1, output=1)),
            "a rate with `over` needs one without it",
        ),
        (
            (ONE_DOLLAR, RateSettings(since=date(2026, 1, 1), over=5, input=1, output=1)),
            "a rate with `over` needs one without it",
        ),
    ],
)
def test_rates_that_do_not_fit_together(rates: tuple[RateSettings, ...], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^prices.models.m.rates: {message}$"):
        built(m=ModelPrices(rates=rates))
