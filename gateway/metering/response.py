"""The few fields of a response object that the gateway reads, and the decoding of whole documents into them.

Whatever is not named here, `msgspec` skips in C. A field of a type that is not named here makes it give the
document up, which the scanner then reads: so no field can lose the others.
Source: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct

ABSENT: Final = Raw()
"""The value of a field that did not come; compare by identity."""
NO_COUNT: Final = -1
"""The value of a count that did not come."""

_LARGEST_COUNT = 2**53
"""JSON's numbers are exact up to here; no response has so many tokens."""
_COUNT_DIGITS = len(str(_LARGEST_COUNT))
_REASON = re.compile(rb'"[^"]|[1-9][0-9]*\Z')

# Only whole numbers in plain digits: `5.0` and `5e0` are another type to msgspec.
Count = Annotated[int, Meta(ge=0, le=_LARGEST_COUNT)]
# Numbers are what `alt=json;enum-encoding=int` asks for; 0 is the unset value of such an enum.
Reason = str | Annotated[int, Meta(ge=0)] | None


class UsageMetadata(Struct, rename="camel", gc=False):
    """Token counts, in the order of `gateway.exchange.Usage`, which says what they mean."""

    prompt_token_count: Count = NO_COUNT
    cached_content_token_count: Count = NO_COUNT
    candidates_token_count: Count = NO_COUNT
    thoughts_token_count: Count = NO_COUNT
    tool_use_prompt_token_count: Count = NO_COUNT
    total_token_count: Count = NO_COUNT


class Candidate(Struct, rename="camel", gc=False):
    """One of the answers; its content is skipped."""

    finish_reason: Reason = None


class PromptFeedback(Struct, rename="camel", gc=False):
    """Says why a prompt was not answered at all."""

    block_reason: Reason = None


class Response(Struct, rename="camel", gc=False):
    """A `GenerateContentResponse`, or the object of an error, which has `error` alone."""

    usage_metadata: UsageMetadata | None = None
    model_version: str | None = None
    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    error: Raw = ABSENT


decode_object = msgspec.json.Decoder(Response).decode
"""One response. Raises ValueError or RecursionError where `decode` gives None."""
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


def count(spelled: bytes) -> int:
    """A token count as it is spelled; 0 for whatever is no `Count`."""
    if len(spelled) > _COUNT_DIGITS or not spelled.isdigit():
        return 0
    number = int(spelled)
    return number if number <= _LARGEST_COUNT else 0


def is_reason(spelled: bytes) -> bool:
    """Whether a finishReason or blockReason is given, as it is spelled: a `Reason` that is true."""
    return _REASON.match(spelled) is not None
