"""What a value means that is here as it is spelled: what decoding would make of it, or nothing."""

from __future__ import annotations

import re

import msgspec

from gateway.metering.lexer import TOKEN_BYTES
from gateway.token_usage import LARGEST_COUNT

MEMBER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
"""What a member of an enumeration may be called; another name is none."""

_COUNT_DIGITS = len(str(LARGEST_COUNT))
_REASON = re.compile(rb'"[^"]|[1-9][0-9]*\Z')


def count(spelled: bytes) -> int:
    """A token count; 0 for whatever is none."""
    if len(spelled) > _COUNT_DIGITS or not spelled.isdigit():
        return 0
    number = int(spelled)
    return number if number <= LARGEST_COUNT else 0


def is_reason(spelled: bytes) -> bool:
    """Whether a finishReason or blockReason is given: a text that is not empty, or a number above 0."""
    return _REASON.match(spelled) is not None


def text(spelled: bytes) -> str | None:
    """What a string says; None if it is none, too long to be wanted, or broken."""
    if not spelled.startswith(b'"') or len(spelled) > TOKEN_BYTES + 2:
        return None
    try:
        return msgspec.json.decode(spelled, type=str)
    except ValueError:
        return None


def member(spelled: bytes) -> str | int | None:
    """A member of an enumeration, by name or number; None for whatever is none."""
    if not spelled.startswith(b'"'):
        return count(spelled)
    name = text(spelled)
    return name if name and MEMBER_NAME.fullmatch(name) else None
