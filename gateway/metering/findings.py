"""What the responses of one body said, taken together: the last word of each kind."""

from __future__ import annotations

from gateway.exchange import Usage
from gateway.metering.response import ABSENT, Response, UsageMetadata, count, is_reason

VERSION_CHARACTERS = 128
"""A `modelVersion` longer than this, or with anything but printable ASCII in it, is no model's name."""


_NO_COUNT = UsageMetadata()


class Findings:
    """Takes the response objects of a body in their order."""

    __slots__ = ("_usage_metadata", "error_seen", "finished", "model_version")

    def __init__(self) -> None:
        self.model_version = ""
        self.finished = False
        self.error_seen = False
        self._usage_metadata: UsageMetadata | None = None

    def take(self, response: Response) -> None:
        """Note what this response says; the next one's word replaces it."""
        # One without any count (Vertex can send a `trafficType` alone) reports nothing, which is not zero.
        if response.usage_metadata is not None and response.usage_metadata != _NO_COUNT:
            self._usage_metadata = response.usage_metadata
        version = response.model_version
        if version and version != self.model_version and _is_name(version):
            self.model_version = version
        for candidate in response.candidates or ():
            if candidate.finish_reason is not ABSENT and is_reason(candidate.finish_reason):
                self.finished = True
        feedback = response.prompt_feedback
        if feedback is not None and is_reason(feedback.block_reason):
            self.finished = True
        if response.error is not ABSENT and bytes(response.error).startswith(b"{"):
            self.error_seen = True

    @property
    def usage(self) -> Usage | None:
        """What the last whole `usageMetadata` says; None when none came."""
        said = self._usage_metadata
        if said is None:
            return None
        return Usage(
            prompt=count(said.prompt_token_count),
            cached=count(said.cached_content_token_count),
            candidates=count(said.candidates_token_count),
            thoughts=count(said.thoughts_token_count),
            tool_use_prompt=count(said.tool_use_prompt_token_count),
            total=count(said.total_token_count),
        )


def _is_name(version: str) -> bool:
    return len(version) <= VERSION_CHARACTERS and version.isascii() and version.isprintable()
