"""Takes the screenshot that the README shows: `python -m tests.page.screenshot docs/usage.png`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.page.browser import running_browser
from tests.page.demo import fill
from tests.page.rig import running_page

SIZE = (1200, 1140)
"""Pixels: width, height."""


async def take(png: Path) -> None:
    """Write it there."""
    with TemporaryDirectory() as directory:
        async with running_page(Path(directory)) as rig, running_browser() as browser:
            await fill(rig)
            page = await browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
            await page.goto(rig.url + "?period=30d&by=branch")
            await page.screenshot(path=png)


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1])))
