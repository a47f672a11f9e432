"""Secrets planted in a run, in every form in which they could come to light, and the search for them."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

TOKEN_ID = slice(8, 24)
"""Of a token: its public part, which may be told."""


def parts(secret: str) -> Iterator[str]:
    """The secret part of a token, or of a key; and its halves, since a log line may have been cut."""
    kept = secret.rpartition("_")[2] if secret.startswith("nt_live_") else secret
    yield kept
    yield kept[: len(kept) // 2]
    yield kept[len(kept) // 2 :]


def forms(secret: str) -> Iterator[bytes]:
    """Bytes that give the secret away, in lower case."""
    for part in parts(secret):
        raw = part.encode("ascii")
        yield raw
        yield raw.hex().encode()
        yield "".join(f"%{byte:02x}" for byte in raw).encode()
        yield raw.replace(b"_", b"%5f").replace(b"-", b"%2d").replace(b".", b"%2e")
        yield raw[::-1]
        for offset in range(3):  # inside a Basic credential it begins anywhere in a group of three bytes
            encoded = base64.b64encode(bytes(offset) + raw)
            yield encoded[4:-4]
            yield base64.urlsafe_b64encode(bytes(offset) + raw)[4:-4]


class Planted:
    """Everything that must not be found."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms = {form.lower(): secret[:12] for secret in secrets for form in forms(secret)}
        assert min(map(len, self._forms)) >= 16, "too short a form would be found by chance"

    def found_in(self, text: bytes) -> set[str]:
        """How each secret begins that the text gives away."""
        lower = text.lower()
        return {begins for form, begins in self._forms.items() if form in lower}


def processes(root: int) -> list[int]:
    """That process and all that descend from it."""
    children = [int(pid) for pid in Path(f"/proc/{root}/task/{root}/children").read_text().split()]
    return [root, *(found for child in children for found in processes(child))]


def process_traces(pid: int) -> Iterator[tuple[str, bytes]]:
    """What the system tells everybody, and the operator, of a process: titles, arguments, environment."""
    for name in ("cmdline", "environ", "comm", "status"):
        yield f"/proc/{name}", Path(f"/proc/{pid}/{name}").read_bytes()
    for task in os.listdir(f"/proc/{pid}/task"):
        yield "a thread's name", Path(f"/proc/{pid}/task/{task}/comm").read_bytes()
    yield "ps", subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, check=True).stdout


def files(directory: Path, besides: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Every file below a directory but those named."""
    left_out = set(besides)
    for file in sorted(directory.rglob("*")):
        if file.is_file() and file not in left_out:
            yield file.name, file.read_bytes()
