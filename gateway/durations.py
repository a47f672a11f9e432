"""Lengths of time as people write them: `30d`. Pure."""

from __future__ import annotations

import re

FORM = "[1-9][0-9]{0,9}[smhdw]"
_FORM = re.compile(FORM)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def seconds(text: str) -> int | None:
    """Of a number with s, m, h, d or w behind it; None where this is something else."""
    return int(text[:-1]) * _UNIT_SECONDS[text[-1]] if _FORM.fullmatch(text) else None
