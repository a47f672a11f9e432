"""google-generativeai, the client before google-genai: a stream is a JSON array, enums are numbers."""

from __future__ import annotations

import pytest

from tests.clients.playing import Outcomes, Play, python_driver
from tests.clients.refusals import REFUSALS

PROMPT = "What is a gateway?"


@pytest.fixture(scope="module")
def outcomes(play: Play) -> Outcomes:
    return play(python_driver("generativeai", "genai-1"), {})


def test_text(outcomes: Outcomes) -> None:
    told = outcomes.result("text")
    assert PROMPT in told["text"]
    assert told["total_tokens"] > 0


def test_stream_as_a_json_array(outcomes: Outcomes) -> None:
    outcomes.assert_streamed("stream")


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(outcomes: Outcomes, name: str) -> None:
    outcomes.assert_refused(f"refused_{name}", REFUSALS[name])
