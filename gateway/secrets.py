"""Secrets: a value that never shows itself, and the references by which a configuration names one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_VALUE = re.compile(rb"[!-~]+")
_MAX_BYTES = 16384  # what fits into a request header


class Secret:
    """A secret and the reference it came from. `repr` and `str` hide it; only `reveal` tells it.

    Two are equal that came from the same place with the same value.
    """

    __slots__ = ("_value", "path", "reference")

    def __init__(self, value: str | None, reference: str, path: Path | None = None) -> None:
        self._value = value
        self.reference = reference
        self.path = path
        """The file it was read from, if it was."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return (self._value, self.reference) == (other._value, other.reference)

    def __hash__(self) -> int:
        return hash((self._value, self.reference))

    def reveal(self) -> str:
        """The secret: visible ASCII characters, at least one. RuntimeError if it was left unread."""
        if self._value is None:
            raise RuntimeError(f"the secret {self.reference} was not read by this command")
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    @classmethod
    def parse(cls, reference: str, environ: Mapping[str, str], *, read: bool = True) -> Secret:
        """The secret that `env:NAME`, `file:PATH` or `credential:NAME` (systemd's) refers to.

        `read=False` checks the reference's form alone. Raises ValueError, which never quotes the secret,
        nor a reference that could be one.
        """
        scheme, _, name = reference.partition(":")
        path = value = None
        if scheme == "env" and _VARIABLE.fullmatch(name):
            value = _from_environment(name, environ) if read else None
        elif scheme == "file" and name:
            path = Path(name)
        elif scheme == "credential" and CREDENTIAL_NAME.fullmatch(name):
            path = credential_file(reference, name, environ) if read else None
        else:
            raise ValueError("expected env:NAME, file:PATH or credential:NAME, not a secret itself")
        if path and read:
            # Of one that is too long a byte is left that makes it so, after its line end is gone.
            value = read_file(reference, path, _MAX_BYTES + 3).removesuffix(b"\n").removesuffix(b"\r")
        if value is None:
            return cls(None, reference)
        if not value:
            raise ValueError(f"{reference} is empty")
        if not _VALUE.fullmatch(value) or len(value) > _MAX_BYTES:
            raise ValueError(f"{reference} holds something other than one line of visible ASCII characters")
        return cls(value.decode("ascii"), reference, path)

    def warning(self) -> str | None:
        """What is unsafe about where it is kept, if anything."""
        return openly_readable(self.reference)


def openly_readable(reference: str) -> str | None:
    """What is unsafe about the file that a reference names, if it names one and anything is."""
    scheme, _, name = reference.partition(":")
    if scheme == "file" and Path(name).stat().st_mode & 0o004:
        return f"{reference} can be read by every user of this machine"
    return None


def _from_environment(name: str, environ: Mapping[str, str]) -> bytes:
    value = environ.get(name)
    if value is None:
        raise ValueError(f"env:{name} is not set")
    return value.encode("utf-8", "surrogateescape")


def credential_file(reference: str, name: str, environ: Mapping[str, str]) -> Path:
    """The file of systemd's credential with that name. Raises ValueError."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise ValueError(f"{reference} needs CREDENTIALS_DIRECTORY, which systemd sets for a service")
    return Path(folder, name)


def read_file(reference: str, path: Path, limit: int) -> bytes:
    """What a secret's file holds, of at most so many bytes. Raises ValueError, naming the reference."""
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise ValueError(f"{reference} cannot be read: {error.strerror}") from None
