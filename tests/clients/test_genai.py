"""google-genai for Python: versions 1 and 2, which say `v1beta`, and 3, which says `v1`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.playing import Outcomes, Play, python_driver
from tests.clients.refusals import GENERATING, REFUSALS
from tests.support.gateway import Gateway

ENVIRONMENTS = {"1": "genai-1", "2": "genai-2", "3": None}


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def version(request: pytest.FixtureRequest) -> str:
    """The client's major version."""
    return str(request.param)


@pytest.fixture(scope="module")
def outcomes(version: str, play: Play, gateway: Gateway) -> Outcomes:
    """What came of the driver's cases."""
    environment = {
        "GEMINI_API_KEY": gateway.token,
        "GOOGLE_GEMINI_BASE_URL": f"{gateway.url}/ai-gateway/gemini",
    }
    return play(python_driver("genai", ENVIRONMENTS[version]), environment)


def assert_answered(told: dict[str, Any]) -> None:
    """A whole answer of the simulated upstream, its usage included."""
    assert told["text"]
    assert told["model_version"] == "gemini-2-5-flash-simulated"
    assert told["finish_reason"] == "STOP"
    assert told["total_tokens"] > 0


def test_it_is_the_version_it_should_be(outcomes: Outcomes, version: str) -> None:
    assert outcomes.result("version").split(".")[0] == version


@pytest.mark.parametrize("case", ["text", "text_async"])
def test_text(outcomes: Outcomes, case: str) -> None:
    assert_answered(outcomes.result(case))


@pytest.mark.parametrize("case", ["stream", "stream_async"])
def test_a_stream_comes_in_pieces_and_says_what_the_whole_answer_says(outcomes: Outcomes, case: str) -> None:
    assert_answered(outcomes.result(case))
    outcomes.assert_streamed(case)


def test_the_client_calls_the_declared_function_and_hands_back_what_it_returned(outcomes: Outcomes) -> None:
    told = outcomes.result("tools")
    assert len(told["asked"]) == 1
    assert "rain, 11 degrees" in told["text"]


def test_an_inline_image(outcomes: Outcomes) -> None:
    told = outcomes.result("image")
    assert_answered(told)
    assert "image/png" in told["text"]


def test_structured_output_parses(outcomes: Outcomes) -> None:
    assert set(outcomes.result("structured")) == {"name", "minutes", "ingredients"}


def test_a_chat_keeps_its_turns(outcomes: Outcomes) -> None:
    told = outcomes.result("chat")
    assert all(told["texts"])
    assert told["roles"][:3] == ["user", "model", "user"]
    assert set(told["roles"][3:]) == {"model"}


@pytest.mark.parametrize(
    "case",
    [
        "configured_by_environment",
        "dummy_key_beside_bearer",
        "trailing_slash",
        "short_path",
        "short_path_trailing_slash",
        "v1",
        "v1beta",
        "v1alpha",
        "deadline_announced",
        "googles_model_name",
        "databricks_model_name",
    ],
)
def test_ways_to_name_the_gateway_the_version_the_key_and_the_model(outcomes: Outcomes, case: str) -> None:
    assert_answered(outcomes.result(case))


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("way", ["refused", "refused_async"])
def test_the_clients_exception_shows_the_message(outcomes: Outcomes, way: str, name: str) -> None:
    outcomes.assert_refused(f"{way}_{name}", REFUSALS[name])


@pytest.mark.parametrize("name", GENERATING)
def test_the_clients_exception_shows_the_message_of_a_stream_refused(outcomes: Outcomes, name: str) -> None:
    outcomes.assert_refused(f"refused_stream_{name}", GENERATING[name])
