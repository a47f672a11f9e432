"""The simulated upstream refuses what Google refuses, in Google's words, and fails on demand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.raw_client import RawClient
from tests.support.recorded import recorded_exchanges
from tests.support.simulator import HELLO, MODEL, ask, simulator


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """The simulated upstream, without a pace."""
    async with simulator() as base:
        yield base


BAD_REQUESTS = {
    "empty": (b"", "* GenerateContentRequest.contents: contents is not specified\n"),
    "no contents": (
        {"contents": [], "generationConfig": {}},
        "* GenerateContentRequest.contents: contents is not specified\n",
    ),
    "unknown field": (
        {**HELLO, "foo": 1, "max_tokens": 5},
        'Invalid JSON payload received. Unknown name "foo": Cannot find field.\n'
        'Invalid JSON payload received. Unknown name "max_tokens": Cannot find field.',
    ),
    "role": (
        {"contents": [{"role": "system", "parts": [{"text": "x"}]}]},
        "Please use a valid role: user, model.",
    ),
    "no parts": (
        {"contents": [*HELLO["contents"], {"role": "user", "parts": []}]},
        "* GenerateContentRequest.contents[1].parts: contents.parts must not be empty.\n",
    ),
    "syntax": (
        b'{"contents": xyz}',
        'Invalid JSON payload received. Unexpected token.\n{"contents": xyz}\n             ^',
    ),
    "truncated": (
        b'{"contents": [',
        "Invalid JSON payload received. Unexpected end of string. Expected a value or closing bracket.",
    ),
    "not an object": (
        b"[1]",
        'Invalid JSON payload received. Unknown name "": Root element must be a message.',
    ),
    "not UTF-8": (b'{"contents": "\xff"}', "Invalid JSON payload received. Invalid UTF-8."),
    "type": (
        {**HELLO, "generationConfig": {"max_output_tokens": "many"}},
        "Invalid value at 'generation_config.max_output_tokens' (TYPE_INT32)",
    ),
    "type of contents": ({"contents": ["hello"]}, "Invalid value at 'contents[0]' (message)"),
    "range": (
        {**HELLO, "generationConfig": {"candidateCount": 9}},
        "Unable to submit request because it has a candidateCount value of 9 but the supported range is "
        "from 1 (inclusive) to 9 (exclusive). Update the value and try again.",
    ),
    "too deep": (b"[" * 100_000, "Message too deep. Max recursion depth reached."),
    "too deep below": (
        b'{"contents":' + b'{"parts":' * 900 + b"{}" + b"}" * 901,
        "Message too deep. Max recursion depth reached.",
    ),
    "only said to be compressed": (
        b"\x1f\x8b no gzip",
        "Invalid JSON payload received. Unexpected token.",
    ),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_a_bad_request_is_refused_in_googles_words(url: str, name: str) -> None:
    body, message = BAD_REQUESTS[name]
    answer = await ask(f"{url}{MODEL}:streamGenerateContent?alt=sse", body)
    assert answer.status == answer.error["code"] == 400
    assert answer.error["status"] == "INVALID_ARGUMENT"
    if name == "only said to be compressed":
        assert answer.error["message"].startswith(message)
    else:
        assert answer.error["message"] == message


async def test_what_googles_json_reader_refuses_names_each_field_in_the_details(url: str) -> None:
    body = {**HELLO, "foo": 1, "generationConfig": {"stop_sequences": 5}}
    error = (await ask(f"{url}{MODEL}:generateContent", body)).error
    assert error["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [
                {"description": 'Invalid JSON payload received. Unknown name "foo": Cannot find field.'}
            ],
        }
    ]
    del body["foo"]
    [detail] = (await ask(f"{url}{MODEL}:generateContent", body)).error["details"]
    assert detail["fieldViolations"][0]["field"] == "generation_config.stop_sequences"


async def test_an_error_on_a_json_array_stream_is_an_array_of_one(url: str) -> None:
    answer = await ask(f"{url}{MODEL}:streamGenerateContent", {})
    assert answer.body.startswith(b'[{\n  "error": {\n')
    assert answer.body.endswith(b"\n}\n]")
    assert [each["error"]["code"] for each in answer.json] == [400]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "/v1beta/models/gpt-5:generateContent",
            "models/gpt-5 is not found for API version v1beta, or is not supported for generateContent. "
            "Call ModelService.ListModels to see the list of available models and their supported methods.",
        ),
        (
            f"{MODEL}:countTokens",
            "models/gemini-2.5-flash is not found for API version v1beta, or is not supported for "
            "countTokens. Call ModelService.ListModels to see the list of available models and their "
            "supported methods.",
        ),
        (
            "/v1/projects/p/locations/l/publishers/google/models/gpt-5:generateContent",
            "Publisher Model `projects/p/locations/l/publishers/google/models/gpt-5` was not found or your "
            "project does not have access to it. Please ensure you are using a valid model version. For "
            "more information, see: "
            "https://cloud.google.com/vertex-ai/generative-ai/docs/learn/model-versions",
        ),
    ],
)
async def test_an_unknown_model_or_method_is_404(url: str, path: str, message: str) -> None:
    answer = await ask(url + path, HELLO)
    assert answer.status == answer.error["code"] == 404
    assert answer.error["status"] == "NOT_FOUND"
    assert answer.error["message"] == message


async def test_the_words_of_the_404_are_the_recorded_ones(url: str) -> None:
    [recorded] = [each for each in recorded_exchanges() if each.status == 404]
    want = json.loads(recorded.body)["error"]["message"].replace(recorded.model, "gpt-5")
    assert (await ask(f"{url}/v1beta/models/gpt-5:generateContent", HELLO)).error["message"] == want


@pytest.mark.parametrize(("method", "path"), [("GET", f"{MODEL}:generateContent"), ("POST", "/v1beta/files")])
async def test_where_no_method_is_google_answers_in_html(url: str, method: str, path: str) -> None:
    answer = await ask(url + path, b"", method=method)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
async def test_a_failure_on_demand(url: str, code: int, status: str) -> None:
    answer = await ask(f"{url}{MODEL}:generateContent", prompt(f"please simulate-error:{code} now"))
    assert answer.status == answer.error["code"] == code
    assert answer.error["status"] == status


async def test_a_429_says_what_is_exhausted_and_when_to_try_again_only_in_its_details(url: str) -> None:
    answer = await ask(f"{url}{MODEL}:generateContent", prompt("simulate-error:429"))
    details = {each["@type"].rpartition(".")[2]: each for each in answer.error["details"]}
    assert details["RetryInfo"]["retryDelay"] == "2.5s"
    assert "PerMinute" in details["QuotaFailure"]["violations"][0]["quotaId"]
    assert "Retry-After" not in answer.headers


async def test_a_failure_in_the_middle_of_a_stream(url: str) -> None:
    body = prompt("simulate-error:503@2")
    answer = await ask(f"{url}{MODEL}:streamGenerateContent", body)
    assert answer.status == 200
    assert ["error" in each for each in answer.json] == [False, False, True]
    assert answer.json[2]["error"]["code"] == 503
    events = (await ask(f"{url}{MODEL}:streamGenerateContent?alt=sse", body)).body.split(b"\r\n\r\n")
    assert events[2].startswith(b'data: {"error": {"code": 503,')
    assert events[3:] == [b""]


@pytest.mark.parametrize(("action", "whole"), [("streamGenerateContent?alt=sse", 2), ("generateContent", 0)])
async def test_a_connection_cut_on_demand_has_no_end(url: str, action: str, whole: int) -> None:
    body = json.dumps(prompt(f"simulate-error:cut@{whole}" if whole else "simulate-error:cut")).encode()
    address = urlsplit(url)
    assert address.hostname
    assert address.port
    async with RawClient(address.hostname, address.port) as client:
        head = f"POST {MODEL}:{action} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        await client.send(head.encode() + body)
        response = await client.read_response()
    assert response.ended == "eof_without_terminator"
    assert response.body.count(b"\r\n\r\n") == whole


def prompt(text: str) -> dict[str, Any]:
    return {"contents": [{"parts": [{"text": text}]}]}
