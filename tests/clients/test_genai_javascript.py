"""@google/genai for JavaScript."""

from __future__ import annotations

import pytest

from tests.clients.playing import Outcomes, Play, javascript_driver
from tests.clients.refusals import GENERATING, REFUSALS

PROMPT = "What is a gateway?"


@pytest.fixture(scope="module")
def outcomes(play: Play) -> Outcomes:
    return play(javascript_driver("genai"), {})


@pytest.mark.parametrize("case", ["text", "stream", "trailing_slash", "short_path"])
def test_answers(outcomes: Outcomes, case: str) -> None:
    told = outcomes.result(case)
    assert PROMPT in told["text"]
    assert told["model_version"] == "gemini-2-5-flash-simulated"
    assert told["finish_reason"] == "STOP"
    assert told["total_tokens"] > 0


def test_a_stream_comes_in_pieces(outcomes: Outcomes) -> None:
    assert outcomes.result("stream")["chunks"] > 1


def test_tools(outcomes: Outcomes) -> None:
    [call] = outcomes.result("tools")
    assert call["name"] == "current_weather"
    assert set(call["args"]) == {"city"}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(outcomes: Outcomes, name: str) -> None:
    outcomes.assert_refused(f"refused_{name}", REFUSALS[name])


@pytest.mark.parametrize("name", GENERATING)
def test_refusals_of_a_stream(outcomes: Outcomes, name: str) -> None:
    outcomes.assert_refused(f"refused_stream_{name}", GENERATING[name])
