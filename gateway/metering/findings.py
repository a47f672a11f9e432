"""What the responses of one body said, taken together: the last word of each kind."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.exchange import Usage
from gateway.metering.response import ABSENT, Response, UsageMetadata

VERSION_CHARACTERS = 128
"""A `modelVersion` longer than this, or with anything but printable ASCII in it, is no model's name."""

_NOTHING_COUNTED = UsageMetadata()


class Findings:
    """Takes the response objects of a body in their order."""

    __slots__ = ("_usage_metadata", "error_seen", "finished", "model_version")

    def __init__(self) -> None:
        self.model_version = ""
        self.finished = False
        self.error_seen = False
        self._usage_metadata: UsageMetadata | None = None

    def take(self, responses: Sequence[Response]) -> None:
        """Note what these responses say; a later one's word replaces an earlier one's."""
        for response in responses:
            for candidate in response.candidates or ():
                if candidate.finish_reason:
                    self.finished = True
            if response.prompt_feedback is not None and response.prompt_feedback.block_reason:
                self.finished = True
            if response.error is not ABSENT and bytes(response.error).startswith(b"{"):
                self.error_seen = True
        for response in reversed(responses):
            metadata = response.usage_metadata
            # One without a count (Vertex can send a `trafficType` alone) reports nothing, which is not zero.
            if metadata is not None and metadata != _NOTHING_COUNTED:
                self._usage_metadata = metadata
                break
        for response in reversed(responses):
            version = response.model_version
            if version and (version == self.model_version or _is_name(version)):
                self.model_version = version
                break

    @property
    def usage(self) -> Usage | None:
        """What the last whole `usageMetadata` says; None when none came."""
        said = self._usage_metadata
        if said is None:
            return None
        # A count that did not come is negative. By position, and without a loop, for speed.
        return Usage(
            said.prompt_token_count if said.prompt_token_count > 0 else 0,
            said.cached_content_token_count if said.cached_content_token_count > 0 else 0,
            said.candidates_token_count if said.candidates_token_count > 0 else 0,
            said.thoughts_token_count if said.thoughts_token_count > 0 else 0,
            said.tool_use_prompt_token_count if said.tool_use_prompt_token_count > 0 else 0,
            said.total_token_count if said.total_token_count > 0 else 0,
        )


def _is_name(version: str) -> bool:
    return len(version) <= VERSION_CHARACTERS and version.isascii() and version.isprintable()
