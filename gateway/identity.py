"""Who asks: from the token that a request carries to the credential behind it, or a refusal.

Nothing here knows where credentials are kept: the server hands in something that can look them up.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from gateway import tokens
from gateway.errors import (
    AUTHORIZATION_UNAVAILABLE,
    CREDENTIAL_INVALID,
    CREDENTIAL_SCOPE,
    GatewayError,
    StoreUnavailable,
)
from gateway.exchange import Principal
from gateway.lookup_cache import LookupCache

SCOPE = "ai_gateway:invoke"
"""The scope without which a credential is none for this gateway."""


class StoredCredential(Protocol):
    """What identity reads of a stored credential; times are seconds since the epoch."""

    @property
    def id(self) -> str: ...
    @property
    def token_hash(self) -> bytes: ...
    @property
    def project_id(self) -> str: ...
    @property
    def branch_id(self) -> str: ...
    @property
    def scopes(self) -> Sequence[str]: ...
    @property
    def expires(self) -> int | None: ...
    @property
    def revoked(self) -> int | None: ...


class CredentialLookup(Protocol):
    """Where credentials are looked up; a store."""

    async def credential(self, credential_id: str) -> StoredCredential | None:
        """The credential with that public id, None if there is none. Raises StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A token found to be right, with what must be asked anew at every request."""

    principal: Principal
    expires: float | None
    in_scope: bool


class Identity:
    """Tells who asks. `clock` ages the store's answers, `wall` (seconds since the epoch) the credentials."""

    def __init__(
        self,
        store: CredentialLookup,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._wall = wall
        self._cache: LookupCache[bytes, _Known] = LookupCache(clock=clock)

    def remembered(self, fields: Mapping[bytes, bytes], raw_query: str) -> Principal | None:
        """The one who sent these header fields and this query; None if the store must be asked.

        See `tokens.present` for both. Raises GatewayError: CREDENTIAL_INVALID or CREDENTIAL_SCOPE.
        """
        token = tokens.present(fields, raw_query)
        if token is None:
            raise GatewayError(CREDENTIAL_INVALID)
        answer = self._cache.fresh(tokens.hash_token(token))
        return None if answer is None else self._judge(answer.value)

    async def authenticate(self, fields: Mapping[bytes, bytes], raw_query: str) -> Principal:
        """The same, asking the store where it must be asked.

        Raises GatewayError: CREDENTIAL_INVALID, CREDENTIAL_SCOPE or AUTHORIZATION_UNAVAILABLE.
        """
        token = tokens.present(fields, raw_query)
        if token is None:
            raise GatewayError(CREDENTIAL_INVALID)
        digest = tokens.hash_token(token)
        try:
            known = await self._cache.get(digest, partial(self._look_up, tokens.token_id(token), digest))
        except StoreUnavailable:
            raise GatewayError(AUTHORIZATION_UNAVAILABLE) from None
        return self._judge(known)

    def _judge(self, known: _Known | None) -> Principal:
        if known is None or (known.expires is not None and known.expires <= self._wall()):
            raise GatewayError(CREDENTIAL_INVALID)
        if not known.in_scope:
            raise GatewayError(CREDENTIAL_SCOPE)
        return known.principal

    async def close(self) -> None:
        """End the look-ups under way; before the store closes."""
        await self._cache.close()

    async def _look_up(self, credential_id: str, digest: bytes) -> _Known | None:
        stored = await self._store.credential(credential_id)
        if stored is None or not hmac.compare_digest(stored.token_hash, digest) or stored.revoked is not None:
            return None
        principal = Principal(stored.id, stored.project_id, stored.branch_id)
        return _Known(principal, stored.expires, SCOPE in stored.scopes)
