"""Client tokens: making them, hashing them, and finding the one that a request carries. Pure.

A token is `nt_live_<id>_<secret>`: the id is 16 of `[a-z0-9]` and public, the secret 64 lower-case hex
digits (256 random bits). It is shown once and kept nowhere; the store holds the id and `hash_token`'s
result. A fast hash will do, for a random secret of that length can't be guessed from it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from urllib.parse import unquote

from multidict import MultiMapping

_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_TOKEN = r"nt_live_[a-z0-9]{16}_[0-9a-f]{64}"  # noqa: S105 - the form of a token, not one
_TOKEN_LENGTH = 8 + 16 + 1 + 64
_token = re.compile(_TOKEN)
# The scheme ignores case in ASCII alone: in Unicode a long s would pass for the s of Basic.
_bearer = re.compile(rf"(?ai:bearer) +({_TOKEN})[ \t]*")
_basic = re.compile(r"(?ai:basic) +([A-Za-z0-9+/]+={0,2})[ \t]*")
# Anchored on `&`, with one put in front of the query: a literal first character is what makes `re` fast.
_key_parameter = re.compile(r"&(?:k|%6[Bb])(?:e|%65)(?:y|%79)(?:=([^&]*))?(?=&|\Z)")


def new_token() -> str:
    """A token never made before. Its text is the only copy."""
    public = "".join(secrets.choice(_ID_ALPHABET) for _ in range(16))
    return f"nt_live_{public}_{secrets.token_hex(32)}"


def token_id(token: str) -> str:
    """The public id of a well-formed token, 16 characters."""
    return token[8:24]


def hash_token(token: str) -> bytes:
    """SHA-256 of the whole of a well-formed token, 32 bytes: what is stored, and what caches are keyed by."""
    return hashlib.sha256(token.encode("ascii")).digest()


def present(headers: MultiMapping[str], raw_query: str) -> str | None:
    """The well-formed token that a request carries, or None: there is none, or it is not usable.

    `raw_query` is the request target's query as it came, still encoded. The first carrier that is present
    decides, even when what it holds is malformed or it was sent twice: `Authorization` (Bearer, or Basic
    with the token as password), then `x-goog-api-key`, then `key=` in the query. Source: the contract.
    """
    values = headers.getall("Authorization", None)
    if values is not None:
        return _authorization(values[0]) if len(values) == 1 else None
    values = headers.getall("x-goog-api-key", None)
    if values is not None:
        return _well_formed(values[0].strip(" \t")) if len(values) == 1 else None
    keys = _key_parameter.findall("&" + raw_query)
    if len(keys) != 1 or len(keys[0]) > 3 * _TOKEN_LENGTH:
        return None
    return _well_formed(unquote(keys[0]))


def _well_formed(text: str) -> str | None:
    return text if _token.fullmatch(text) else None


def _authorization(value: str) -> str | None:
    if match := _bearer.fullmatch(value):
        return match[1]
    match = _basic.fullmatch(value)
    if match is None:
        return None
    try:
        pair = base64.b64decode(match[1], validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return _well_formed(pair.partition(":")[2])  # a user name holds no colon (RFC 7617)
