"""What the scanner looks for: the objects and arrays of a response that it walks into, and their fields."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from msgspec import Raw, Struct
from msgspec.structs import fields

from gateway.metering.response import (
    ABSENT,
    Candidate,
    GroundingChunk,
    GroundingMetadata,
    ModalityCount,
    PromptFeedback,
    Response,
    UsageMetadata,
)
from gateway.metering.spelled import count, is_reason, member, text


class Place(Enum):
    """The object or array that the walk is in; what is passed over is no place."""

    DOCUMENT = auto()
    RESPONSES = auto()
    RESPONSE = auto()
    USAGE = auto()
    MODALITIES = auto()
    MODALITY = auto()
    CANDIDATES = auto()
    CANDIDATE = auto()
    GROUNDING = auto()
    QUERIES = auto()
    CHUNKS = auto()
    CHUNK = auto()
    FEEDBACK = auto()


ARRAYS: Final = frozenset({Place.RESPONSES, Place.MODALITIES, Place.CANDIDATES, Place.QUERIES, Place.CHUNKS})
OBJECTS: Final = frozenset(Place) - ARRAYS - {Place.DOCUMENT}

WAYS: Final = {
    (Place.DOCUMENT, b"", b"{"): Place.RESPONSE,
    (Place.DOCUMENT, b"", b"["): Place.RESPONSES,
    (Place.RESPONSES, b"", b"{"): Place.RESPONSE,
    (Place.RESPONSE, b"usageMetadata", b"{"): Place.USAGE,
    (Place.USAGE, b"promptTokensDetails", b"["): Place.MODALITIES,
    (Place.USAGE, b"cacheTokensDetails", b"["): Place.MODALITIES,
    (Place.USAGE, b"candidatesTokensDetails", b"["): Place.MODALITIES,
    (Place.USAGE, b"toolUsePromptTokensDetails", b"["): Place.MODALITIES,
    (Place.MODALITIES, b"", b"{"): Place.MODALITY,
    (Place.RESPONSE, b"candidates", b"["): Place.CANDIDATES,
    (Place.CANDIDATES, b"", b"{"): Place.CANDIDATE,
    (Place.CANDIDATE, b"groundingMetadata", b"{"): Place.GROUNDING,
    (Place.GROUNDING, b"webSearchQueries", b"["): Place.QUERIES,
    (Place.GROUNDING, b"imageSearchQueries", b"["): Place.QUERIES,
    (Place.GROUNDING, b"groundingChunks", b"["): Place.CHUNKS,
    (Place.CHUNKS, b"", b"{"): Place.CHUNK,
    (Place.RESPONSE, b"promptFeedback", b"{"): Place.FEEDBACK,
}
"""Which opening bracket, under which key (none in an array), leads from a place into another."""


def _names(kind: type[Struct]) -> dict[bytes, str]:
    return {field.encode_name.encode("ascii"): field.name for field in fields(kind)}


FIELDS: Final[dict[Place, dict[bytes, str]]] = {
    Place.RESPONSE: _names(Response),
    Place.USAGE: _names(UsageMetadata),
    Place.MODALITY: _names(ModalityCount),
    Place.CANDIDATE: _names(Candidate),
    Place.GROUNDING: _names(GroundingMetadata),
    Place.CHUNK: _names(GroundingChunk),
    Place.FEEDBACK: _names(PromptFeedback),
}
"""The fields of the places that are objects, by their keys."""


def _none(_: bytes) -> None:
    """Where something should stand that is walked into: it is not there."""


def _absent(_: bytes) -> Raw:
    return ABSENT


def _reason(spelled: bytes) -> int:
    return int(is_reason(spelled))


MEANINGS: Final[dict[str, Callable[[bytes], object]]] = {
    "usage_metadata": _absent,
    **{name: count for name in FIELDS[Place.USAGE].values() if name.endswith("_count")},
    **{name: _none for name in FIELDS[Place.USAGE].values() if name.endswith("_details")},
    "traffic_type": member,
    "service_tier": member,
    "modality": member,
    "token_count": count,
    "model_version": text,
    "candidates": _none,
    "finish_reason": _reason,
    "grounding_metadata": _none,
    "web_search_queries": _absent,
    "image_search_queries": _absent,
    "grounding_chunks": _none,
    "maps": Raw,
    "retrieved_context": Raw,
    "prompt_feedback": _none,
    "block_reason": _reason,
    "error": Raw,
}
"""What is made of a field's value: of a string or scalar, or of the bracket that another begins with."""
