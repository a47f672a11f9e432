"""A gateway as an operator runs it tells what was used, to the token: by command, API and page."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from html import unescape
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.service.rig import DEADLINE, metric, running
from tests.service.usage_rig import MODELS, Traffic, told
from tests.service.worker_rig import total
from tests.support.eventually import eventually
from tests.support.gateway import Gateway
from tests.support.raw_upstream import RawUpstream
from tests.support.recorded import recorded_exchanges

TOKEN = "an-admin-token-of-the-usage-tests"
USAGE = "/api/v2/projects/default/usage?by=model"


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture
def upstream(traffic: Traffic) -> Iterator[RawUpstream]:
    with RawUpstream(forgetful=True) as running:
        running.answer_always(traffic.answer)
        yield running


def ask_admin(gateway: Gateway, path: str, authorization: str) -> str:
    """The body of an answer with status 200."""
    address = urlsplit(gateway.admin_url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=DEADLINE)
    try:
        connection.request("GET", path, headers={"Authorization": authorization})
        reply = connection.getresponse()
        body = reply.read().decode()
        assert reply.status == 200, body
        return body
    finally:
        connection.close()


def by_page(gateway: Gateway) -> dict[str, list[str]]:
    """What the page shows of each model: requests, input, output and cached tokens, usage unknown."""
    password = base64.b64encode(f"me:{TOKEN}".encode()).decode()
    page = ask_admin(gateway, "/usage?period=7d&by=model", f"Basic {password}")
    groups = page.split('<section aria-labelledby="groups">')[1].split("</section>")[0]
    shown = {}
    for model, cells in re.findall(
        r'<th scope="row">\s*<code><bdi>(.*?)</bdi></code>\s*</th>(.*?)</tr>', groups, re.DOTALL
    ):
        values = {
            column: unescape(re.sub(r"<[^>]*>", "", text)).strip().removeprefix("≥\u00a0")
            for column, text in re.findall(r'<td data-column="(.*?)"[^>]*>(.*?)</td>', cells, re.DOTALL)
        }
        names = ("Requests", "Input tokens", "Output tokens", "Cached tokens", "Usage unknown")
        shown[model] = [values[name] for name in names]
    return shown


def on_page(sums: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """What it is to show."""
    names = ("requests", "input_tokens", "output_tokens", "cached_tokens", "unknown_usage")
    return {model: [f"{of[name]:,}" for name in names] for model, of in sums.items()}


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_was_used_is_told_to_the_token_everywhere_and_not_lost_at_the_end(
    tmp_path: Path, upstream: RawUpstream, traffic: Traffic, workers: int
) -> None:
    count = 3 * len(recorded_exchanges())
    settings = {
        "SERVER__WORKERS": str(workers),
        "ADMIN__TOKEN": "env:GATEWAY_ADMIN_TOKEN",
        "ADMIN_TOKEN": TOKEN,
    }
    with running(tmp_path, upstream, **settings) as gateway:
        await traffic.ask(gateway, range(count))
        await eventually(
            "all is in the store",
            lambda: metric(gateway.admin_url, "gateway_usage_records_stored_total") == count,
        )
        sums = traffic.sums()
        assert {model: of["requests"] > 20 for model, of in sums.items()} == dict.fromkeys(MODELS, True)
        command = ["usage", "--by", "model", "--json"]
        assert told(json.loads(gateway.command(*command))) == sums
        assert told(json.loads(ask_admin(gateway, USAGE, f"Bearer {TOKEN}"))["usage"]) == sums
        assert by_page(gateway) == on_page(sums)
        await eventually(
            "the metrics tell it, too",
            lambda: (
                total(gateway, "gateway_tokens_total")
                == sum(of["input_tokens"] + of["output_tokens"] + of["cached_tokens"] for of in sums.values())
            ),
        )
        unknown = total(gateway, "gateway_usage_unknown_requests_total")
        assert unknown == sum(of["unknown_usage"] for of in sums.values())
        for name in ("gateway_spool_records", "gateway_spool_bytes", "gateway_usage_records_lost_total"):
            assert metric(gateway.admin_url, name) == 0

        await traffic.ask(gateway, range(count, count + 50))
        assert gateway.stop() == 0  # at once
        assert told(json.loads(gateway.command(*command))) == traffic.sums()
    assert not any(TOKEN in line for line in gateway.log_lines())
