"""A real browser without a window: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

from tests.support.machine import left_out

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Whichever Chromium is installed, or the test is left out."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        left_out("no Chromium is installed (scripts/test, as root, installs it)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path)
        try:
            yield browser
        finally:
            await browser.close()
