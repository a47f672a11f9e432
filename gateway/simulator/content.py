"""What the simulated model "says" to a request: text, function calls or JSON, cut into pieces for a stream.

The same request always gets the same pieces. They are made at once, so that a unary answer and a stream of
the same request say the same.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
import zlib
from dataclasses import dataclass, replace
from typing import Any

from gateway.simulator.request import Content, FunctionDeclaration, Request
from gateway.simulator.schema import example
from gateway.simulator.usage import text_tokens

_PIECES = 8
_SIGNATURE = "c2ltdWxhdGVkIHRob3VnaHQ="
"""A thought signature is opaque base64 to clients, and they send it back: "simulated thought"."""
_REMARKS = (
    "Nothing was looked up, weighed or remembered for it.",
    "The words are put together from the request by fixed rules.",
    "The same request gets the same answer each time.",
    "With a key for Google's API configured, a real model would have written it.",
    "It is a few sentences long, so that a stream of it comes in several pieces.",
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a candidate that goes out in one chunk of a stream, and the output tokens it counts for."""

    part: dict[str, Any]
    tokens: int

    @property
    def is_thought(self) -> bool:
        return "thought" in self.part

    @property
    def is_text(self) -> bool:
        return "text" in self.part


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer. `pieces` can be empty: where `maxOutputTokens` left room for none."""

    pieces: list[Piece]
    finish_reason: str

    @property
    def calls_function(self) -> bool:
        return any("functionCall" in piece.part for piece in self.pieces)


def compose(request: Request, model: str) -> list[Candidate]:
    """As many answers as the request asks for. Raises GoogleError for a schema that can't be met."""
    return [_candidate(request, model, number) for number in range(request.generation_config.candidate_count)]


def _candidate(request: Request, model: str, number: int) -> Candidate:
    config = request.generation_config
    calls = _function_calls(request)
    if calls:
        pieces = [Piece(call, text_tokens(json.dumps(call["functionCall"]["args"])) + 4) for call in calls]
    else:
        text = _before(_answer(request, model, number), config.stop_sequences)
        pieces = [_text_piece(piece) for piece in _cut(text)]
    thinking = config.thinking_config
    if thinking.include_thoughts and thinking.thinking_budget != 0:
        pieces = [*_thoughts(request), *pieces]
    return _limited(pieces, config.max_output_tokens)


def _answer(request: Request, model: str, number: int) -> str:
    config = request.generation_config
    if config.response_mime_type == "text/x.enum":
        return str(example(config.schema, request.prompt))
    if config.response_mime_type == "application/json":
        prose = {"answer": _prose(request, model, number)}
        value = example(config.schema, request.prompt) if config.schema else prose
        return json.dumps(value, ensure_ascii=False, indent=2)
    return _prose(request, model, number)


def _prose(request: Request, model: str, number: int) -> str:
    prompt = textwrap.shorten(request.prompt, 200, placeholder=" …")
    sentences = [f"This is a simulated answer: no model was asked, {model} is only the name in the request."]
    sentences.append(f"You wrote: “{prompt}”." if prompt else "There was no text in what you sent.")
    turn = _last_user_turn(request)
    media = [part.media for content in turn for part in content.each_part if part.media]
    if media:
        kinds = ", ".join(each.mime_type or "unknown" for each in media)
        sentences.append(f"With it came {len(media)} file(s) of type {kinds}.")
    for content in turn:
        for part in content.each_part:
            if part.function_response:
                result = textwrap.shorten(
                    json.dumps(part.function_response.response, ensure_ascii=False), 200, placeholder=" …"
                )
                sentences.append(f"The function {part.function_response.name} returned {result}.")
    if len(request.turns) > 1:
        sentences.append(f"The conversation has {len(request.turns)} turns so far.")
    if number:
        sentences.append(f"This is alternative {number + 1}.")
    start = zlib.crc32(request.prompt.encode())
    sentences += [_REMARKS[(start + number + step) % len(_REMARKS)] for step in range(3)]
    return " ".join(sentences)


def _thoughts(request: Request) -> list[Piece]:
    texts = (
        "**Reading the request**\n\nThis is a simulated thought. ",
        f"The request has {len(request.turns)} turn(s) and its last text {len(request.prompt)} characters. ",
        "I will answer by fixed rules.\n\n\n",
    )
    return [Piece({"text": text, "thought": True}, text_tokens(text)) for text in texts]


def _last_user_turn(request: Request) -> list[Content]:
    """The contents after the model's last one: some clients split a turn over several."""
    turn: list[Content] = []
    for content in reversed(request.turns):
        if content.role == "model":
            break
        turn.insert(0, content)
    return turn


def _function_calls(request: Request) -> list[dict[str, Any]]:
    """The parts that call functions, or none where text is to come.

    It calls what the prompt names, otherwise the first declared. Once results are there it answers in text,
    so that an agent's loop ends; but where the client insists on a call (ANY) only when each allowed function
    has been called, since agents end their loop by a function for the final result.
    """
    mode = request.calling_mode
    declared = [each for tool in request.each_tool for each in tool.declarations]
    allowed = request.tool_config.function_calling_config.allowed_function_names
    if allowed:
        declared = [each for each in declared if each.name in allowed]
    if mode == "NONE" or not declared:
        return []
    if any(content.answers_function for content in _last_user_turn(request)):
        called = _called_since_question(request)
        declared = [each for each in declared if each.name not in called] if mode == "ANY" else []
        declared = declared[:1]
    else:
        prompt = request.prompt.lower()
        named = [each for each in declared if each.name and _is_named(each.name, prompt)]
        declared = named or declared[:1]
    return [_call(each, number, request) for number, each in enumerate(declared)]


def _is_named(function: str, prompt: str) -> bool:
    return function.lower() in prompt or function.lower().replace("_", " ") in prompt


def _called_since_question(request: Request) -> set[str]:
    """The functions called since the user's last contents that are no function's result."""
    called: set[str] = set()
    for content in reversed(request.turns):
        if content.role != "model" and not content.answers_function and called:
            break
        called.update(part.function_call.name for part in content.each_part if part.function_call)
    return called


def _call(function: FunctionDeclaration, number: int, request: Request) -> dict[str, Any]:
    args = example(function.schema, request.prompt) if function.schema else {}
    identity = f"{function.name} {len(request.turns)} {number}"
    call = {
        "name": function.name,
        "args": args if isinstance(args, dict) else {},
        "id": f"{zlib.crc32(identity.encode()):08x}",
    }
    # As from Google, only the first of several calls is signed.
    return {"functionCall": call} if number else {"functionCall": call, "thoughtSignature": _SIGNATURE}


def _before(text: str, stops: list[str]) -> str:
    """What stands before the first stop sequence."""
    return text[
        : min((found for stop in stops if stop and (found := text.find(stop)) >= 0), default=len(text))
    ]


def _cut(text: str) -> list[str]:
    """The text in about eight pieces, between words; the first is one word, as Google's often is."""
    words = re.findall(r"\s*\S+|\s+", text)
    size = max(1, math.ceil(len(words) / _PIECES))
    ends = [1, *range(1 + size, len(words) + size, size)]
    return [
        "".join(words[start:end]) for start, end in zip([0, *ends], ends, strict=False) if words[start:end]
    ]


def _text_piece(text: str) -> Piece:
    return Piece({"text": text}, text_tokens(text))


def _limited(pieces: list[Piece], limit: int) -> Candidate:
    """Google counts thoughts against `maxOutputTokens` too. A call that doesn't fit is left out whole."""
    kept: list[Piece] = []
    for piece in pieces:
        if piece.tokens > limit:
            if piece.is_text and limit:
                cut = piece.part["text"].encode()[: limit * 4].decode("utf-8", "ignore")
                kept.append(replace(piece, part={**piece.part, "text": cut}, tokens=limit))
            return Candidate(kept, "MAX_TOKENS")
        kept.append(piece)
        limit -= piece.tokens
    return Candidate(kept, "STOP")
