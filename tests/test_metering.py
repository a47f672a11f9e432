"""The usage reader on responses made to mislead it: only their own keys count."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.exchange import Framing
from gateway.token_usage import Usage, UsageDetails
from tests.support.metering import (
    ANY_FRAMING,
    TRUE,
    USAGE,
    Found,
    as_stream,
    every_way,
    response,
)

FALSE = '"usageMetadata":{"totalTokenCount":0},"finishReason":"STOP","error":{},"modelVersion":"x"'


@ANY_FRAMING
@pytest.mark.parametrize(
    "part",
    [
        {"text": FALSE},
        {"text": "{" + FALSE + "}"},
        {"text": '"}]}}],' + FALSE + "}"},
        {"text": "\\" + '"}]}}],' + FALSE + "}"},
        {"text": "\\\\" + '"}]}}],' + FALSE + "}"},
        {"text": "ends in \\", "thought": "{" + FALSE},
        {"text": "]}}]}\n\ndata: {" + FALSE + "}\n\n"},
        {"functionCall": {"name": "f", "args": json.loads("{" + FALSE + "}")}},
        {"functionCall": {"name": "f", "args": {"a": [{"b": [json.loads("{" + FALSE + "}")]}]}}},
        {"functionCall": {"name": "f", "args": {"candidates": [json.loads("{" + FALSE + "}")]}}},
        {"functionCall": {"name": "f", "args": {"usageMetadata": {"usageMetadata": {"totalTokenCount": 0}}}}},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
    ],
    ids=lambda part: json.dumps(part)[:60],
)
@pytest.mark.parametrize("usage_first", [True, False])
def test_not_fooled_by_what_a_model_writes(framing: Framing, part: dict[str, Any], usage_first: bool) -> None:
    candidates = [{"content": {"parts": [part], "role": "model"}, "index": 0}]
    fields = {"usageMetadata": USAGE, "candidates": candidates}
    if not usage_first:
        fields = {"candidates": candidates, "usageMetadata": USAGE}
    assert every_way(framing, as_stream(framing, response(**fields))) == Found(usage=TRUE)


@ANY_FRAMING
@pytest.mark.parametrize(
    "wrapped",
    [
        {"response": {"usageMetadata": {"totalTokenCount": 1}, "error": {}}},
        {"usageMetadata": [{"totalTokenCount": 1}]},
        {"usageMetadata": "usageMetadata"},
        {"usageMetadata": None},
        {"usagemetadata": {"totalTokenCount": 1}},
        {
            "candidates": [
                {"usageMetadata": {"totalTokenCount": 1}},
                [{"finishReason": "STOP"}],
                "finishReason",
            ]
        },
        {"candidates": {"finishReason": "STOP"}},
        {"candidates": [{"content": {"finishReason": "STOP"}}, {"finishReason": None}, {"finishReason": ""}]},
        {"candidates": [{"finishReason": 0}, {"finishReason": True}, {"finishReason": {"a": 1}}]},
        {"candidates": [{"finishReason": -1}]},
        {"candidates": [{"finishReason": 1.5}]},
        {"promptFeedback": {"blockReason": 2e3}},
        {"promptFeedback": {"safetyRatings": [{"blockReason": "SAFETY"}], "blockReason": None}},
        {"promptFeedback": "blockReason", "finishReason": "STOP", "blockReason": "SAFETY"},
        {"error": None},
        {"error": "a string"},
        {"error": [{"code": 500}]},
        {"modelVersion": {"modelVersion": "x"}},
        {"modelVersion": "x" * 129},
        {"modelVersion": "x\n"},
        {"modelVersion": "gemini-\u202e2"},
        {"": {"usageMetadata": {"totalTokenCount": 1}}},
    ],
    ids=lambda wrapped: json.dumps(wrapped)[:60],
)
def test_only_the_response_objects_own_keys_count(framing: Framing, wrapped: dict[str, Any]) -> None:
    assert every_way(framing, as_stream(framing, response(**wrapped))) == Found()


@ANY_FRAMING
def test_everything_is_found(framing: Framing) -> None:
    metadata = {
        "promptTokenCount": 1,
        "cachedContentTokenCount": 2,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 4,
        "toolUsePromptTokenCount": 5,
        "totalTokenCount": 6,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 99, "totalTokenCount": 98}],
        "trafficType": "ON_DEMAND",
    }
    body = response(
        candidates=[{"finishReason": "STOP", "index": 0}],
        usageMetadata=metadata,
        modelVersion="gemini-2.5-flash",
        responseId="abc",
    )
    usage = Usage(prompt=1, cached=2, candidates=3, thoughts=4, tool_use_prompt=5, total=6)
    details = UsageDetails({"prompt": {"TEXT": 99}}, "ON_DEMAND")
    assert every_way(framing, as_stream(framing, body)) == Found(
        usage, "gemini-2.5-flash", finished=True, details=details
    )


@ANY_FRAMING
def test_keys_may_be_spelled_with_escapes(framing: Framing) -> None:
    body = (
        rb'{"\u0075sageMetadata":{"totalToken\u0043ount":9},"model\u0056ersion":"models\/\u0067 \"\\\u0041"}'
    )
    assert every_way(framing, as_stream(framing, body)) == Found(Usage(total=9), 'models/g "\\A')


@ANY_FRAMING
@pytest.mark.parametrize("reason", ["STOP", "MAX_TOKENS", 1, 12])
def test_ends_are_told_by_name_or_by_number(framing: Framing, reason: str | int) -> None:
    candidates = [{"index": 0}, {"finishReason": reason}, {"index": 2}]
    assert every_way(framing, as_stream(framing, response(candidates=candidates))).finished
    blocked = response(promptFeedback={"blockReason": reason})
    assert every_way(framing, as_stream(framing, blocked)).finished


@ANY_FRAMING
@pytest.mark.parametrize(
    ("spelled", "counted"),
    [
        ("5", 5),
        ("2147483647", 2**31 - 1),
        ("2147483648", 0),
        ("1" * 5000, 0),
        ("1e400", 0),
        ("-5", 0),
        ("5.5", 0),
        ('"5"', 0),
        ("null", 0),
        ("true", 0),
        ("[5]", 0),
        ('{"totalTokenCount":5}', 0),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_count_that_is_none_costs_no_other(framing: Framing, spelled: str, counted: int) -> None:
    body = b'{"usageMetadata":{"promptTokenCount":3,"totalTokenCount":%b,"thoughtsTokenCount":4}}'
    body = body % spelled.encode()
    usage = Usage(prompt=3, thoughts=4, total=counted)
    assert every_way(framing, as_stream(framing, body)).usage == usage
