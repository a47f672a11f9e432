"""The few fields of a response object that the gateway reads, and the decoding of whole documents into them.

Whatever is not named here, `msgspec` skips in C. A value that may be of any type is kept as it is spelled
(`Raw`) and judged by its spelling, so that a field of a wrong type can't lose the others.
Source: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw, Struct

ABSENT: Final = Raw()
"""The value of a field that did not come; compare by identity."""

_LARGEST_COUNT = 2**53
"""JSON's numbers are exact up to here; no response has so many tokens."""
_COUNT_DIGITS = len(str(_LARGEST_COUNT))
_REASON = re.compile(rb'"[^"]|[1-9][0-9]*\Z')


class UsageMetadata(Struct, rename="camel", gc=False):
    """Token counts as they are spelled; see `gateway.exchange.Usage` for what they mean."""

    prompt_token_count: Raw = ABSENT
    cached_content_token_count: Raw = ABSENT
    candidates_token_count: Raw = ABSENT
    thoughts_token_count: Raw = ABSENT
    tool_use_prompt_token_count: Raw = ABSENT
    total_token_count: Raw = ABSENT


class Candidate(Struct, rename="camel", gc=False):
    """One of the answers; its content is skipped."""

    finish_reason: Raw = ABSENT


class PromptFeedback(Struct, rename="camel", gc=False):
    """Says why a prompt was not answered at all."""

    block_reason: Raw = ABSENT


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
    document = document.lstrip()
    try:
        return _decode_array(document) if document.startswith(b"[") else [decode_object(document)]
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def count(spelled: Raw) -> int:
    """A token count; 0 for whatever is no whole number from 0 to 2**53 in plain digits."""
    if spelled is ABSENT:
        return 0
    digits = bytes(spelled)
    if len(digits) > _COUNT_DIGITS or not digits.isdigit():
        return 0
    number = int(digits)
    return number if number <= _LARGEST_COUNT else 0


def is_reason(spelled: Raw) -> bool:
    """Whether a finishReason or blockReason is given: a string with something in it, or a number from 1.

    Numbers are what `alt=json;enum-encoding=int` asks for; 0 is the unset value of such an enum.
    """
    return _REASON.match(spelled) is not None
