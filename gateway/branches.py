"""Which branch a request is for: the form of its host, then whether the credential is good there.

A credential is good on the branch it is anchored to and on every descendant, so the question is whether
its anchor stands in the lineage of the host's branch. Ids are unique over all projects: a branch of another
project has another lineage, and needs no check of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from gateway.errors import (
    AUTHORIZATION_UNAVAILABLE,
    BRANCH_NOT_FOUND,
    CREDENTIAL_BRANCH,
    HOST_MALFORMED,
    HOST_UNTRUSTED,
    GatewayError,
    Refusal,
    StoreUnavailable,
    printable,
)
from gateway.exchange import Principal
from gateway.lookup_cache import LookupCache

_DEFAULT = ""  # the label that stands for the default branch; no host has it
# A DNS label has at most 63 characters, `-api` included.
_label = re.compile(r"([a-z0-9](?:[a-z0-9-]{0,57}[a-z0-9])?)-api")
_port = re.compile(r"[0-9]{0,5}")


class BranchLookup(Protocol):
    """Where branches are looked up; a store. Both raise StoreUnavailable."""

    async def lineage(self, branch_id: str) -> Sequence[str] | None:
        """The ids of a branch, its parent, and so on up to the root; None if there is no such branch."""

    async def default_lineage(self, reference: str) -> Sequence[str] | None:
        """The same for a branch of the project `default`, by name or id."""


class Branches:
    """Resolves hosts to branches. `default` is the name or id of the branch meant where hosts name none.

    `trusted_suffixes` are what may follow the first label of a host, e.g. `.ai.example.com` (the leading
    dot may be missing); with none, every host means the default branch.
    """

    def __init__(
        self,
        store: BranchLookup,
        *,
        default: str,
        trusted_suffixes: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._default = default
        self._suffixes = frozenset(suffix.strip(".").lower() for suffix in trusted_suffixes)
        self._cache: LookupCache[str, Sequence[str]] = LookupCache(clock=clock)

    @property
    def named_by_host(self) -> bool:
        """Whether a host names a branch; otherwise every host means the default one."""
        return bool(self._suffixes)

    def label(self, host: str) -> str:
        """What a host (as in the Host header, with or without port) names: for `authorize`, not to be shown.

        Looks at the form alone. Raises GatewayError: HOST_UNTRUSTED or HOST_MALFORMED.
        """
        if not self._suffixes:
            return _DEFAULT
        name, _, port = host.partition(":")
        first, _, rest = name.removesuffix(".").lower().partition(".")
        # In Unicode other letters have ASCII ones as their lower case, so those are kept out before.
        if rest not in self._suffixes or not name.isascii():
            raise GatewayError(HOST_UNTRUSTED, {"host": printable(host)})
        match = _label.fullmatch(first)
        if match is None or not _port.fullmatch(port):
            raise GatewayError(HOST_MALFORMED, {"host": printable(host)})
        return match[1]

    def remembered(self, principal: Principal, label: str) -> str | None:
        """The id of the branch that `label` names, given that the principal is good there.

        None if the store must be asked. Raises GatewayError: BRANCH_NOT_FOUND or CREDENTIAL_BRANCH.
        """
        answer = self._cache.fresh(label)
        return None if answer is None else _judge(principal, label, answer.value)

    async def authorize(self, principal: Principal, label: str) -> str:
        """The same, asking the store where it must be asked.

        Raises GatewayError: BRANCH_NOT_FOUND, CREDENTIAL_BRANCH or AUTHORIZATION_UNAVAILABLE.
        """
        try:
            lineage = await self._cache.get(label, partial(self._look_up, label))
        except StoreUnavailable:
            raise GatewayError(AUTHORIZATION_UNAVAILABLE) from None
        return _judge(principal, label, lineage)

    async def close(self) -> None:
        """End the look-ups under way; before the store closes."""
        await self._cache.close()

    async def _look_up(self, label: str) -> Sequence[str] | None:
        if label == _DEFAULT:
            return await self._store.default_lineage(self._default)
        return await self._store.lineage(label)


def _judge(principal: Principal, label: str, lineage: Sequence[str] | None) -> str:
    if lineage is None:
        raise _refused(BRANCH_NOT_FOUND, label)
    if principal.branch_id not in lineage:
        raise _refused(CREDENTIAL_BRANCH, label)
    return lineage[0]


def _refused(refusal: Refusal, label: str) -> GatewayError:
    # What the client itself named; the default branch's id is not for those who may not use it.
    return GatewayError(refusal, {} if label == _DEFAULT else {"branch": label})
