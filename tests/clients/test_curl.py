"""curl, as the documentation shows it and as people use it; and clients that name no version in the path."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.clients.refusals import GENERATING, Refusal
from tests.support.gateway import Gateway
from tests.support.machine import program

MODELS = "/ai-gateway/gemini/v1beta/models/"
GENERATE = f"{MODELS}gemini-2-5-flash:generateContent"
STREAM = f"{MODELS}gemini-2-5-flash:streamGenerateContent"
JSON = ["-H", "Content-Type: application/json"]


def asking(prompt: str) -> str:
    """A request's body."""
    return json.dumps({"contents": [{"role": "user", "parts": [{"text": prompt}]}]})


HELLO = ["-d", asking("hello")]


@dataclass(frozen=True)
class Curled:
    """What curl saw."""

    status: int
    body: str
    log: str
    """What `-v` says, the request's and response's heads among it."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def curl(*arguments: str) -> Curled:
    """Runs curl; it has to end well, whatever the status."""
    finished = subprocess.run(
        [program("curl"), "-sSv", "--max-time", "60", "-w", "\n%{http_code}", *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    body, _, status = finished.stdout.rpartition("\n")
    return Curled(int(status), body, finished.stderr)


def assert_answered(answer: Curled, prompt: str = "hello") -> None:
    """A whole answer to the prompt."""
    assert answer.status == 200, answer.body
    assert prompt in answer.json["candidates"][0]["content"]["parts"][0]["text"]
    assert answer.json["usageMetadata"]["totalTokenCount"] > 0


def carriers(token: str) -> dict[str, list[str]]:
    """Every way to hand over a credential in a header, as arguments of curl."""
    basic = base64.b64encode(f"token:{token}".encode()).decode()
    return {
        "bearer": ["-H", f"Authorization: Bearer {token}"],
        "x-goog-api-key": ["-H", f"x-goog-api-key: {token}"],
        "basic": ["-u", f"token:{token}"],
        "basic, written out": ["-H", f"Authorization: Basic {basic}"],
        "dummy key beside bearer": ["-H", "x-goog-api-key: dummy", "-H", f"Authorization: Bearer {token}"],
    }


@pytest.mark.parametrize("carrier", carriers(""))
def test_credential_in_a_header(gateway: Gateway, carrier: str) -> None:
    assert_answered(curl(gateway.url + GENERATE, *carriers(gateway.token)[carrier], *JSON, *HELLO))


@pytest.mark.parametrize("carrier", carriers(""))
def test_wrong_credential_in_a_header(gateway: Gateway, carrier: str) -> None:
    answer = curl(gateway.url + GENERATE, *carriers("wrong")[carrier], *JSON, *HELLO)
    assert answer.status == 401
    assert answer.json["error"]["message"] == "invalid or missing credential"


@pytest.mark.parametrize("query", ["key={}", "alt=json&key={}", "key={}&alt=json"])
def test_credential_in_the_query(gateway: Gateway, query: str) -> None:
    assert_answered(curl(f"{gateway.url}{GENERATE}?{query.format(gateway.token)}", *JSON, *HELLO))


def test_curls_own_content_type_will_do(gateway: Gateway) -> None:
    answer = curl(gateway.url + GENERATE, *carriers(gateway.token)["bearer"], *HELLO)
    assert "Content-Type: application/x-www-form-urlencoded" in answer.log
    assert_answered(answer)


def test_a_percent_encoded_colon(gateway: Gateway) -> None:
    url = gateway.url + GENERATE.replace(":", "%3A")
    assert_answered(curl(url, *carriers(gateway.token)["bearer"], *JSON, *HELLO))


def test_http_1_0(gateway: Gateway) -> None:
    assert_answered(curl("-0", gateway.url + GENERATE, *carriers(gateway.token)["bearer"], *JSON, *HELLO))


def test_two_requests_on_one_connection(gateway: Gateway) -> None:
    url = gateway.url + GENERATE
    answer = curl(url, url, *carriers(gateway.token)["bearer"], *JSON, *HELLO)
    assert answer.log.count("< HTTP/1.1 200 OK") == 2
    assert "Re-using existing connection" in answer.log


@pytest.mark.parametrize("key_first", [True, False])
def test_a_stream_of_events(gateway: Gateway, key_first: bool) -> None:
    query = f"key={gateway.token}&alt=sse" if key_first else f"alt=sse&key={gateway.token}"
    answer = curl("-N", f"{gateway.url}{STREAM}?{query}", *JSON, *HELLO)
    assert answer.status == 200
    # The blank line after the last event has to come too.
    assert answer.body.endswith("\n\n") or answer.body.endswith("\r\n\r\n")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.body.splitlines() if line]
    assert len(events) > 1
    assert events[-1]["candidates"][0]["finishReason"] == "STOP"


def test_a_stream_as_a_json_array(gateway: Gateway) -> None:
    answer = curl("-N", gateway.url + STREAM, *carriers(gateway.token)["bearer"], *JSON, *HELLO)
    assert answer.status == 200
    assert len(answer.json) > 1
    assert answer.json[-1]["candidates"][0]["finishReason"] == "STOP"


@pytest.fixture
def upload(tmp_path: Path) -> list[str]:
    """Arguments for a body over 1 MB, before which curl asks whether it may send it.

    It goes on without an answer after a while: here only after one that would not go unnoticed.
    """
    path = tmp_path / "body.json"
    path.write_text(asking("hello " + "x" * 2_000_000))
    return [*JSON, "--data-binary", f"@{path}", "--expect100-timeout", "30"]


def test_a_large_upload_waits_for_100_continue(gateway: Gateway, upload: list[str]) -> None:
    answer = curl(gateway.url + GENERATE, *carriers(gateway.token)["bearer"], *upload)
    assert "> Expect: 100-continue" in answer.log
    assert "< HTTP/1.1 100 Continue" in answer.log
    assert_answered(answer)


def test_a_large_upload_with_a_wrong_credential_is_never_asked_for(
    gateway: Gateway, upload: list[str]
) -> None:
    answer = curl(
        "-w", "\n%{size_upload}\n%{http_code}", gateway.url + GENERATE, "-H", "x-goog-api-key: no", *upload
    )
    assert "< HTTP/1.1 100" not in answer.log
    assert answer.status == 401
    body, _, uploaded = answer.body.rpartition("\n")
    assert int(uploaded) == 0
    assert json.loads(body)["error"]["message"] == "invalid or missing credential"


@pytest.mark.parametrize("name", GENERATING)
@pytest.mark.parametrize(
    ("path", "in_array"), [(GENERATE, False), (f"{STREAM}?alt=sse", False), (STREAM, True)]
)
def test_refusals(gateway: Gateway, token_without_scope: str, name: str, path: str, in_array: bool) -> None:
    refusal: Refusal = GENERATING[name]
    tokens = {"good": gateway.token, "wrong": "wrong", "without_scope": token_without_scope}
    url = gateway.url + path.replace("gemini-2-5-flash", refusal.model)
    token = carriers(tokens[refusal.token])["bearer"]
    answer = curl(url, *token, *JSON, "-d", asking(refusal.prompt))
    assert answer.status == refusal.status
    body = answer.json
    if in_array:
        assert isinstance(body, list)
        [body] = body
    assert body["error"]["code"] == refusal.status
    assert body["error"]["message"].startswith(refusal.message)


@pytest.mark.parametrize("prefix", ["/ai-gateway/gemini", "/v1/gemini"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_no_version_in_the_path_as_litellm_asks(gateway: Gateway, prefix: str, slash: str) -> None:
    url = f"{gateway.url}{slash}{prefix}/models/gemini-2-5-flash:generateContent"
    headers = {"x-goog-api-key": gateway.token, "Content-Type": "application/json"}
    with urlopen(Request(url, asking("hello").encode(), headers), timeout=60) as response:
        answer = json.load(response)
    assert "hello" in answer["candidates"][0]["content"]["parts"][0]["text"]
