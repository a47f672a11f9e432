"""What a response says of its usage beside the counts: modalities, traffic type, tier, features used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.exchange import Framing
from gateway.metering import UsageReader
from gateway.metering.findings import REPORT_BYTES
from gateway.metering.response import KEPT_MODALITIES, ModalityCount, UsageMetadata, encode_metadata
from gateway.metering.spelled import MEMBER_NAME
from gateway.token_usage import Usage, UsageDetails
from tests.support.metering import (
    ANY_FRAMING,
    TRUE,
    USAGE,
    as_stream,
    by_byte,
    cut_at,
    every_way,
    read,
    response,
)

MODALITIES = {
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4}, {"modality": "AUDIO", "tokenCount": 3}],
    "cacheTokensDetails": [{"modality": "IMAGE", "tokenCount": 2}],
    "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 1}],
    "toolUsePromptTokensDetails": [{"modality": "DOCUMENT", "tokenCount": 5}],
}
STREAMED = pytest.mark.parametrize("framing", [Framing.SSE, Framing.JSON_ARRAY])


@ANY_FRAMING
def test_all_details_are_found(framing: Framing) -> None:
    metadata = USAGE | MODALITIES | {"trafficType": "ON_DEMAND_FLEX", "serviceTier": "flex"}
    found = every_way(framing, as_stream(framing, response(usageMetadata=metadata)))
    assert found.usage == TRUE
    assert found.details == UsageDetails(
        {
            "prompt": {"TEXT": 4, "AUDIO": 3},
            "cached": {"IMAGE": 2},
            "candidates": {"TEXT": 1},
            "tool_use_prompt": {"DOCUMENT": 5},
        },
        "ON_DEMAND_FLEX",
        "flex",
    )


@STREAMED
def test_details_are_those_of_the_last_report_with_a_count_alone(framing: Framing) -> None:
    first = response(usageMetadata=USAGE | MODALITIES | {"serviceTier": "flex"})
    second = response(usageMetadata=USAGE | {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}]})
    third = response(usageMetadata=MODALITIES | {"trafficType": "ON_DEMAND"})
    body = as_stream(framing, first, second, third)
    assert every_way(framing, body).details == UsageDetails({"prompt": {"TEXT": 7}})


@ANY_FRAMING
def test_members_of_enumerations_may_be_numbers(framing: Framing) -> None:
    details = [{"modality": number, "tokenCount": 10 + number} for number in range(7)]
    metadata = USAGE | {"promptTokensDetails": details, "trafficType": 3, "serviceTier": 1}
    found = every_way(framing, as_stream(framing, response(usageMetadata=metadata)))
    modalities = {"TEXT": 11, "IMAGE": 12, "VIDEO": 13, "AUDIO": 14, "DOCUMENT": 15}
    assert found.details == UsageDetails({"prompt": modalities}, "ON_DEMAND_PRIORITY")


@ANY_FRAMING
@pytest.mark.parametrize(
    ("details", "counted"),
    [
        ([], {}),
        (None, {}),
        ("TEXT", {}),
        ({"modality": "TEXT", "tokenCount": 4}, {}),
        ([None, 4, "TEXT", [], {"modality": "TEXT", "tokenCount": 4}], {"TEXT": 4}),
        ([{"tokenCount": 4}, {"modality": "TEXT"}], {"TEXT": 0}),
        (
            [{"modality": "TEXT", "tokenCount": "4"}, {"modality": "AUDIO", "tokenCount": 3}],
            {"TEXT": 0, "AUDIO": 3},
        ),
        ([{"modality": "TEXT", "tokenCount": 2**31}], {"TEXT": 0}),
        ([{"modality": "TEXT", "tokenCount": -4}], {"TEXT": 0}),
        ([{"modality": {}, "tokenCount": 4}, {"modality": None, "tokenCount": 4}], {}),
        ([{"modality": "", "tokenCount": 4}, {"modality": "A B", "tokenCount": 4}], {}),
        ([{"modality": "A" * 32, "tokenCount": 4}, {"modality": "A" * 33, "tokenCount": 4}], {"A" * 32: 4}),
        ([{"modality": "T\u00c9XT", "tokenCount": 4}, {"modality": "TEXT\n", "tokenCount": 4}], {}),
        ([{"modality": "TEXT", "tokenCount": 4}, {"modality": "TEXT", "tokenCount": 5}], {"TEXT": 9}),
        ([{"modality": "TEXT", "tokenCount": 4, "more": [{"tokenCount": 1}]}], {"TEXT": 4}),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
def test_details_that_are_none_cost_nothing_else(
    framing: Framing, details: Any, counted: dict[str, int]
) -> None:
    metadata = USAGE | {
        "promptTokensDetails": details,
        "candidatesTokensDetails": [{"modality": 1, "tokenCount": 2}],
    }
    found = every_way(framing, as_stream(framing, response(usageMetadata=metadata)))
    assert found.usage == TRUE
    kinds = {"prompt": counted, "candidates": {"TEXT": 2}}
    assert found.details.modalities == {kind: counts for kind, counts in kinds.items() if counts}


@ANY_FRAMING
def test_names_of_the_tier_that_are_none(framing: Framing) -> None:
    metadata = USAGE | {"trafficType": {"a": 1}, "serviceTier": "x\x1b[31m"}
    found = every_way(framing, as_stream(framing, response(usageMetadata=metadata)))
    assert (found.usage, found.details) == (TRUE, UsageDetails())


def used(framing: Framing, *groundings: Any, between: Any = None) -> tuple[str, ...]:
    """The features that are found where the candidates have these `groundingMetadata`."""
    candidates = [{"index": 0, "groundingMetadata": one} for one in groundings]
    fields = {"candidates": candidates} if between is None else {"candidates": [*candidates, between]}
    return every_way(framing, as_stream(framing, response(**fields))).details.features


@ANY_FRAMING
@pytest.mark.parametrize(
    ("grounding", "features"),
    [
        ({"webSearchQueries": ["a"]}, ("google_search",)),
        ({"webSearchQueries": ["", "a"], "searchEntryPoint": {"renderedContent": "]}"}}, ("google_search",)),
        ({"imageSearchQueries": ["a"]}, ("google_search",)),
        ({"groundingChunks": [{"maps": {"placeId": "a"}}]}, ("google_maps",)),
        ({"groundingChunks": [{"web": {"uri": "a"}}, {"maps": {}}, {"web": {}}]}, ("google_maps",)),
        ({"groundingChunks": [{"retrievedContext": {"uri": "a"}}]}, ("retrieval",)),
        (
            {"webSearchQueries": ["a"], "groundingChunks": [{"retrievedContext": {}}, {"maps": {}}]},
            ("google_maps", "google_search", "retrieval"),
        ),
        # what a page read by its address leaves there, and what is empty
        ({"groundingChunks": [{"web": {"uri": "a"}}]}, ()),
        ({}, ()),
        (None, ()),
        ("webSearchQueries", ()),
        ([{"webSearchQueries": ["a"]}], ()),
        ({"webSearchQueries": []}, ()),
        ({"webSearchQueries": None, "groundingChunks": None}, ()),
        ({"webSearchQueries": {"a": 1}, "groundingChunks": {"maps": {}}}, ()),
        ({"groundingChunks": [{"maps": None}, {"maps": "a"}, [{"maps": {}}], "maps"]}, ()),
        ({"groundingSupports": [{"webSearchQueries": ["a"], "maps": {}}]}, ()),
        ({"groundingChunks": [{"web": {"maps": {}, "title": '"maps":{}'}}]}, ()),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_features_used(framing: Framing, grounding: Any, features: tuple[str, ...]) -> None:
    assert used(framing, grounding) == features
    assert used(framing, grounding, between={"finishReason": "STOP"}) == features
    assert used(framing, grounding, None, {"webSearchQueries": []}, {"groundingChunks": [{}]}) == features


@STREAMED
def test_features_of_a_stream_are_those_of_all_its_responses(framing: Framing) -> None:
    maps = response(candidates=[{"groundingMetadata": {"groundingChunks": [{"maps": {}}]}}])
    search = response(candidates=[{"groundingMetadata": {"webSearchQueries": ["a"]}}], usageMetadata=USAGE)
    nothing = response(candidates=[{"groundingMetadata": {}}])
    found = every_way(framing, as_stream(framing, maps, search, nothing))
    assert found.details.features == ("google_maps", "google_search")


GROUNDED = b'[{"groundingMetadata":{"webSearchQueries":["a"]}},{}]'


@ANY_FRAMING
@pytest.mark.parametrize("last", [b"null", b"[]", b"3", b'"a"'])
def test_of_candidates_given_twice_the_last_count(framing: Framing, last: bytes) -> None:
    for document in (b'{"candidates":%b,"candidates":%b}', b'{"error":3,"candidates":%b,"candidates":%b}'):
        assert every_way(framing, as_stream(framing, document % (GROUNDED, last))).details.features == ()
        found = every_way(framing, as_stream(framing, document % (last, GROUNDED)))
        assert found.details.features == ("google_search",)


def test_what_was_used_is_known_without_a_report() -> None:
    body = b'{"candidates":[{"groundingMetadata":{"webSearchQueries":["a"],"groundingChunks":[{"maps":{'
    found = every_way(Framing.UNARY, body)
    assert (found.usage, found.details) == (None, UsageDetails(features=("google_search",)))


@ANY_FRAMING
def test_of_a_few_too_many_details_the_first_are_kept(framing: Framing) -> None:
    details = [{"modality": f"M{number}", "tokenCount": number} for number in range(KEPT_MODALITIES + 2)]
    metadata = USAGE | {"cacheTokensDetails": details}
    found = every_way(framing, as_stream(framing, response(usageMetadata=metadata)))
    assert found.details.modalities == {"cached": {f"M{number}": number for number in range(KEPT_MODALITIES)}}


@ANY_FRAMING
@pytest.mark.parametrize("unit", [b'{"modality":"TEXT","tokenCount":1},', b"{},", b'{"a":[{"b":"}]"}]},'])
def test_of_very_many_details_the_first_are_kept(framing: Framing, unit: bytes) -> None:
    entries = b'{"modality":"AUDIO","tokenCount":3},' + unit * 100_000
    document = (
        b'{"usageMetadata":{"promptTokenCount":7,"promptTokensDetails":['
        + entries
        + b'{"modality":"IMAGE"}],"totalTokenCount":9,"serviceTier":"flex"},"modelVersion":"m"}'
    )
    body = as_stream(framing, document)
    counted = {"AUDIO": 3} | ({"TEXT": KEPT_MODALITIES - 1} if b"TEXT" in unit else {})
    for pieces in ([body], cut_at(body, range(0, len(body), 9973))):
        reader = UsageReader(framing, "")
        for piece in pieces:
            reader.feed(piece)
        reader.end()
        assert reader.usage == Usage(prompt=7, total=9)
        assert reader.details == UsageDetails({"prompt": counted}, service_tier="flex")
        assert reader.model_version == "m"


@ANY_FRAMING
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_a_report_about_as_long_as_is_kept_whole(framing: Framing, over: int) -> None:
    report = json.dumps(USAGE | MODALITIES | {"more": ""}).encode()
    report = report.replace(b'"more": ""', b'"more": "%b"' % (b"x" * (REPORT_BYTES - len(report) + over)))
    assert len(report) == REPORT_BYTES + over
    body = as_stream(framing, b'{"usageMetadata":%b}' % report)
    found = read(framing, [body])
    assert found == read(framing, by_byte(body))
    assert found.usage == TRUE
    assert set(found.details.modalities) == {"prompt", "cached", "candidates", "tool_use_prompt"}


def test_what_the_scanner_makes_of_a_report_is_short_enough() -> None:
    name = "A" * 32
    assert MEMBER_NAME.fullmatch(name)
    details = [ModalityCount(name, 2**31 - 1)] * KEPT_MODALITIES
    longest = UsageMetadata()
    for field in UsageMetadata.__struct_fields__:
        other = name if field in ("traffic_type", "service_tier") else 2**31 - 1
        setattr(longest, field, details if field.endswith("details") else other)
    assert REPORT_BYTES // 2 < len(encode_metadata(longest)) <= REPORT_BYTES
