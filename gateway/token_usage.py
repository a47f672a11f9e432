"""What a response says of the tokens it used; see `metering` for how that is read."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

_USAGE_METADATA = {
    "prompt": "promptTokenCount",
    "cached": "cachedContentTokenCount",
    "candidates": "candidatesTokenCount",
    "thoughts": "thoughtsTokenCount",
    "tool_use_prompt": "toolUsePromptTokenCount",
    "total": "totalTokenCount",
}
LARGEST_COUNT = 2**31 - 1
"""What Google's type for a count of tokens holds. What is added up from such counts stays within 64 bits."""
Tokens = Annotated[int, Meta(ge=0, le=LARGEST_COUNT)]


class Usage(Struct, frozen=True, gc=False, rename=_USAGE_METADATA):
    """Tokens of one response, as its last whole `usageMetadata` says (an absent field counts as 0)."""

    prompt: Tokens = 0
    """Includes `cached`."""
    cached: Tokens = 0
    candidates: Tokens = 0
    thoughts: Tokens = 0
    """Not part of `candidates`."""
    tool_use_prompt: Tokens = 0
    total: Tokens = 0

    @property
    def input(self) -> int:
        """Billed input tokens: prompt and tool-use prompt."""
        return self.prompt + self.tool_use_prompt

    @property
    def output(self) -> int:
        """Billed output tokens: candidates and thoughts."""
        return self.candidates + self.thoughts


class UsageDetails(Struct, frozen=True, gc=False):
    """What is known of a usage beside its counts; empty where the response did not say."""

    modalities: dict[str, dict[str, int]] = {}
    """Tokens by kind (`prompt`, `cached`, `candidates`, `tool_use_prompt`) and modality (`TEXT`, `AUDIO`)."""
    traffic_type: str = ""
    """Vertex's `trafficType`, e.g. `ON_DEMAND`."""
    service_tier: str = ""
    """AI Studio's `serviceTier`, e.g. `standard`."""
    features: tuple[str, ...] = ()
    """What was used that costs more than tokens: `google_maps`, `google_search`, `retrieval`."""


NO_DETAILS = UsageDetails()
