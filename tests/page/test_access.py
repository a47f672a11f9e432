"""Everybody can use it: by keyboard, on a narrow screen, in both colour schemes, with a screen reader."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

from gateway.page.periods import Period
from tests.page.demo import fill
from tests.page.rig import Rig, record, running_page

pytestmark = pytest.mark.asyncio(loop_scope="module")

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
WIDTHS = (320, 360, 768, 1119, 1121, 1280, 1920)

CONTRAST = """
    (pairs) => {
        const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
        const luminance = color => {
            canvas.fillStyle = color;
            canvas.fillRect(0, 0, 1, 1);
            const [r, g, b] = Array.from(canvas.getImageData(0, 0, 1, 1).data, value => {
                const part = value / 255;
                return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ratio = (one, other) => {
            const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
            return (high + 0.05) / (low + 0.05);
        };
        const page = getComputedStyle(document.body).backgroundColor;
        return pairs.map(([selector, property]) =>
            [selector, ratio(getComputedStyle(document.querySelector(selector))[property], page)]);
    }
"""
"""Of pairs of a selector and a property, the contrast of that colour to the page (WCAG 2.2)."""
GRAPHICS = [
    ["path.input", "fill"],
    ["path.output", "fill"],
    ["path.spend", "fill"],
    ["svg.trend.input", "fill"],
    ["svg.trend.spend", "fill"],
    ["rect.input", "fill"],
    ["svg.fill", "borderTopColor"],
    ["i.input", "backgroundColor"],
    ["i.output", "backgroundColor"],
    ["nav a", "borderTopColor"],
    [".alarm", "borderTopColor"],
]
AXE = {"resultTypes": ["violations", "incomplete"], "rules": {"target-size": {"enabled": True}}}
FOCUS = """
    () => {
        const one = document.activeElement, style = getComputedStyle(one);
        const width = parseFloat(style.outlineWidth);
        return [one.innerText.trim(), one.getAttribute("href"), style.outlineStyle, width];
    }
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a page that shows something in each of its parts."""
    async with running_page(tmp_path_factory.mktemp("demo")) as rig:
        await fill(rig)
        yield rig.url


async def open_demo(browser: Browser, url: str, scheme: Scheme, width: int) -> Page:
    context = await browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    page = await context.new_page()
    await page.goto(url + "?period=7d&by=credential")
    await page.locator("summary").click()
    return page


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_no_rule_of_accessibility_is_broken(demo: str, browser: Browser, scheme: Scheme) -> None:
    for width in (360, 1280):
        page = await open_demo(browser, demo, scheme, width)
        found = (await Axe().run(page, options=AXE)).response
        assert _broken(found["violations"]) == []
        # What axe could not compute: nothing.
        assert _broken(found["incomplete"]) == []
        assert {"color-contrast", "target-size"} < {rule["id"] for rule in found["passes"]}
        await page.context.close()


def _broken(rules: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(rule["id"], node["html"]) for rule in rules for node in rule["nodes"]]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_bars_and_borders_stand_out(demo: str, browser: Browser, scheme: Scheme) -> None:
    page = await open_demo(browser, demo, scheme, 1280)
    ratios = await page.evaluate(CONTRAST, GRAPHICS)
    assert {selector: ratio for selector, ratio in ratios if ratio < 3} == {}
    dark = (await page.evaluate(CONTRAST, [["body", "color"]]))[0][1] > 7
    assert dark
    background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    await page.context.close()


async def test_the_keyboard_reaches_everything_in_order_and_one_sees_where_it_is(
    rig: Rig, page: Page
) -> None:
    await rig.store.add_usage([await record(rig)])
    await rig.store.create_project("second")
    await page.goto(rig.url)
    expected = await page.evaluate(
        """Array.from(document.querySelectorAll("a, summary"),
            one => [one.innerText.trim(), one.getAttribute("href")])"""
    )
    assert [text for text, _ in expected] == [
        "Skip to the figures",
        "Refresh",
        "default",
        "second",
        "24 hours",
        "7 days",
        "30 days",
        "branch",
        "credential",
        "model",
        "upstream",
        "The same in numbers",
    ]
    reached = []
    for _ in expected:
        await page.keyboard.press("Tab")
        text, link, style, width = await page.evaluate(FOCUS)
        reached.append([text, link])
        assert (style, width >= 2) == ("solid", True)
        assert (await page.evaluate(CONTRAST, [[":focus", "outlineColor"]]))[0][1] >= 3
    assert reached == expected
    assert not await page.get_by_role("table", name="Usage by day").is_visible()
    await page.keyboard.press("Enter")
    assert await page.get_by_role("table", name="Usage by day").is_visible()


async def test_the_first_link_leads_past_the_others(demo: str, page: Page) -> None:
    await page.goto(demo)
    await page.keyboard.press("Tab")
    box = await page.get_by_role("link", name="Skip to the figures").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    assert (await page.evaluate(FOCUS))[0] == "The same in numbers"


async def test_choices_are_links_that_keep_each_other(rig: Rig, page: Page) -> None:
    await rig.store.create_project("second/one")
    await page.goto(rig.url)
    await page.get_by_role("link", name="30 days").click()
    await page.get_by_role("link", name="model", exact=True).click()
    await page.get_by_role("link", name="second/one").click()
    assert page.url == rig.url + "?project=second%2Fone&period=30d&by=model"
    current = await page.locator("a[aria-current=true]").all_inner_texts()
    assert current == ["second/one", Period.MONTH.words, "model"]
    await page.get_by_role("link", name="Refresh").click()
    assert page.url == rig.url + "?project=second%2Fone&period=30d&by=model"


@pytest.mark.parametrize("width", WIDTHS)
async def test_no_screen_is_too_narrow(demo: str, browser: Browser, width: int) -> None:
    page = await open_demo(browser, demo, "light", width)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    # Nor is anything cut off on the right.
    beyond = await page.evaluate(
        """Array.from(document.querySelectorAll("main *, header *"))
            .filter(one => one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML)"""
    )
    assert beyond == []
    await page.context.close()


async def test_tables_stay_tables_on_a_narrow_screen(demo: str, browser: Browser) -> None:
    wide = await _table_roles(await open_demo(browser, demo, "light", 1280))
    assert wide["table"] == 5
    assert {"row", "rowheader", "columnheader", "cell"} < set(wide)
    narrow = await _table_roles(await open_demo(browser, demo, "light", 360))
    assert narrow == wide


async def _table_roles(page: Page) -> Counter[str]:
    """How many there are of each in what the browser tells screen readers; the page is closed."""
    session = await page.context.new_cdp_session(page)
    nodes = (await session.send("Accessibility.getFullAXTree"))["nodes"]
    await page.context.close()
    roles = (node["role"]["value"] for node in nodes if not node["ignored"])
    return Counter(role for role in roles if role in ("table", "row", "rowheader", "columnheader", "cell"))


async def test_a_chart_has_its_text(demo: str, page: Page) -> None:
    await page.goto(demo)
    tree = await page.locator("figure").first.aria_snapshot()
    assert re.search(
        r'img "Tokens by day From 2026-06-12 to 2026-06-18: [\d,]+ in all, at most [\d,]+, on', tree
    )
