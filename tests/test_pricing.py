"""The cost of a response, to the nanodollar: hand-worked, against exact fractions, and by its laws."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import prices
from gateway.price_settings import ModelPrices, RateSettings
from gateway.prices import MOST_NANOS, Cost, Prices
from gateway.token_usage import LARGEST_COUNT, NO_DETAILS, Usage, UsageDetails
from tests.support.metering import details_of, features_of, usage_of
from tests.support.recorded import last_usage, recorded_exchanges, response_objects

PACKAGE = Path(prices.__file__).with_name("prices.toml")
PRICES = Prices.build()
NOW = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
NEXT_YEAR = datetime(2027, 1, 1, tzinfo=UTC).timestamp()


# Worked out by hand from the price pages: tokens * dollars for a million of them = millionths of a dollar.
HAND_WORKED = {
    # 3.6 Flash, introductory: 11 * 0.75 + (2 + 291 thoughts) * 3.75 = 8.25 + 1098.75
    "llm-gemini/test_prompt#0": Cost(1_107_000, ()),
    # 3.6 Flash: 201 * 0.75 + (51 + 183) * 3.75 = 150.75 + 877.5
    "llm-gemini/test_tools_with_nested_pydantic_models#0": Cost(1_028_250, ()),
    # 2.5 Flash: 105 * 0.30 + 13 * 2.50 = 31.5 + 32.5
    "llm-gemini/test_tools#1": Cost(64_000, ()),
    # 2.5 Pro, up to 200,000: 34 * 1.25 + (469 + 787) * 10 = 42.5 + 12560
    "pydantic-ai/test_google_model_thinking_part_iter#0": Cost(12_602_500, ()),
    # 3 Pro: 29 * 2 + (10 + 202) * 12 = 58 + 2544
    "pydantic-ai/test_google_streaming_tool_call_thought_signature#0": Cost(2_602_000, ()),
    # 3 Flash, ON_DEMAND_FLEX, which is half: 5 * 0.25 + (1 + 100) * 1.50 = 1.25 + 151.5
    "pydantic-ai/test_google_vertex_service_tier_flex_stream#0": Cost(152_750, ()),
    # 3 Flash: 87 * 0.50 + 78 * 3 = 43.5 + 234, and the search that is billed by the query
    "pydantic-ai/test_native_output_with_builtin_tools_stream#0": Cost(277_500, ("google_search",)),
    # 2.5 Flash: 85 text * 0.30 + 144 audio * 1.00 + 17 * 2.50 = 25.5 + 144 + 42.5
    "pydantic-ai/test_multimodal_tool_return_matrix[direct-binary-audio-google_2_5]#1": Cost(212_000, ()),
    # 3 Flash: 235 text * 0.50 + 80 audio * 1.00 + (48 + 270) * 3 = 117.5 + 80 + 954
    "pydantic-ai/test_multimodal_tool_return_matrix[direct-url-audio-google_gemini3]#4": Cost(1_151_500, ()),
    # 2.5 Flash: (328 - 183) * 0.30 + 183 cached * 0.03 + (78 + 241) * 2.50 = 43.5 + 5.49 + 797.5
    "pydantic-ai/test_multimodal_tool_return_matrix[tool_return_content-url-image-google_2_5]#2": Cost(
        846_490, ()
    ),
    # 2.5 Flash Image: 9 * 0.30 + 1290 image * 30 = 2.7 + 38700
    "pydantic-ai/test_google_vertexai_image_generation_with_output_format#0": Cost(38_702_700, ()),
    # 2.0 Flash is no more, and not in the table
    "pydantic-ai/test_google_native_output_multiple#0": Cost(None, ("model",)),
    # a 404, which used nothing
    "pydantic-ai/test_model_name_suggestion[google]#0": Cost(None, ()),
}


@pytest.mark.parametrize(
    "exchange", [one for one in recorded_exchanges() if one.name in HAND_WORKED], ids=str
)
def test_recorded_exchanges_cost_what_was_worked_out_by_hand(exchange: object) -> None:
    recorded = {one.name: one for one in recorded_exchanges()}[str(exchange)]
    said = last_usage(recorded)
    responses = response_objects(recorded)
    version = next((one["modelVersion"] for one in responses if "modelVersion" in one), "")
    features = set().union(*(features_of(each) for one in responses for each in one.get("candidates", [])))
    usage = None if said is None else usage_of(said)
    cost = PRICES.cost(recorded.model, version, NOW, usage, details_of(said or {}, features))
    assert cost == HAND_WORKED[recorded.name]


def test_all_that_was_worked_out_was_compared() -> None:
    assert HAND_WORKED.keys() <= {one.name for one in recorded_exchanges()}


def nanos(model: str, usage: Usage, details: UsageDetails = NO_DETAILS, at: float = NOW) -> int:
    """What it costs, all of which has a price."""
    cost = PRICES.cost(model, "", at, usage, details)
    assert cost.unpriced == ()
    assert cost.nanos is not None
    return cost.nanos


def test_a_price_changes_with_the_day() -> None:
    usage = Usage(prompt=11, candidates=2, thoughts=291)
    assert nanos("gemini-3-6-flash", usage, at=NEXT_YEAR - 0.001) == 1_107_000
    # 11 * 1.50 + 293 * 7.50 = 16.5 + 2197.5
    assert nanos("gemini-3-6-flash", usage, at=NEXT_YEAR) == 2_214_000
    # flex is half of that
    assert nanos("gemini-3-6-flash", usage, UsageDetails(service_tier="flex"), NEXT_YEAR) == 1_107_000


def test_long_input_has_a_price_of_its_own() -> None:
    # short: 200,000 * 1.25 + 10 * 10
    assert nanos("gemini-2-5-pro", Usage(prompt=200_000, candidates=10)) == 250_100_000
    # long: 200,001 * 2.50 + 10 * 15
    assert nanos("gemini-2-5-pro", Usage(prompt=200_001, candidates=10)) == 500_152_500
    # what tools brought is input: (150,000 + 50,001) * 2.50
    assert nanos("gemini-2-5-pro", Usage(prompt=150_000, tool_use_prompt=50_001)) == 500_002_500
    # cached * 0.25, priority: (200,001 - 100,000) * 4.50 + 100,000 * 0.45
    long = Usage(prompt=200_001, cached=100_000)
    assert nanos("gemini-2-5-pro", long, UsageDetails(service_tier="priority")) == 450_004_500 + 45_000_000


def test_audio_by_modality() -> None:
    usage = Usage(prompt=100, cached=50, tool_use_prompt=30)
    modalities = {
        "prompt": {"TEXT": 40, "AUDIO": 60},
        "cached": {"TEXT": 30, "AUDIO": 20},
        "tool_use_prompt": {"AUDIO": 10},
    }
    # text: (40 - 30) * 0.30 + 30 cached * 0.03 + 20 of tools * 0.30 = 3 + 0.9 + 6
    # audio: (60 - 20) * 1.00 + 20 cached * 0.10 + 10 of tools * 1.00 = 40 + 2 + 10
    assert nanos("gemini-2-5-flash", usage, UsageDetails(modalities)) == 61_900
    # Where the cache is not told apart it holds text, as far as there is any: 40 of it.
    # text: 40 cached * 0.03 + 20 of tools * 0.30 = 1.2 + 6
    # audio: (60 - 10) * 1.00 + 10 cached * 0.10 + 10 of tools * 1.00 = 50 + 1 + 10
    del modalities["cached"]
    assert nanos("gemini-2-5-flash", usage, UsageDetails(modalities)) == 68_200
    # 3.6 Flash has one price for all
    assert nanos("gemini-3-6-flash", usage, UsageDetails(modalities)) == 80 * 750 + 50 * 75


@pytest.mark.parametrize(
    ("usage", "modalities", "expected"),
    [
        (Usage(prompt=10), {"prompt": {"AUDIO": 11}}, 10 * 1_000),
        (Usage(prompt=10, cached=4), {"prompt": {"AUDIO": 10}, "cached": {"AUDIO": 9}}, 6 * 1_000 + 4 * 100),
        (
            Usage(prompt=10, cached=9),
            {"prompt": {"AUDIO": 4}, "cached": {"AUDIO": 9}},
            300 + 5 * 30 + 4 * 100,
        ),
        (Usage(prompt=10, cached=11), {}, 10 * 30),
        (Usage(tool_use_prompt=10), {"tool_use_prompt": {"AUDIO": 11}}, 10 * 1_000),
    ],
)
def test_modalities_never_exceed_the_counts(
    usage: Usage, modalities: dict[str, dict[str, int]], expected: int
) -> None:
    assert nanos("gemini-2-5-flash", usage, UsageDetails(modalities)) == expected


def test_images_never_exceed_the_candidates() -> None:
    details = UsageDetails({"candidates": {"IMAGE": 11}})
    assert nanos("gemini-2-5-flash-image", Usage(candidates=10, thoughts=1), details) == 10 * 30_000 + 2_500


@pytest.mark.parametrize(
    ("service_tier", "traffic_type", "expected"),
    [
        ("", "", 1_000),
        ("standard", "", 1_000),
        ("FLEX", "", 500),
        ("priority", "ON_DEMAND", 1_800),
        ("", "ON_DEMAND", 1_000),
        ("", "ON_DEMAND_FLEX", 500),
        ("", "ON_DEMAND_PRIORITY", 1_800),
    ],
)
def test_the_tier_that_answered_has_its_price(service_tier: str, traffic_type: str, expected: int) -> None:
    details = UsageDetails({"prompt": {"AUDIO": 1}}, traffic_type, service_tier)
    assert nanos("gemini-2-5-flash", Usage(prompt=1), details) == expected


@pytest.mark.parametrize(
    ("model", "version", "details", "unpriced"),
    [
        ("gemini-9", "", UsageDetails(), ("model",)),
        ("gemini-9", "gemini-9-001", UsageDetails(features=("google_maps",)), ("model", "google_maps")),
        ("gemini-9", "gemini-9", UsageDetails(service_tier="flex"), ("model",)),
    ],
)
def test_what_has_no_price_costs_nobody_knows_what(
    model: str, version: str, details: UsageDetails, unpriced: tuple[str, ...]
) -> None:
    cost = PRICES.cost(model, version, NOW, Usage(prompt=5), details)
    assert cost == Cost(None, unpriced)


@pytest.mark.parametrize(
    ("version", "details", "unpriced"),
    [
        ("gemini-2.5-flash-ultra", UsageDetails(), ("model_version",)),
        ("", UsageDetails(service_tier="batch"), ("service_tier",)),
        ("", UsageDetails(traffic_type="ON_DEMAND_NEW"), ("service_tier",)),
        ("", UsageDetails(traffic_type="PROVISIONED_THROUGHPUT"), ("provisioned_throughput",)),
        ("", UsageDetails(features=("google_maps", "google_search")), ("google_maps", "google_search")),
        ("", UsageDetails(features=("retrieval",)), ()),
        ("", UsageDetails(features=("retrieval",), traffic_type="ON_DEMAND"), ("retrieval",)),
        ("", UsageDetails({"candidates": {"IMAGE": 4}}), ("image_output",)),
        ("", UsageDetails({"candidates": {"AUDIO": 4, "VIDEO": 1}}), ("audio_output", "video_output")),
        ("", UsageDetails({"candidates": {"TEXT": 10, "AUDIO": 0, "IMAGE": 0}}), ()),
    ],
)
def test_what_is_not_in_the_sum_is_told(
    version: str, details: UsageDetails, unpriced: tuple[str, ...]
) -> None:
    cost = PRICES.cost("gemini-2-5-flash", version, NOW, Usage(prompt=10, candidates=10), details)
    assert cost == Cost(28_000, unpriced)


def test_unknown_usage_costs_nobody_knows_what() -> None:
    assert PRICES.cost("gemini-2-5-flash", "gemini-2.5-flash", NOW, None) == Cost(None, ())
    used = UsageDetails(features=("google_search",))
    assert PRICES.cost("gemini-2-5-flash", "gemini-2.5-flash", NOW, None, used) == Cost(
        None, ("google_search",)
    )


def test_halves_are_rounded_up_and_only_at_the_end() -> None:
    rate = RateSettings(input=0.0005, cached=0.000_2, output=0.0003)
    table = Prices({"m": ModelPrices(rates=(rate,))})
    costs = [table.cost("m", "", NOW, Usage(prompt=tokens)).nanos for tokens in range(6)]
    assert costs == [0, 1, 1, 2, 2, 3]
    # 500 + 200 + 300 picodollars are one nanodollar, of which each alone is a half or less
    assert table.cost("m", "", NOW, Usage(prompt=2, cached=1, candidates=1)).nanos == 1
    assert table.cost("m", "", NOW, Usage(prompt=1, cached=1, candidates=1)).nanos == 1
    assert table.cost("m", "", NOW, Usage(prompt=1, cached=1, thoughts=0)).nanos == 0


def test_the_sum_stays_within_what_a_ledger_holds() -> None:
    rate = RateSettings(input=10_000, output=10_000)
    table = Prices({"m": ModelPrices(rates=(rate,))})
    most = Usage(*[LARGEST_COUNT] * 6)
    assert table.cost("m", "", NOW, most).nanos == MOST_NANOS


# Laws, for all models of the package

counts = st.integers(0, 1000) | st.integers(0, 300_000) | st.integers(0, LARGEST_COUNT)
usages = st.builds(Usage, counts, counts, counts, counts, counts, counts)
modalities = st.dictionaries(
    st.sampled_from(["prompt", "cached", "candidates", "tool_use_prompt"]),
    st.dictionaries(st.sampled_from(["TEXT", "AUDIO", "IMAGE"]), counts),
)
details = st.builds(
    UsageDetails, modalities, st.just(""), st.sampled_from(["", "standard", "flex", "priority", "other"])
)
models = st.sampled_from(sorted(tomllib.loads(PACKAGE.read_text())["models"]))
times = st.sampled_from([0.0, NOW, NEXT_YEAR, NEXT_YEAR * 2])


def cost(model: str, at: float, usage: Usage, more: UsageDetails) -> int:
    found = PRICES.cost(model, "", at, usage, more).nanos
    assert found is not None
    return found


@given(models, times, usages, details, counts)
def test_more_tokens_never_cost_less(
    model: str, at: float, usage: Usage, more: UsageDetails, added: int
) -> None:
    for field in ("prompt", "tool_use_prompt", "candidates", "thoughts"):
        most = min(getattr(usage, field) + added, LARGEST_COUNT)
        grown = msgspec.structs.replace(usage, **{field: most})
        assert 0 <= cost(model, at, usage, more) <= cost(model, at, grown, more) <= MOST_NANOS


@given(models, times, usages, details)
def test_what_was_cached_never_costs_more(model: str, at: float, usage: Usage, more: UsageDetails) -> None:
    fresh = msgspec.structs.replace(usage, cached=0)
    assert cost(model, at, usage, more) <= cost(model, at, fresh, more)


@given(models, times, usages, details)
def test_the_whole_costs_what_its_parts_cost(model: str, at: float, usage: Usage, more: UsageDetails) -> None:
    """But for rounding, and as long as the input is short: its length sets the price of the output, too."""
    usage = msgspec.structs.replace(
        usage,
        prompt=usage.prompt % 100_000,
        tool_use_prompt=usage.tool_use_prompt % 100_000,
        candidates=usage.candidates % 10**9,
    )
    prompt = Usage(prompt=usage.prompt, cached=usage.cached)
    parts = [prompt, Usage(tool_use_prompt=usage.tool_use_prompt), Usage(candidates=usage.candidates)]
    parts.append(Usage(thoughts=usage.thoughts))
    total = sum(cost(model, at, part, more) for part in parts)
    assert abs(total - cost(model, at, usage, more)) <= 2


@given(usages, st.tuples(*[st.integers(0, 200_000)] * 3))
def test_the_cost_is_the_exact_one_rounded(usage: Usage, millionths: tuple[int, int, int]) -> None:
    """Prices of up to six decimals, which floats don't hold exactly."""
    given_prices = [float(f"{number}e-6") for number in millionths]
    rate = RateSettings(input=given_prices[0], cached=given_prices[1], output=given_prices[2])
    table = Prices({"m": ModelPrices(rates=(rate,))})
    cached = min(usage.cached, usage.prompt)
    dollars = sum(
        Fraction(tokens * price, 10**12)
        for tokens, price in zip((usage.input - cached, cached, usage.output), millionths, strict=True)
    )
    exact = dollars * 10**9
    found = table.cost("m", "", NOW, usage).nanos
    assert found == (exact + Fraction(1, 2)).__floor__()
