"""pydantic-ai: agents."""

from __future__ import annotations

import pytest

from tests.clients.playing import Outcomes, Play, python_driver
from tests.clients.refusals import GENERATING

PROMPT = "What is a gateway?"


@pytest.fixture(scope="module")
def outcomes(play: Play) -> Outcomes:
    return play(python_driver("pydantic_agents", "genai-2"), {})


def test_text(outcomes: Outcomes) -> None:
    told = outcomes.result("text")
    assert PROMPT in told["text"]
    assert told["input_tokens"] > 0


def test_stream(outcomes: Outcomes) -> None:
    outcomes.assert_streamed("stream")


def test_tools(outcomes: Outcomes) -> None:
    told = outcomes.result("tools")
    assert len(told["asked"]) == 1
    assert "rain, 11 degrees" in told["text"]


def test_structured_output(outcomes: Outcomes) -> None:
    assert set(outcomes.result("structured")) == {"name", "inhabitants"}


@pytest.mark.parametrize("name", GENERATING)
def test_refusals(outcomes: Outcomes, name: str) -> None:
    outcomes.assert_refused(f"refused_{name}", GENERATING[name])
