"""What the responses of one body said, taken together: the last word of each kind."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Raw

from gateway.metering.response import (
    ABSENT,
    NOTHING_COUNTED,
    GroundingMetadata,
    Response,
    decode_counts,
)

VERSION_CHARACTERS = 128
"""A `modelVersion` longer than this, or with anything but printable ASCII in it, is no model's name."""
REPORT_BYTES = 4 * 1024
"""A longer `usageMetadata` object is not kept: only the scanner may read it, which shortens it."""

# How Google's reports begin, in streams and else; there is a count in them.
_WITH_A_COUNT = (b'{"promptTokenCount":', b'{\n    "promptTokenCount":')
_NO_FEATURES: frozenset[str] = frozenset()
_EMPTY = re.compile(rb"\[[ \t\r\n]*\]")


class Findings:
    """Takes the response objects of a body in their order."""

    __slots__ = ("error_seen", "features", "finished", "model_version", "report")

    def __init__(self) -> None:
        self.model_version = ""
        self.finished = False
        self.error_seen = False
        self.features = _NO_FEATURES
        """See `token_usage.UsageDetails`."""
        self.report = b""
        """The last whole `usageMetadata` object with a count in it, as it was spelled; empty for none."""

    def take(self, responses: Sequence[Response]) -> bool:
        """Note what these responses say; a later one's word replaces an earlier one's.

        False: nothing was noted, for there is a report that only the scanner may read.
        """
        absent = ABSENT  # a local name, which is found sooner
        for response in reversed(responses):
            if response.usage_metadata is not absent:
                report = bytes(response.usage_metadata)
                if len(report) > REPORT_BYTES:
                    return False
                # One without a count reports nothing, which is not zero; Vertex can send `trafficType` alone.
                try:
                    if report.startswith(_WITH_A_COUNT) or _has_count(report):
                        self.report = report
                        break
                except (ValueError, RecursionError):
                    return False
        for response in responses:
            for candidate in response.candidates or ():
                if candidate.finish_reason:
                    self.finished = True
                if candidate.grounding_metadata is not None:
                    self.features |= grounding_features(candidate.grounding_metadata)
            if response.prompt_feedback is not None and response.prompt_feedback.block_reason:
                self.finished = True
            if response.error is not absent and _is_object(response.error):
                self.error_seen = True
        for response in reversed(responses):
            version = response.model_version
            if version and (version == self.model_version or _is_name(version)):
                self.model_version = version
                break
        return True


def grounding_features(grounding: GroundingMetadata) -> frozenset[str]:
    """What was used for this answer that costs more than its tokens.

    Search is billed by its queries, Maps where it is a source of the answer. Source:
    https://ai.google.dev/gemini-api/docs/google-search#pricing, …/maps-grounding#pricing.
    """
    features = set()
    if _has_items(grounding.web_search_queries) or _has_items(grounding.image_search_queries):
        features.add("google_search")
    for chunk in grounding.grounding_chunks or ():
        if _is_object(chunk.maps):
            features.add("google_maps")
        if _is_object(chunk.retrieved_context):
            features.add("retrieval")
    return frozenset(features)


def _has_count(report: bytes) -> bool:
    return report.startswith(b"{") and decode_counts(report) != NOTHING_COUNTED


def _is_object(value: Raw) -> bool:
    return bytes(value).startswith(b"{")


def _has_items(value: Raw) -> bool:
    array = bytes(value)
    return array.startswith(b"[") and _EMPTY.fullmatch(array) is None


def _is_name(version: str) -> bool:
    return len(version) <= VERSION_CHARACTERS and version.isascii() and version.isprintable()
