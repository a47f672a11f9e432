"""`usageMetadata` of the simulated upstream: tokens estimated from bytes, counted as Google counts them.

Text counts one token for four bytes of UTF-8; a file a fixed number by its kind, whatever its size.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from gateway.simulator.request import Content, Request

_FILE_TOKENS = {"IMAGE": 258, "DOCUMENT": 258, "AUDIO": 320, "VIDEO": 2580}
_CACHED_TOKENS = 1024
_BUILT_IN_TOOL_TOKENS = 40


def text_tokens(text: str) -> int:
    """Tokens of a text: at least one."""
    return max(1, -(-len(text.encode()) // 4))


class PromptUsage:
    """What a request uses before a word of the answer is there; `with_output` completes it."""

    def __init__(self, request: Request, *, vertex: bool):
        by_modality = Counter[str]()
        contents = request.turns + ([request.system_instruction] if request.system_instruction else [])
        for content in contents:
            by_modality.update(_content_tokens(content))
        declarations = [each for tool in request.each_tool for each in tool.declarations]
        if declarations:
            by_modality["TEXT"] += len(msgspec.json.encode(declarations)) // 4
        by_modality["TEXT"] += not by_modality.total()  # no prompt is free
        self._cached = _CACHED_TOKENS if request.cached_content else 0
        if self._cached:
            by_modality["TEXT"] += self._cached
        built_in = sum(tool.built_in for tool in request.each_tool)
        self._tool_use = _BUILT_IN_TOOL_TOKENS * built_in
        self._by_modality = by_modality
        self._tier = {"trafficType": "ON_DEMAND"} if vertex else {"serviceTier": "standard"}

    def with_output(self, candidates: int, thoughts: int) -> dict[str, Any]:
        """The object for so many output tokens. As from Google, counts of zero are absent."""
        prompt = self._by_modality.total()
        usage = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": candidates,
            "totalTokenCount": prompt + candidates + self._tool_use + thoughts,
            "cachedContentTokenCount": self._cached,
            "promptTokensDetails": _details(self._by_modality),
            "cacheTokensDetails": _details({"TEXT": self._cached}),
            "toolUsePromptTokenCount": self._tool_use,
            "toolUsePromptTokensDetails": _details({"TEXT": self._tool_use}),
            "thoughtsTokenCount": thoughts,
            **self._tier,
        }
        return {name: value for name, value in usage.items() if value}


def _details(by_modality: dict[str, int]) -> list[dict[str, Any]]:
    return [{"modality": name, "tokenCount": count} for name, count in by_modality.items() if count]


def _content_tokens(content: Content) -> Counter[str]:
    tokens = Counter[str]()
    for part in content.each_part:
        if part.media:
            modality = _modality(part.media.mime_type)
            tokens[modality] += _FILE_TOKENS[modality]
        for call in (part.function_call, part.function_response):
            if call:
                tokens["TEXT"] += len(msgspec.json.encode(call)) // 4
        if part.text:
            tokens["TEXT"] += text_tokens(part.text)
    return tokens


def _modality(mime_type: str) -> str:
    kind = mime_type.partition("/")[0].upper()
    return kind if kind in _FILE_TOKENS else "DOCUMENT"
