"""The README's screenshot can be taken anew."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.page.screenshot import SIZE, take
from tests.support.machine import PROJECT


async def test_the_screenshot_is_small_and_of_this_page(tmp_path: Path) -> None:
    await take(tmp_path / "usage.png")
    for path in (tmp_path / "usage.png", PROJECT / "docs" / "usage.png"):
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert struct.unpack(">II", content[16:24]) == SIZE
        assert 20_000 < len(content) <= 200_000
