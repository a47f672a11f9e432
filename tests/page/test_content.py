"""What the page says, as a browser shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from playwright.async_api import Page

from gateway.counters.redis import RedisCounters
from gateway.exchange import Ending
from gateway.limits import Level, Limits
from gateway.page import figures, render
from gateway.quota.admission import Estimate
from gateway.quota.rules import rules_for
from gateway.upstreams.target_state import State
from gateway.usage_record import UsageSource
from tests.page.rig import DEFAULTS, NOW, Rig, record, served
from tests.support.identity import issue
from tests.support.ports import refusing_port
from tests.test_target_state import READY

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR, DAY = 3600, 86400
NOTHING = ["0", "0", "0", "0", "$0.00", "0", "0"]
UNKNOWN = {"usage_source": UsageSource.UNKNOWN} | dict.fromkeys(
    ("prompt_tokens", "cached_tokens", "candidates_tokens", "total_tokens", "cost_nanos")
)


async def table(page: Page, caption: str) -> Mapping[str, list[str]]:
    """The rows of a table by their names."""
    rows = await page.get_by_role("table", name=caption).evaluate(
        "table => Array.from(table.tBodies[0].rows, row => Array.from(row.cells, cell => cell.innerText))"
    )
    return {name: [text.replace("\u00a0", " ").strip() for text in cells] for name, *cells in rows}


async def totals(page: Page) -> Mapping[str, str]:
    return {
        await one.locator("dt").inner_text(): (await one.locator("dd").inner_text()).replace("\u00a0", " ")
        for one in await page.locator(".totals div").all()
    }


async def test_a_project_that_used_nothing(rig: Rig, page: Page) -> None:
    await page.goto(rig.url)
    assert await page.title() == "Usage of default · gateway"
    assert await page.get_by_text("Nothing was used in this time.").is_visible()
    assert await page.get_by_text("There are none.").is_visible()
    assert not await page.get_by_text("More was used than these figures show").count()


async def test_upstreams_with_those_that_get_no_requests_first(rig: Rig, page: Page) -> None:
    rig.targets += [
        READY,
        replace(
            READY,
            upstream="vertex",
            key="2",
            state=State.COOLING,
            cause="quota",
            until=NOW + 30,
            in_flight=0,
            requests=1234,
            error_share=0.004,
            first_byte_p50=12.34,
            first_byte_p95=None,
        ),
        replace(READY, upstream="zone", state=State.OUT, cause="key", requests=0, error_share=0.0),
    ]
    await page.goto(rig.url)
    cooling = "cooling down: quota, until 2026-06-18 15:37:30"
    rows = await table(page, "Each key and model by itself")
    assert [(name, *cells) for name, cells in rows.items()] == [
        ("vertex", "2", "gemini-2-5-flash", cooling, "0", "1,234", "<1%", "12.3 s", ""),
        ("zone", "1", "gemini-2-5-flash", "key refused: key", "2", "0", "0%", "0.50 s", "2.00 s"),
        ("studio", "1", "gemini-2-5-flash", "ready", "2", "10", "10%", "0.50 s", "2.00 s"),
    ]
    rig.targets[:] = [replace(READY, key=str(number)) for number in range(1, render.TARGETS + 8)]
    await page.goto(rig.url)
    assert await page.get_by_text("7 more.", exact=True).is_visible()
    rig.targets.clear()
    await page.goto(rig.url)
    assert await page.get_by_text("None was asked yet.").is_visible()


async def test_sums_by_day_and_group(rig: Rig, page: Page) -> None:
    branch = await rig.store.create_branch("default", "preview/x", "main")
    await rig.store.add_usage(
        [
            await record(rig, prompt_tokens=1_000_000, cost_nanos=3_000_000_000),
            await record(rig, time=NOW - 2 * DAY, tool_use_prompt_tokens=7, thoughts_tokens=3),
            await record(rig, time=NOW - 2 * DAY, branch=branch.id, candidates_tokens=5_000, cost_nanos=1),
            await record(rig, time=NOW - 7 * DAY),  # before the first day
        ]
    )
    await page.goto(rig.url + "?period=7d&by=branch")
    assert await totals(page) == {
        "Requests": "3",
        "Input tokens": "1,000,207",
        "Output tokens": "5,023",
        "Cached tokens, part of the input": "120",
        "Metered token spend": "$3.00",
    }
    await page.locator("summary").click()
    assert await table(page, "Usage by day") == {
        "2026-06-12": NOTHING,
        "2026-06-13": NOTHING,
        "2026-06-14": NOTHING,
        "2026-06-15": NOTHING,
        "2026-06-16": ["2", "207", "5,013", "80", "$0.0020", "0", "0"],
        "2026-06-17": NOTHING,
        "2026-06-18": ["1", "1,000,000", "10", "40", "$3.00", "0", "0"],
    }
    (main, other) = (await table(page, "The most expensive first")).items()
    assert main[0].startswith("main br-")
    assert main[1][2:] == ["2", "1,000,107", "23", "80", "$3.00", "0", "0"]
    assert other[0] == f"preview/x {branch.id}"
    assert other[1][2:] == ["1", "100", "5,000", "40", "<$0.0001", "0", "0"]
    names = [await one.get_attribute("aria-label") for one in await page.get_by_role("img").all()]
    assert "tokens: highest 1,000,010, 2026-06-18" in names
    assert "spend: highest <$0.0001, 2026-06-16" in names


async def test_a_day_is_shown_by_hour(rig: Rig, page: Page) -> None:
    await rig.store.add_usage(
        [
            await record(rig, time=NOW - 37 * 60, prompt_tokens=1),  # 15:00 sharp
            await record(rig, time=NOW - 37 * 60 - 0.001, prompt_tokens=20),
            await record(rig, time=NOW - 23 * HOUR, prompt_tokens=300),
            await record(rig, time=NOW - 24 * HOUR, prompt_tokens=4_000),
        ]
    )
    await page.goto(rig.url + "?period=24h&by=upstream")
    await page.locator("summary").click()
    rows = await table(page, "Usage by hour")
    assert len(rows) == 24
    assert {hour: row[1] for hour, row in rows.items() if row[0] != "0"} == {
        "2026-06-17 16:00": "300",
        "2026-06-18 14:00": "20",
        "2026-06-18 15:00": "1",
    }
    assert list(await table(page, "The most expensive first")) == ["studio"]


async def test_what_is_unknown_or_unpriced_is_said_loudly_and_never_zero(rig: Rig, page: Page) -> None:
    await rig.store.add_usage(
        [
            await record(rig, model="known"),
            await record(rig, model="partly"),
            await record(rig, model="partly", **UNKNOWN),
            await record(rig, model="wholly", **UNKNOWN),
            await record(rig, model="unpriced", cost_nanos=None, unpriced=("model",)),
        ]
    )
    await page.goto(rig.url + "?by=model")
    alarm = page.get_by_role("region", name="More was used than these figures show")
    assert "2 of 5 attempts: usage unknown." in await alarm.inner_text()
    assert "1 of 5 attempts: unpriced." in await alarm.inner_text()
    rows = await table(page, "The most expensive first")
    assert {name: row[2:] for name, row in rows.items()} == {
        "known": ["1", "100", "10", "40", "$0.0020", "0", "0"],
        "partly": ["2", "≥ 100", "≥ 10", "≥ 40", "≥ $0.0020", "1", "0"],
        "wholly": ["1", "unknown", "unknown", "unknown", "unknown", "1", "0"],
        "unpriced": ["1", "100", "10", "40", "unknown", "0", "1"],
    }
    assert (await totals(page))["Input tokens"] == "≥ 300"
    assert (await totals(page))["Metered token spend"] == "≥ $0.0040"


async def test_what_is_too_much_to_show_is_added_up(rig: Rig, page: Page) -> None:
    await rig.store.add_usage(
        [await record(rig, model=f"model-{n:02}", cost_nanos=10**9 + n) for n in range(figures.GROUPS + 10)]
    )
    for _ in range(render.CREDENTIALS + 3):
        await issue(rig.store)
    await page.goto(rig.url + "?by=model")
    rows = await table(page, "The most expensive first")
    assert len(rows) == figures.GROUPS + 1
    assert next(iter(rows)) == "model-59"
    assert rows["10 others"][2:] == ["10", "1,000", "100", "400", "$10.00", "0", "0"]
    assert (await totals(page))["Requests"] == "60"
    assert len(await table(page, "Those that work first")) == render.CREDENTIALS
    assert await page.get_by_text("3 more: python -m gateway credentials list").is_visible()


async def test_rates_of_now(rig: Rig, page: Page) -> None:
    await page.goto(rig.url)
    assert await page.get_by_text("The gateway has only just started").is_visible()
    rig.ended(Ending.COMPLETE, 90)
    rig.ended(Ending.TRUNCATED, 3)
    rig.metrics.open_requests = 1_234
    rig.timer.now += 30
    await page.get_by_role("link", name="Refresh").click()
    now = page.get_by_role("region", name="Now, in the whole gateway")
    assert "3.10 requests a second ended over the last 30 s" in await now.inner_text()
    assert "1,234 are open" in await now.inner_text()
    rows = await table(page, "Requests of these 30 s by their ending")
    assert [name.split()[0] for name in rows] == list(Ending)
    assert {name.split()[0]: row for name, row in rows.items() if row[0] != "0"} == {
        "complete": ["90", "3.00"],
        "truncated": ["3", "0.10"],
    }


async def test_limits_and_how_full_they_are(rig: Rig, page: Page) -> None:
    await issue(rig.store)
    (credential,) = await rig.store.credentials("default")
    limits = Limits(spend_per_day_nanos=2_000_000_000)
    await rig.store.set_limits("default", limits, credential=credential.id)
    rules = rules_for(
        {Level.PROJECT: DEFAULTS, Level.CREDENTIAL: limits},
        project_id=credential.project_id,
        branch_id=credential.branch_id,
        credential_id=credential.id,
        model="gemini-of-a-client",
    )
    rig.counters.admit(rules, Estimate(299_999, 500_000_000))
    await rig.store.add_usage([await record(rig, model="gemini-of-a-client")])  # else nobody knows of it
    await issue(rig.store)
    *_, revoked = await rig.store.credentials("default")
    await rig.store.set_limits("default", limits, credential=revoked.id)
    await rig.store.revoke_credential(revoked.id)
    await page.goto(rig.url)
    rows = await table(page, "The fullest first")
    of_project, of_credential = rows.items()
    assert of_project[0] == "tokens per minute, gemini-of-a-client"
    assert of_project[1][0] == f"project default {credential.project_id}"
    assert of_project[1][1:] == ["149%", "299,999", "200,000"]
    assert of_credential[0] == "metered token spend per day"
    assert of_credential[1][0] == f"credential {credential.id}"
    assert of_credential[1][1:] == ["25%", "$0.5000", "$2.00"]


async def test_without_its_counters_the_rest_is_shown(rig: Rig, page: Page) -> None:
    with refusing_port() as port:
        counters = RedisCounters(f"redis://127.0.0.1:{port}")
        async with served(rig.store, counters, rig.metrics, rig.clock, rig.timer) as url:
            response = await page.goto(url)
        await counters.close()
    assert response is not None
    assert response.status == 200
    assert await page.get_by_text("How full the limits are is unknown").is_visible()
    assert await page.get_by_text("There are none.").is_visible()


async def test_credentials_and_their_state(rig: Rig, page: Page) -> None:
    await rig.store.create_branch("default", "preview/x", "main")
    for branch, lifetime in (("main", None), ("preview/x", 60), ("main", None)):
        await issue(rig.store, branch, lifetime=lifetime, scopes=("ai_gateway:invoke", "other"))
    active, expiring, revoked = await rig.store.credentials("default")
    await rig.store.revoke_credential(revoked.id)
    rig.clock.now = active.created + 30
    await page.goto(rig.url)
    caption = "Those that work first, then the newest"
    states = {name: row[0].split()[0] for name, row in (await table(page, caption)).items()}
    assert states == {active.id: "active", expiring.id: "active", revoked.id: "revoked"}
    rig.clock.now = active.created + 61
    await page.goto(rig.url)
    rows = await table(page, caption)
    assert next(iter(rows)) == active.id
    assert {name: row[0].split()[0] for name, row in rows.items()} == {
        active.id: "active",
        expiring.id: "expired",
        revoked.id: "revoked",
    }
    assert rows[expiring.id][1].startswith("preview/x br-")
    assert rows[expiring.id][2].split() == ["ai_gateway:invoke", "other"]
    assert (rows[active.id][3], rows[active.id][5]) == ("service", "never")
    deleted = await rig.store.delete_branch("default", "preview/x")
    await page.goto(rig.url)
    assert (await table(page, caption))[expiring.id][1] == deleted.id
