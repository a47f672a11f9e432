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
from collections.abc import Mapping
from urllib.parse import unquote

_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_TOKEN = rb"nt_live_[a-z0-9]{16}_[0-9a-f]{64}"
_TOKEN_LENGTH = 8 + 16 + 1 + 64
_token = re.compile(_TOKEN)
_bearer = re.compile(rb"(?i:bearer) +(" + _TOKEN + rb")[ \t]*")
_basic = re.compile(rb"(?i:basic) +([A-Za-z0-9+/]+={0,2})[ \t]*")
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


def present(fields: Mapping[bytes, bytes], raw_query: str) -> str | None:
    """The well-formed token that a request carries, or None: there is none, or it is not usable.

    `fields` are the request's headers by lower-case name, those sent twice combined into one list;
    `raw_query` is its target's query as it came, still encoded. The first carrier that is present decides,
    even when what it holds is malformed or it was sent twice: `Authorization` (Bearer, or Basic with the
    token as password), then `x-goog-api-key`, then `key=` in the query. Source: the contract.
    """
    value = fields.get(b"authorization")
    if value is not None:
        match = _bearer.fullmatch(value)
        return match[1].decode("ascii") if match else _from_basic(value)
    value = fields.get(b"x-goog-api-key")
    if value is not None:
        return _well_formed(value.strip(b" \t"))
    keys = _key_parameter.findall("&" + raw_query)
    if len(keys) != 1 or len(keys[0]) > 3 * _TOKEN_LENGTH:
        return None
    return _well_formed(unquote(keys[0]).encode("utf-8", "replace"))


def _well_formed(text: bytes) -> str | None:
    return text.decode("ascii") if _token.fullmatch(text) else None


def _from_basic(value: bytes) -> str | None:
    match = _basic.fullmatch(value)
    if match is None:
        return None
    try:
        pair = base64.b64decode(match[1], validate=True)
    except binascii.Error:
        return None
    # A user name holds no colon (RFC 7617).
    return _well_formed(pair.partition(b":")[2]) if pair.isascii() else None
