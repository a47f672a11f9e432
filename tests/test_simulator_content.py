"""What the simulated upstream says: text, thoughts, function calls, JSON, limits and usage."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulator.content import compose
from gateway.simulator.errors import GoogleError
from gateway.simulator.request import parse
from gateway.simulator.response import Responses
from gateway.simulator.usage import PromptUsage

PIXEL = {"inline_data": {"mime_type": "image/png", "data": "aGVsbG8="}}
WEATHER = {
    "name": "get_weather",
    "parameters": {
        "type": "OBJECT",
        "properties": {
            "city": {"type": "STRING"},
            "unit": {"type": "STRING", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city"],
    },
}
FINISH = {
    "name": "finish",
    "parameters_json_schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
}


def responses(body: dict[str, Any]) -> Responses:
    request = parse(json.dumps(body).encode())
    usage = PromptUsage(request, vertex=False)
    return Responses(compose(request, "gemini-x"), usage, "gemini-x", enum_numbers=False)


def asked(*contents: Any, config: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A request body. A text stands for a turn of the user's."""
    turns = [{"role": "user", "parts": [{"text": c}]} if isinstance(c, str) else c for c in contents]
    return {"contents": turns, "generationConfig": config or {}, **fields}


def parts(body: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = responses(body).whole()["candidates"][0]["content"].get("parts", [])
    return found


def text(body: dict[str, Any]) -> str:
    return "".join(part["text"] for part in parts(body))


def calls(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [part["functionCall"] for part in parts(body)]


def test_the_text_depends_on_the_prompt_alone_and_says_that_it_is_simulated() -> None:
    assert text(asked("What is Neon?")) == text(asked("What is Neon?"))
    assert text(asked("What is Neon?")) != text(asked("What is Argon?"))
    assert "simulated" in text(asked("What is Neon?"))
    assert "What is Neon?" in text(asked("What is Neon?"))
    assert len(text(asked("long " * 10_000))) < 1000


@given(st.text(), st.booleans(), st.integers(1, 200), st.integers(1, 3))
def test_a_stream_says_what_the_whole_answer_says_and_counts_the_same(
    prompt: str, thoughts: bool, limit: int, count: int
) -> None:
    config = {
        "maxOutputTokens": limit,
        "candidateCount": count,
        "thinkingConfig": {"includeThoughts": thoughts},
    }
    told = responses(asked(prompt, config=config))
    whole, chunks = told.whole(), told.chunks()
    assert whole["usageMetadata"] == chunks[-1]["usageMetadata"]
    totals = [chunk["usageMetadata"]["totalTokenCount"] for chunk in chunks]
    assert totals == sorted(totals)
    for candidate in whole["candidates"]:
        for thought in (False, True):
            streamed = [
                part["text"]
                for chunk in chunks
                for each in chunk["candidates"]
                if each["index"] == candidate["index"]
                for part in each["content"].get("parts", [])
                if part.get("thought", False) == thought
            ]
            said = [p["text"] for p in candidate["content"]["parts"] if p.get("thought", False) == thought]
            assert "".join(streamed) == "".join(said)
        ends = [
            each["finishReason"]
            for chunk in chunks
            for each in chunk["candidates"]
            if each["index"] == candidate["index"] and "finishReason" in each
        ]
        assert ends == [candidate["finishReason"]]
    usage = whole["usageMetadata"]
    output = usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + output
    assert output <= limit * count


def test_thoughts_come_first_and_are_counted_apart() -> None:
    told = responses(asked("hello", config={"thinking_config": {"include_thoughts": True}}))
    first, second = told.whole()["candidates"][0]["content"]["parts"]
    assert first["thought"]
    assert "thought" not in second
    assert told.whole()["usageMetadata"]["thoughtsTokenCount"] > 0
    assert "candidatesTokenCount" not in told.chunks()[0]["usageMetadata"]
    off = {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 0}}
    assert len(parts(asked("hello", config=off))) == 1


def test_usage_counts_by_modality_and_adds_up() -> None:
    body = asked(
        {"role": "user", "parts": [{"text": "x" * 400}, PIXEL]},
        tools=[{"googleSearch": {}}],
        systemInstruction={"parts": {"text": "y" * 40}},
        cachedContent="cachedContents/1",
    )
    usage = responses(body).whole()["usageMetadata"]
    assert usage["promptTokensDetails"] == [
        {"modality": "TEXT", "tokenCount": 100 + 10 + 1024},
        {"modality": "IMAGE", "tokenCount": 258},
    ]
    assert usage["promptTokenCount"] == 1134 + 258
    assert usage["cachedContentTokenCount"] == 1024
    assert usage["toolUsePromptTokenCount"] == 40
    assert usage["totalTokenCount"] == 1134 + 258 + 40 + usage["candidatesTokenCount"]


def test_output_is_cut_at_the_limit() -> None:
    whole = responses(asked("hello", config={"max_output_tokens": "3"})).whole()
    assert whole["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert whole["usageMetadata"]["candidatesTokenCount"] == 3
    assert text(asked("hello", config={"maxOutputTokens": 3})) == text(asked("hello"))[:12]


def test_output_ends_before_the_first_stop_sequence() -> None:
    config = {"stopSequences": ["hello", "answer"]}
    whole = responses(asked("hello", config=config)).whole()
    assert whole["candidates"][0]["content"]["parts"] == [{"text": "This is a simulated "}]
    assert whole["candidates"][0]["finishReason"] == "STOP"


def test_each_candidate_says_something_else() -> None:
    candidates = responses(asked("hello", config={"candidateCount": 3})).whole()["candidates"]
    assert [each["index"] for each in candidates] == [0, 1, 2]
    assert len({each["content"]["parts"][0]["text"] for each in candidates}) == 3


def test_a_function_declared_is_called_with_arguments_of_its_schema() -> None:
    body = asked("How warm is it, in fahrenheit?", tools=[{"function_declarations": [WEATHER, FINISH]}])
    [call] = calls(body)
    assert call["name"] == "get_weather"
    assert call["args"] == {"city": "simulated city", "unit": "fahrenheit"}
    assert call["id"]
    candidate = responses(body).whole()["candidates"][0]
    assert candidate["finishReason"] == "STOP"
    assert candidate["finishMessage"] == "Model generated function call(s)."


def test_the_functions_that_the_prompt_names_are_called() -> None:
    tools = [{"functionDeclarations": [WEATHER]}, {"functionDeclarations": FINISH}]
    assert [call["name"] for call in calls(asked("Finish!", tools=tools))] == ["finish"]
    both = calls(asked("get weather, then finish", tools=tools))
    assert [call["name"] for call in both] == ["get_weather", "finish"]
    assert len({call["id"] for call in both}) == 2


def calling(mode: Any, *allowed: str) -> dict[str, Any]:
    return {"functionCallingConfig": {"mode": mode, "allowedFunctionNames": list(allowed)}}


def call_and_result(name: str) -> list[dict[str, Any]]:
    return [
        {"role": "model", "parts": [{"functionCall": {"name": name, "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": name, "response": {"sky": "blue"}}}]},
    ]


TOOLS = [{"functionDeclarations": [WEATHER, FINISH]}]


@pytest.mark.parametrize("mode", ["NONE", 3])
def test_no_function_is_called_where_the_mode_forbids_it(mode: Any) -> None:
    assert text(asked("hello", tools=TOOLS, toolConfig=calling(mode)))


def test_only_allowed_functions_are_called() -> None:
    body = asked("get_weather", tools=TOOLS, tool_config=calling("ANY", "finish"))
    assert [call["name"] for call in calls(body)] == ["finish"]


def test_after_a_result_the_answer_is_text_that_shows_it() -> None:
    body = asked("hello", *call_and_result("get_weather"), tools=TOOLS)
    assert '{"sky": "blue"}' in text(body)


def test_a_result_is_seen_where_the_client_adds_contents_after_it() -> None:
    body = asked("hello", *call_and_result("get_weather"), "This is the file", tools=TOOLS)
    assert '{"sky": "blue"}' in text(body)


def test_a_new_question_calls_again() -> None:
    said = {"role": "model", "parts": [{"text": "It is blue."}]}
    body = asked("hello", *call_and_result("get_weather"), said, "and now?", tools=TOOLS)
    assert [call["name"] for call in calls(body)] == ["get_weather"]


def test_an_agent_that_insists_on_calls_gets_each_function_once() -> None:
    """Such agents end by a function for the final result, which has to be called in its turn."""
    config = calling("ANY")
    body = asked("hello", *call_and_result("get_weather"), tools=TOOLS, toolConfig=config)
    assert [call["name"] for call in calls(body)] == ["finish"]
    body["contents"] += call_and_result("finish")
    assert text(body)


def test_json_that_a_schema_asks_for() -> None:
    config = {
        "response_mime_type": "application/json",
        "response_schema": {
            "type": "OBJECT",
            "properties": {"a_b": {"type": "NUMBER"}, "b": {"type": "ARRAY", "items": {"type": "INTEGER"}}},
            "property_ordering": ["b", "a_b"],
        },
    }
    assert text(asked("hello", config=config)) == '{\n  "b": [\n    1\n  ],\n  "a_b": 1.0\n}'


def test_json_without_a_schema() -> None:
    told = json.loads(text(asked("hello", config={"responseMimeType": "application/json"})))
    assert "hello" in told["answer"]


def test_an_enum_is_answered_bare() -> None:
    config = {
        "responseMimeType": "text/x.enum",
        "responseSchema": {"type": "STRING", "enum": ["Percussion", "String", "Woodwind"]},
    }
    assert text(asked("Is a violin a string instrument?", config=config)) == "String"
    assert text(asked("What is a drum?", config=config)) == "Percussion"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
REQUEST_WORDS = (
    "contents parts text role tools functionDeclarations name parameters toolConfig functionCallingConfig "
    "mode generationConfig candidateCount maxOutputTokens stopSequences responseMimeType responseSchema "
    "thinkingConfig includeThoughts inlineData mimeType functionCall functionResponse args response"
)
fields = st.sampled_from(REQUEST_WORDS.split())
roles = st.sampled_from(["user", "model", "application/json", "image/png", "ANY", "1"])


@settings(max_examples=50)
@given(
    st.recursive(
        json_values | roles,
        lambda inner: st.dictionaries(fields, inner) | st.lists(inner, max_size=3),
    )
)
def test_no_request_makes_it_fail_otherwise(body: Any) -> None:
    with suppress(GoogleError):
        told = responses(body)
        assert told.chunks()[-1]["usageMetadata"] == told.whole()["usageMetadata"]
