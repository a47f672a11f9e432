"""Access tokens of Google's cloud, by google-auth: for a service account's key, a workload identity, or from
the metadata server. Everything that asks blocks: it belongs in a thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import described, printable
from gateway.secrets import CREDENTIAL_NAME, credential_file, openly_readable, read_file

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
METADATA = "metadata"
TIMEOUT_SECONDS = 10.0
"""For each single answer of a token endpoint."""
_MAX_FILE_BYTES = 65536
_VALUE = re.compile(r"[!-~]{1,16384}")
_LONG_WORD = re.compile(r"\S{20,}")
_SERVICE_ACCOUNT_FIELDS = ("client_email", "private_key", "token_uri")
_AWS = "urn:ietf:params:aws:token-type:aws4_request"


class TokenUnavailable(Exception):
    """There is no new token now: one line, with nothing in it that could be a credential."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token."""

    value: str = field(repr=False)
    seconds: float
    """How long it is good for, counted from when it came."""


class GoogleCredentials:
    """Where access tokens come from. Two are equal that are the same reference to the same content."""

    __slots__ = ("_content", "_credentials", "path", "reference")

    def __init__(self, reference: str, path: Path | None = None, content: bytes = b"") -> None:
        """From a file's content, or without one the metadata server's. Raises ValueError, quoting nothing."""
        self.reference = reference
        self.path = path
        """The file it was read from, if it was."""
        self._content = content
        self._credentials = _loaded(reference, content) if content else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GoogleCredentials):
            return NotImplemented
        return (self.reference, self._content) == (other.reference, other._content)

    def __hash__(self) -> int:
        return hash((self.reference, self._content))

    def __repr__(self) -> str:
        return f"GoogleCredentials({self.reference})"

    def __reduce__(self) -> tuple[type[GoogleCredentials], tuple[object, ...]]:
        return GoogleCredentials, (self.reference, self.path, self._content)

    @classmethod
    def parse(cls, reference: str, environ: Mapping[str, str], *, read: bool = True) -> GoogleCredentials:
        """From `metadata`, `file:PATH` or `credential:NAME` (systemd's).

        `read=False` checks the reference's form alone. Raises ValueError, which never quotes what a file
        holds, nor a reference that could be a secret.
        """
        if reference == METADATA:
            return cls(reference)
        scheme, _, name = reference.partition(":")
        if scheme == "file" and name:
            path = Path(name)
        elif scheme == "credential" and CREDENTIAL_NAME.fullmatch(name):
            path = credential_file(reference, name, environ) if read else Path()
        else:
            raise ValueError("expected metadata, file:PATH or credential:NAME, not a secret itself")
        if not read:
            return cls(reference)
        content = read_file(reference, path, _MAX_FILE_BYTES + 1)
        if not content or len(content) > _MAX_FILE_BYTES:
            raise ValueError(f"{reference} is {'too large' if content else 'empty'}")
        return cls(reference, path, content)

    def warning(self) -> str | None:
        """What is unsafe about where it is kept, if anything."""
        return openly_readable(self.reference)

    def fetch(self) -> Token:
        """A new token. Blocks, for a minute at worst. Raises TokenUnavailable; RuntimeError if not read."""
        # Here, because they take a quarter of a second that only this kind of upstream needs.
        import requests  # noqa: PLC0415
        from google.auth.exceptions import GoogleAuthError, TransportError  # noqa: PLC0415
        from google.auth.transport.requests import Request  # noqa: PLC0415

        if self._credentials is None:
            if self.reference != METADATA:
                raise RuntimeError(f"{self.reference} was not read by this command")
            self._credentials = _of_metadata_server()
        try:
            with requests.Session() as session:
                self._credentials.refresh(_limited(Request(session)))
        except TransportError as error:
            raise TokenUnavailable(_unreachable(error)) from None
        except GoogleAuthError as error:
            if error.args and isinstance(error.args[0], TransportError):
                raise TokenUnavailable(_unreachable(error.args[0])) from None
            raise TokenUnavailable(_refused(error)) from None
        except Exception as error:  # what an answer of an unexpected form makes of google-auth
            raise TokenUnavailable(f"the answer can't be used: {described(error)}") from None
        return _token(self._credentials)


def _limited(request: Any) -> Callable[..., Any]:
    return partial(request, timeout=TIMEOUT_SECONDS)


def _loaded(reference: str, content: bytes) -> Credentials:
    """By the types one by one, as google-auth advises: a file must not be able to name just any."""
    try:
        info = json.loads(content)
    except (ValueError, RecursionError):
        info = None
    kind = info.get("type") if isinstance(info, dict) else None
    if kind == "service_account":
        return _service_account(reference, info)
    if kind == "external_account":
        return _workload_identity(reference, info)
    raise ValueError(f"{reference} is not the JSON file of a service account or a workload identity")


def _service_account(reference: str, info: dict[str, Any]) -> Credentials:
    from google.oauth2 import service_account  # noqa: PLC0415 - see `fetch`

    if lacking := [name for name in _SERVICE_ACCOUNT_FIELDS if not isinstance(info.get(name), str)]:
        raise ValueError(f"{reference} is a service account's without {', '.join(lacking)}")
    try:
        made: Credentials = service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])
    except Exception:  # cryptography has many ways to refuse a key
        raise ValueError(f"{reference} is a service account's whose private_key can't be used") from None
    return made


def _workload_identity(reference: str, info: dict[str, Any]) -> Credentials:
    from google.auth import aws, identity_pool  # noqa: PLC0415 - see `fetch`

    source = info.get("credential_source")
    if isinstance(source, dict) and "executable" in source:
        raise ValueError(f"{reference} names a program to run, which the gateway does not")
    kind = aws if info.get("subject_token_type") == _AWS else identity_pool
    try:
        made: Credentials = kind.Credentials.from_info(info, scopes=[SCOPE])
    except Exception:  # nothing of the file is checked before it is used
        raise ValueError(f"{reference} is a workload identity's that lacks something, or is wrong") from None
    return made


def _of_metadata_server() -> Credentials:
    from google.auth import compute_engine  # noqa: PLC0415 - see `fetch`

    return compute_engine.Credentials(scopes=[SCOPE])


def _token(credentials: Credentials) -> Token:
    value, expiry = credentials.token, credentials.expiry
    if not isinstance(value, str) or not _VALUE.fullmatch(value) or expiry is None:
        raise TokenUnavailable("the answer has no token, or not how long it is good for")
    seconds = (expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    if seconds <= 0:
        raise TokenUnavailable("the answer's token has ended already")
    return Token(value, seconds)


def _unreachable(error: BaseException) -> str:
    """By the name of what lies at the bottom: the texts above it are long, and quote what was sent."""
    while below := error.__cause__ or error.__context__:
        error = below
    return f"it can't be asked for ({type(error).__name__})"


def _refused(error: Exception) -> str:
    """In Google's words, but for any that could be a credential: an answer may echo what it was sent."""
    text = next((arg for arg in error.args if isinstance(arg, str)), "")
    return f"it is refused: {printable(_LONG_WORD.sub('***', text)) or type(error).__name__}"
