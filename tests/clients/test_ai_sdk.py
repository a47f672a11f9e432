"""The Vercel AI SDK with its Google provider."""

from __future__ import annotations

import pytest

from tests.clients.playing import Outcomes, Play, javascript_driver
from tests.clients.refusals import GENERATING

PROMPT = "What is a gateway?"


@pytest.fixture(scope="module")
def outcomes(play: Play) -> Outcomes:
    return play(javascript_driver("ai_sdk"), {})


@pytest.mark.parametrize("case", ["text", "stream"])
def test_answers(outcomes: Outcomes, case: str) -> None:
    told = outcomes.result(case)
    assert PROMPT in told["text"]
    assert told["finish_reason"] == "stop"
    assert told["total_tokens"] > 0


def test_a_stream_comes_in_pieces(outcomes: Outcomes) -> None:
    assert outcomes.result("stream")["chunks"] > 1


def test_tools(outcomes: Outcomes) -> None:
    [result] = outcomes.result("tools")
    assert result.startswith("rain in ")


@pytest.mark.parametrize("name", GENERATING)
def test_refusals(outcomes: Outcomes, name: str) -> None:
    outcomes.assert_refused(f"refused_{name}", GENERATING[name])


@pytest.mark.parametrize("name", GENERATING)
def test_refusals_of_a_stream(outcomes: Outcomes, name: str) -> None:
    outcomes.assert_refused(f"refused_stream_{name}", GENERATING[name])
