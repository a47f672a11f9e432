"""What is in a spool, as a reader would find it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.ledger.segments import claimed, listed, read_lines
from gateway.usage_record import UsageRecord


def finished(folder: Path, *, delete: bool = False) -> list[UsageRecord]:
    """The records of all files that are finished, in order; `delete` leaves those files no longer there."""
    found: list[UsageRecord] = []
    for path, _ in listed(folder) if folder.exists() else ():
        with claimed(path) as descriptor:
            if descriptor is not None:
                found += msgspec.json.Decoder(UsageRecord).decode_lines(read_lines(descriptor))
                if delete:
                    path.unlink()
    return found


def on_disk(folder: Path) -> int:
    """How many whole lines there are, in files under way, too."""
    return sum(path.read_bytes().count(b"\n") for path, _ in listed(folder)) if folder.exists() else 0
