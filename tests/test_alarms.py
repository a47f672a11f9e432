"""What is unknown of usage and prices is said in the log: of all requests alike once, not of each."""

from __future__ import annotations

import logging

import pytest

from gateway.alarms import MOST, REPEAT_SECONDS, UsageAlarms
from gateway.exchange import Ending, Exchange
from tests.support.finished import finished
from tests.support.identity import Clock


def unknown(**changes: object) -> Exchange:
    """A finished stream without usage."""
    return finished(usage=None, **changes)


@pytest.mark.parametrize(
    "exchange",
    [
        unknown(),
        unknown(ending=Ending.SUSPECT),
        unknown(ending=Ending.TRUNCATED),
        unknown(ending=Ending.CLIENT_ABORTED),
        unknown(ending=Ending.DEADLINE),
    ],
    ids=lambda exchange: exchange.ending,
)
def test_an_answer_that_should_have_told_its_usage(
    exchange: Exchange, caplog: pytest.LogCaptureFixture
) -> None:
    UsageAlarms().look(exchange)
    assert [(one.levelno, one.getMessage()) for one in caplog.records] == [
        (
            logging.ERROR,
            "upstream studio, model gemini-2-5-flash (gemini-2.5-flash-001), "
            f"request {exchange.id}: its answer reported no usage: what it cost is unknown",
        )
    ]


@pytest.mark.parametrize(
    "exchange",
    [
        unknown(ending=Ending.UPSTREAM_ERROR, status=429),
        unknown(ending=Ending.UPSTREAM_ERROR, status=500),
        unknown(ending=Ending.UPSTREAM_ERROR, status=300),
        unknown(ending=Ending.REFUSED, status=504, reason="UPSTREAM_TIMEOUT"),
        unknown(ending=Ending.CLIENT_ABORTED, status=0),
        finished(),
    ],
    ids=lambda exchange: f"{exchange.ending}-{exchange.status}",
)
def test_what_need_not_have_told_it(exchange: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    UsageAlarms().look(exchange)
    assert caplog.records == []


def test_what_has_no_price(caplog: pytest.LogCaptureFixture) -> None:
    alarms = UsageAlarms()
    alarms.look(finished(unpriced=("model", "google_search"), model_version="evil\nline"))
    begin = "upstream studio, model gemini-2-5-flash (evil?line), request "
    assert all(message.startswith(begin) for message in caplog.messages)
    assert ["its model:" in caplog.messages[0], "its google_search:" in caplog.messages[1]] == [True, True]


def test_once_an_hour_for_each_upstream_and_model_and_how_often(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    alarms = UsageAlarms(clock)
    for _ in range(50):
        alarms.look(unknown())
    assert len(caplog.records) == 1
    alarms.look(unknown(model="gemini-3-pro"))
    alarms.look(unknown(upstream="vertex"))
    assert len(caplog.records) == 3
    clock.now += REPEAT_SECONDS - 1
    alarms.look(unknown())
    assert len(caplog.records) == 3
    clock.now += 1
    alarms.look(unknown())
    alarms.look(unknown())
    assert len(caplog.records) == 4
    assert caplog.messages[3].endswith("unknown; 50 more like it since this was last said")
    clock.now += REPEAT_SECONDS
    alarms.look(unknown())
    assert caplog.messages[4].endswith("unknown; 1 more like it since this was last said")
    assert all("more like it" not in message for message in caplog.messages[:3])


def test_clients_that_make_up_models_cannot_fill_the_memory(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    alarms = UsageAlarms(clock)
    for number in range(MOST + 10):
        alarms.look(unknown(model=f"made-up-{number}"))
    assert len(caplog.records) == MOST
    clock.now += REPEAT_SECONDS
    alarms.look(unknown(model="made-up-0"))
    assert len(caplog.records) == MOST + 1
