"""Nothing on the page can do anything: no script runs, nothing is loaded, names stay text."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from gateway.limits import Limits
from gateway.stores.rows import PrincipalType
from tests.page.demo import fill
from tests.page.rig import Rig, record

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = (
    "<script>globalThis.caught = 1</script>",
    "<img src=x onerror='globalThis.caught = 2'>",
    '"><svg onload=globalThis.caught=3>',
    "' autofocus onfocus='globalThis.caught=4' x='",
    "</bdi></th></table></style><script>globalThis.caught = 5</script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:globalThis.caught=6",
    "&lt;b&gt; &amp; \\u003cb>",
    "\u05e9\u05dc\u05d5\u05dd a\u0300\u0301\u0302\u0303 \u0627",
    "w" * 128,
)
SPY = """
    globalThis.violations = [];
    document.addEventListener("securitypolicyviolation", event => violations.push(event.violatedDirective));
"""


class Watched:
    """A tab, and everything that it wanted, got and complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.answers: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("response", lambda response: self.answers.append(response.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))

    async def violations(self) -> list[str]:
        """Directives of the policy that something went against."""
        found: list[str] = await self.page.evaluate("globalThis.violations")
        return found


@pytest.fixture
def watched(page: Page) -> Watched:
    return Watched(page)


async def test_it_loads_nothing_but_itself_and_the_console_stays_empty(rig: Rig, watched: Watched) -> None:
    await fill(rig)
    await watched.page.add_init_script(SPY)
    for query in ("?period=30d&by=model", "?period=1y"):
        watched.requests.clear()
        await watched.page.goto(rig.url + query, wait_until="networkidle")
        assert [url for url in watched.requests if not url.startswith("data:")] == [rig.url + query]
        assert await watched.violations() == []
    # Of the answer 400 itself Chromium tells; that it does so shows that somebody listens here.
    assert watched.complaints == [
        "Failed to load resource: the server responded with a status of 400 (Bad Request)"
    ]


async def test_what_would_get_in_is_held_back_by_the_policy(rig: Rig, watched: Watched) -> None:
    await watched.page.add_init_script(SPY)
    await watched.page.goto(rig.url)
    await watched.page.evaluate(
        """() => {
            document.body.insertAdjacentHTML("beforeend", `
                <img src=/elsewhere.png><iframe src=/healthz></iframe>
                <img src=x onerror="globalThis.caught = 1">
                <p style="color: red"><form action=/api><input name=a></form>`);
            const script = document.createElement("script");
            script.textContent = "globalThis.caught = 2";
            document.body.append(script);
            document.querySelector("form").submit();
        }"""
    )
    # Not by wait_for_function, which evaluates a text in the page where it has to look a second time.
    await watched.page.evaluate(
        """() => new Promise(done => {
            const look = () => violations.length >= 7 ? done() : setTimeout(look, 10);
            look();
        })"""
    )
    assert set(await watched.violations()) == {
        "img-src",
        "script-src-elem",
        "script-src-attr",
        "style-src-attr",
        "frame-src",
        "form-action",
    }
    assert await watched.page.evaluate("globalThis.caught") is None
    assert watched.answers == [rig.url]


async def test_names_that_somebody_chose_stay_text(rig: Rig, watched: Watched) -> None:
    records = []
    for number, name in enumerate(HOSTILE):
        credential_id = f"{number:016}"
        await rig.store.create_credential(
            "default",
            "main",
            credential_id=credential_id,
            token_hash=bytes([number]) * 32,
            name=name,
            principal_type=PrincipalType.USER,
            scopes=("ai_gateway:invoke",),
            lifetime=None,
        )
        await rig.store.set_limits("default", Limits(requests_per_minute=9), credential=credential_id)
        records.append(await record(rig, credential=credential_id, model=name, upstream=name, branch=name))
    await rig.store.add_usage(records)
    await watched.page.add_init_script(SPY)
    for by, tables in (("credential", 3), ("model", 3), ("upstream", 3), ("branch", 3)):
        await watched.page.goto(f"{rig.url}?by={by}", wait_until="networkidle")
        shown = await watched.page.locator("bdi").all_inner_texts()
        for name in HOSTILE:
            assert shown.count(name) >= tables
        assert (
            await watched.page.locator("script, img, iframe, [onload], [onfocus], [autofocus]").count() == 0
        )
        assert await watched.page.evaluate("globalThis.caught") is None
        assert await watched.violations() == []
        assert await watched.page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert watched.complaints == []
