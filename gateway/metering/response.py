"""The few fields of a response object that the gateway reads, and the decoding of whole documents into them.

Whatever is not named here, `msgspec` skips in C. A field of a type that is not named here makes it give the
document up, which the scanner then reads: so no field can lose the others.
Source: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct

from gateway.token_usage import Tokens, Usage

ABSENT: Final = Raw()
"""The value of a field that did not come; compare by identity."""
NO_COUNT: Final = -1
"""The value of a count that did not come."""
KEPT_MODALITIES: Final = 8
"""How many of the counts by modality are kept of each kind: more than there are modalities."""

# Of an enumeration. Numbers are what `alt=json;enum-encoding=int` asks for; 0 is the unset one.
Member = str | Annotated[int, Meta(ge=0)] | None


class Counts(Struct, rename="camel", gc=False, omit_defaults=True):
    """The counts of `gateway.token_usage.Usage`, from which it can be told whether there is one.

    Only whole numbers in plain digits are counts: `5.0` and `5e0` are another type to msgspec.
    """

    prompt_token_count: Tokens = NO_COUNT
    cached_content_token_count: Tokens = NO_COUNT
    candidates_token_count: Tokens = NO_COUNT
    thoughts_token_count: Tokens = NO_COUNT
    tool_use_prompt_token_count: Tokens = NO_COUNT
    total_token_count: Tokens = NO_COUNT


class ModalityCount(Struct, rename="camel", gc=False, omit_defaults=True):
    """How many of the tokens are of one modality."""

    modality: Member = None
    token_count: Tokens = 0


class UsageMetadata(Counts, rename="camel", gc=False, omit_defaults=True):
    """All that a report of usage says."""

    prompt_tokens_details: list[ModalityCount] | None = None
    cache_tokens_details: list[ModalityCount] | None = None
    candidates_tokens_details: list[ModalityCount] | None = None
    tool_use_prompt_tokens_details: list[ModalityCount] | None = None
    traffic_type: Member = None
    service_tier: Member = None


class GroundingChunk(Struct, rename="camel", gc=False):
    """Something that the answer rests on."""

    maps: Raw = ABSENT
    retrieved_context: Raw = ABSENT


class GroundingMetadata(Struct, rename="camel", gc=False):
    """What the answer rests on, and what was searched for it."""

    web_search_queries: Raw = ABSENT
    image_search_queries: Raw = ABSENT
    grounding_chunks: list[GroundingChunk] | None = None


class Candidate(Struct, rename="camel", gc=False):
    """One of the answers; its content is skipped."""

    finish_reason: Member = None
    grounding_metadata: GroundingMetadata | None = None


class PromptFeedback(Struct, rename="camel", gc=False):
    """Says why a prompt was not answered at all."""

    block_reason: Member = None


class Response(Struct, rename="camel", gc=False):
    """A `GenerateContentResponse`, or the object of an error, which has `error` alone."""

    usage_metadata: Raw = ABSENT
    """Of a whole stream only the last one is decoded."""
    model_version: str | None = None
    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    error: Raw = ABSENT


decode_object = msgspec.json.Decoder(Response).decode
"""One response. Raises ValueError or RecursionError where `decode` gives None."""
NOTHING_COUNTED: Final = Counts()
decode_counts = msgspec.json.Decoder(Counts).decode
"""Of a report, whether it has counts. This and the next two raise ValueError on a value of another type."""
decode_usage = msgspec.json.Decoder(Usage).decode
"""The counts of a report."""
decode_metadata = msgspec.json.Decoder(UsageMetadata).decode
"""All of a report."""
encode_metadata = msgspec.json.Encoder().encode
_decode_array = msgspec.json.Decoder(list[Response]).decode


def decode(document: bytes) -> list[Response] | None:
    """The response, or array of them, that is the whole document; None where the scanner must look instead.

    That is: the document is not JSON, is nested deeper than Python recurses, or has a value of another type
    than `Response` names.
    """
    try:
        return [decode_object(document)]
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        pass
    try:
        return _decode_array(document)
    except (ValueError, RecursionError):
        return None
