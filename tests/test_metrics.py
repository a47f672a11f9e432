"""The metrics of finished requests, read back with Prometheus's own parsers."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gateway.exchange import Ending, Exchange, Route
from gateway.exposition import Exposition, ShippingFigures
from gateway.ledger import Shipper
from gateway.metrics import BUCKETS, Snapshot
from gateway.observe import Observer
from gateway.target_figures import TargetFigures
from tests.support.finished import MODELS, documented, finished
from tests.support.identity import opened
from tests.test_target_state import READY

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
async def observer(tmp_path: Path) -> AsyncIterator[Observer]:
    fd = os.open(tmp_path / "access.log", os.O_WRONLY | os.O_CREAT)
    observer = Observer(models=MODELS, log_fd=fd)
    yield observer
    await observer.close()
    os.close(fd)


def observe(observer: Observer, *exchanges: Exchange) -> None:
    for exchange in exchanges:
        observer.begin()
        observer.finish(exchange)


def render(observer: Observer, accept: str = "") -> tuple[bytes, str]:
    return Exposition(observer.snapshot).render(accept)


def samples(observer: Observer) -> Samples:
    text, _ = render(observer)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(text.decode())
        for sample in family.samples
    }


def value(observer: Observer, name: str, **labels: str) -> float | None:
    return samples(observer).get((name, tuple(sorted(labels.items()))))


def series(observer: Observer, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {labels: value for (sample, labels), value in samples(observer).items() if sample == name}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
async def test_prometheus_can_read_every_format(observer: Observer, accept: str, content_type: str) -> None:
    observe(observer, finished(), finished(model="", upstream="", status=401, ending=Ending.REFUSED))
    body, served_as = render(observer, accept)
    assert served_as.startswith(content_type)
    parse = parse_openmetrics if accept == OPENMETRICS else parse_text
    families = {family.name: family for family in parse(body.decode())}
    assert sum(sample.value for sample in families["gateway_requests"].samples) == 2
    assert all(family.documentation for family in families.values())


async def test_every_metric_is_documented_with_its_type_unit_and_labels(
    observer: Observer, tmp_path: Path
) -> None:
    def snapshot() -> Snapshot:
        return replace(
            observer.snapshot(),
            tokens_failing={"vertex": True},
            retries={"studio": 1},
            cooldowns={"studio": {"quota": 1}},
        )

    observe(observer, finished(unpriced=("model",)))
    async with opened(tmp_path / "gateway.db") as store:
        shipping = ShippingFigures(Shipper(tmp_path / "spool", store, retention_days=90))
        targets = TargetFigures(lambda: [READY], MODELS)
        targets.look()
        text = Exposition(snapshot, shipping, targets).render("")[0].decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    labels: dict[str, set[str]] = {name: set() for name in types}
    for name, inside in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        family = re.sub(r"_(bucket|count|sum)$", "", name)
        labels[family] |= set(re.findall(r'(\w+)="', inside)) - {"le"}
    on_page = {
        name.strip("`"): (kind, set(re.findall(r"`(\w+)`", names)))
        for heading in ("Metrics", "Usage on its way to the store")
        for name, kind, unit, names, meaning in documented(heading)
        if unit and meaning
    }
    assert {name: (types[name], labels[name]) for name in types} == on_page


async def test_requests_are_counted_by_how_they_ended(observer: Observer) -> None:
    refused = finished(
        model="", upstream="", status=401, reason="CREDENTIAL_INVALID", ending=Ending.REFUSED, route=Route()
    )
    observe(observer, finished(), finished(), refused)
    stream = {"framing": "sse", "model": "gemini-2-5-flash", "upstream": "studio", "reason": ""}
    assert value(observer, "gateway_requests_total", ending="complete", status="200", **stream) == 2
    assert (
        value(
            observer,
            "gateway_requests_total",
            ending="refused",
            status="401",
            framing="unary",
            model="",
            upstream="",
            reason="CREDENTIAL_INVALID",
        )
        == 1
    )
    assert len(series(observer, "gateway_requests_total")) == 2


async def test_open_requests_are_those_begun_and_not_finished(observer: Observer) -> None:
    observer.begin()
    observer.begin()
    assert value(observer, "gateway_open_requests") == 2
    observer.finish(finished())
    assert value(observer, "gateway_open_requests") == 1
    observer.finish(finished())
    assert value(observer, "gateway_open_requests") == 0


async def test_times_fall_into_the_bucket_that_holds_them(observer: Observer) -> None:
    observe(
        observer,
        finished(first_byte=1000.5, ended=1000.5),
        finished(first_byte=1000.75, ended=1000.0 + 599),
        finished(first_byte=0.0, ended=1000.0 + 601, ending=Ending.DEADLINE),
    )
    labels = {"model": "gemini-2-5-flash", "upstream": "studio", "framing": "sse"}

    def bucket(name: str, bound: float | str) -> float | None:
        return value(observer, f"{name}_bucket", le=str(bound), **labels)

    first, duration = "gateway_first_byte_seconds", "gateway_request_duration_seconds"
    assert [bucket(first, bound) for bound in (0.25, 0.5, 1.0, 600.0, "+Inf")] == [0, 1, 2, 2, 2]
    assert [bucket(duration, bound) for bound in (0.25, 0.5, 300.0, 600.0, "+Inf")] == [0, 1, 1, 2, 3]
    assert value(observer, f"{first}_sum", **labels) == 1.25
    assert value(observer, f"{duration}_sum", **labels) == 0.5 + 599 + 601
    assert value(observer, f"{duration}_count", **labels) == 3
    assert len(series(observer, f"{first}_bucket")) == len(BUCKETS) + 1


async def test_a_time_that_never_was_makes_no_series(observer: Observer) -> None:
    observe(observer, finished(first_byte=0.0))
    assert series(observer, "gateway_first_byte_seconds_bucket") == {}
    assert series(observer, "gateway_request_duration_seconds_bucket") != {}


async def test_bytes_and_tokens_add_up_over_all_endings(observer: Observer) -> None:
    truncated = finished(ending=Ending.TRUNCATED)
    observe(observer, finished(), finished(), truncated, finished(model="gemini-3-pro"))
    assert value(observer, "gateway_body_bytes_total", direction="request") == 4 * 512
    assert value(observer, "gateway_body_bytes_total", direction="response") == 4 * 2048
    counted = {
        kind: value(observer, "gateway_tokens_total", model="gemini-2-5-flash", kind=kind)
        for kind in ("input", "output", "cached")
    }
    assert counted == {"input": 3 * 103, "output": 3 * 12, "cached": 3 * 40}
    assert value(observer, "gateway_tokens_total", model="gemini-3-pro", kind="output") == 12


@pytest.mark.parametrize(
    ("exchange", "answered", "unanswered"),
    [
        (finished(), 0, None),
        (finished(usage=None), 1, None),
        (finished(usage=None, ending=Ending.SUSPECT), 1, None),
        (finished(usage=None, ending=Ending.TRUNCATED), 1, None),
        (finished(usage=None, ending=Ending.CLIENT_ABORTED), 1, None),
        (finished(usage=None, ending=Ending.CLIENT_ABORTED, status=0), None, 1),
        (finished(usage=None, ending=Ending.REFUSED, status=504, reason="UPSTREAM_TIMEOUT"), None, 1),
        (finished(usage=None, ending=Ending.UPSTREAM_ERROR, status=429), None, 1),
        (finished(usage=None, ending=Ending.UPSTREAM_ERROR, status=503), None, 1),
        (finished(ending=Ending.UPSTREAM_ERROR, status=400), None, 0),
        (finished(usage=None, ending=Ending.REFUSED, status=400, upstream=""), None, None),
    ],
)
async def test_usage_is_unknown_where_an_upstream_was_asked_and_told_none(
    observer: Observer, exchange: Exchange, answered: int | None, unanswered: int | None
) -> None:
    observe(observer, exchange)
    labels = {"model": "gemini-2-5-flash", "upstream": "studio"}
    name = "gateway_usage_unknown_requests_total"
    assert value(observer, name, answered="yes", **labels) == answered
    assert value(observer, name, answered="no", **labels) == unanswered


async def test_what_has_no_price_is_counted_by_what_it_is(observer: Observer) -> None:
    both = finished(unpriced=("model", "google_search"), upstream="vertex")
    observe(observer, finished(), both, finished(unpriced=("google_search",)), both)
    assert series(observer, "gateway_unpriced_requests_total") == {
        (("model", "gemini-2-5-flash"), ("upstream", "vertex"), ("what", "model")): 2,
        (("model", "gemini-2-5-flash"), ("upstream", "vertex"), ("what", "google_search")): 2,
        (("model", "gemini-2-5-flash"), ("upstream", "studio"), ("what", "google_search")): 1,
    }


async def test_clients_and_upstreams_cannot_make_series(observer: Observer) -> None:
    observe(observer, *(finished(model=f"gemini-made-up-{number}") for number in range(300)))
    observe(observer, *(finished(status=status) for status in range(600, 900)))
    models = {dict(labels)["model"] for labels in series(observer, "gateway_requests_total")}
    statuses = {dict(labels)["status"] for labels in series(observer, "gateway_requests_total")}
    assert (models, statuses) == ({"other", "gemini-2-5-flash"}, {"200", "0"})
    assert value(observer, "gateway_tokens_total", model="other", kind="output") == 300 * 12
    assert sum(series(observer, "gateway_requests_total").values()) == 600


async def test_lost_lines_show_in_the_metrics(caplog: pytest.LogCaptureFixture) -> None:
    reading, fd = os.pipe()
    os.close(reading)
    observer = Observer(models=MODELS, log_fd=fd)
    observe(observer, finished(), finished())
    await observer.close()
    os.close(fd)
    assert value(observer, "gateway_log_lines_dropped_total") == 2
    assert len(caplog.records) == 1


async def test_the_process_tells_its_memory_and_files(observer: Observer) -> None:
    resident = value(observer, "process_resident_memory_bytes")
    assert resident is not None
    assert resident > 1_000_000
    assert value(observer, "process_open_fds") == pytest.approx(len(os.listdir("/proc/self/fd")), abs=5)
