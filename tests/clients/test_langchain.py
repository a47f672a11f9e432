"""langchain-google-genai, a chat model that other programs build upon."""

from __future__ import annotations

import pytest

from tests.clients.playing import Outcomes, Play, python_driver
from tests.clients.refusals import GENERATING

PROMPT = "What is a gateway?"


@pytest.fixture(scope="module")
def outcomes(play: Play) -> Outcomes:
    return play(python_driver("langchain", "genai-2"), {})


def test_text(outcomes: Outcomes) -> None:
    told = outcomes.result("text")
    assert PROMPT in told["text"]
    assert told["total_tokens"] > 0


@pytest.mark.parametrize("case", ["stream", "stream_async"])
def test_stream(outcomes: Outcomes, case: str) -> None:
    outcomes.assert_streamed(case)


def test_tools(outcomes: Outcomes) -> None:
    [result] = outcomes.result("tools")
    assert result.startswith("rain in ")


def test_structured_output(outcomes: Outcomes) -> None:
    assert set(outcomes.result("structured")) == {"name", "inhabitants"}


@pytest.mark.parametrize("name", GENERATING)
def test_refusals(outcomes: Outcomes, name: str) -> None:
    outcomes.assert_refused(f"refused_{name}", GENERATING[name])
