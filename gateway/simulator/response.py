"""GenerateContentResponse objects of the simulated upstream: one for a unary answer, several for a stream."""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Sequence
from typing import Any

from gateway.simulator.content import Candidate, Piece
from gateway.simulator.usage import PromptUsage

_ENUM_NUMBERS = {"STOP": 1, "MAX_TOKENS": 2, "TEXT": 1, "IMAGE": 2, "VIDEO": 3, "AUDIO": 4, "DOCUMENT": 5}


class Responses:
    """The two ways to tell the same candidates. `enum_numbers`: as `$alt=json;enum-encoding=int` asks."""

    def __init__(self, candidates: list[Candidate], usage: PromptUsage, model: str, *, enum_numbers: bool):
        self._candidates = candidates
        self._usage = usage
        self._enum_numbers = enum_numbers
        self._identity = {
            "modelVersion": f"{model}-simulated",
            "responseId": base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("="),
        }

    def whole(self) -> dict[str, Any]:
        """The unary answer."""
        told = [
            self._candidate(index, _joined(candidate.pieces), ends=True)
            for index, candidate in enumerate(self._candidates)
        ]
        return self._response(told, [piece for each in self._candidates for piece in each.pieces])

    def chunks(self) -> list[dict[str, Any]]:
        """The stream: piece by piece, usage counting what has been sent so far; at least one chunk."""
        chunks = []
        sent: list[Piece] = []
        for number in range(max(1, *(len(each.pieces) for each in self._candidates))):
            told = []
            for index, candidate in enumerate(self._candidates):
                pieces = candidate.pieces[number : number + 1]
                if pieces or number == 0:
                    sent += pieces
                    ends = number + 1 >= len(candidate.pieces)
                    told.append(self._candidate(index, [piece.part for piece in pieces], ends=ends))
            chunks.append(self._response(told, sent))
        return chunks

    def _candidate(self, index: int, parts: list[dict[str, Any]], *, ends: bool) -> dict[str, Any]:
        candidate = self._candidates[index]
        content = {"parts": parts, "role": "model"} if parts else {"role": "model"}
        told: dict[str, Any] = {"content": content}
        if ends:
            told["finishReason"] = self._enum(candidate.finish_reason)
        told["index"] = index
        if ends and candidate.calls_function:
            told["finishMessage"] = "Model generated function call(s)."
        return told

    def _response(self, candidates: list[dict[str, Any]], sent: Sequence[Piece]) -> dict[str, Any]:
        thoughts = sum(piece.tokens for piece in sent if piece.is_thought)
        usage = self._usage.with_output(sum(piece.tokens for piece in sent) - thoughts, thoughts)
        for details in usage.values():
            for detail in details if isinstance(details, list) else ():
                detail["modality"] = self._enum(detail["modality"])
        return {"candidates": candidates, "usageMetadata": usage, **self._identity}

    def _enum(self, name: str) -> str | int:
        return _ENUM_NUMBERS[name] if self._enum_numbers else name


def _joined(pieces: list[Piece]) -> list[dict[str, Any]]:
    """The parts of a unary answer: texts that follow each other are one, thoughts apart from the rest."""
    parts: list[dict[str, Any]] = []
    for (is_text, _), group in itertools.groupby(pieces, lambda piece: (piece.is_text, piece.is_thought)):
        same = [piece.part for piece in group]
        parts += [{**same[0], "text": "".join(part["text"] for part in same)}] if is_text else same
    return parts
