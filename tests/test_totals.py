"""What workers report adds up: counters of those that ended stay, and how they were goes with them."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.control import Report
from gateway.exposition import Exposition
from gateway.metrics import Labels, Snapshot, Tally
from gateway.totals import Member, Totals
from tests.support.finished import finished

WELL = {
    "gateway_open_requests": 0,
    "gateway_log_lines_dropped_total": 0,
    "gateway_usage_records_lost_total": 0,
    "gateway_usage_unwritten_bytes": 0,
    "gateway_spool_full": 0,
    "gateway_unsettled_requests_total": 0,
    "gateway_counters_away": 0,
    "gateway_store_away": 0,
}


def report(**figures: Any) -> Report:
    """A worker's, as it arrives: it has been bytes in between."""
    sent = Report(
        leaving=False,
        metrics=Snapshot(**figures),
        targets=[],
        open_connections=0,
        cpu_seconds=0,
        resident_bytes=0,
    )
    return msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=Report)


def told(totals: Totals) -> dict[str, float]:
    """Those of the metrics that have no labels."""
    lines = Exposition(totals.snapshot).render("")[0].decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines) if name in WELL}


def test_two_workers_add_up_and_one_that_ends_leaves_its_counters() -> None:
    totals = Totals(2)
    one, two, three = Member(1, 11), Member(2, 12), Member(2, 13)
    assert told(totals) == WELL
    totals.report(
        one, report(records_lost=2, unsettled=3, dropped_lines=4, unwritten_bytes=5, open_requests=6)
    )
    assert told(totals) == WELL | {
        "gateway_usage_records_lost_total": 2,
        "gateway_unsettled_requests_total": 3,
        "gateway_log_lines_dropped_total": 4,
        "gateway_usage_unwritten_bytes": 5,
        "gateway_open_requests": 6,
    }
    totals.report(
        two, report(records_lost=20, unsettled=30, dropped_lines=40, unwritten_bytes=50, spool_full=True)
    )
    totals.report(three, report(counters_away=True, store_away=True))
    assert told(totals) == {
        "gateway_usage_records_lost_total": 22,
        "gateway_unsettled_requests_total": 33,
        "gateway_log_lines_dropped_total": 44,
        "gateway_usage_unwritten_bytes": 55,
        "gateway_open_requests": 6,
        "gateway_spool_full": 1,
        "gateway_counters_away": 1,
        "gateway_store_away": 1,
    }
    for member in (one, two, three):
        totals.ended(member)
    assert told(totals) == WELL | {
        "gateway_usage_records_lost_total": 22,
        "gateway_unsettled_requests_total": 33,
        "gateway_log_lines_dropped_total": 44,
    }


def test_what_has_no_price_adds_up_by_what_it_is() -> None:
    exchange = finished()
    labels = Labels(
        exchange.ending, exchange.route.framing, 200, exchange.model, exchange.upstream, exchange.reason
    )
    totals = Totals(2)
    totals.report(
        Member(1, 11), report(tallies=[Tally(labels, requests=3, unpriced={"model": 2, "google_maps": 1})])
    )
    totals.ended(Member(1, 11))
    totals.report(Member(2, 12), report(tallies=[Tally(labels, requests=2, unpriced={"model": 2})]))
    (tally,) = totals.snapshot().tallies
    assert tally.unpriced == {"model": 4, "google_maps": 1}
    assert totals.snapshot().tallies[0].unpriced == {"model": 4, "google_maps": 1}  # reading adds nothing


def test_an_upstream_lacks_a_token_where_any_worker_does() -> None:
    totals = Totals(2)
    one, two = Member(1, 11), Member(2, 12)
    totals.report(one, report(tokens_failing={"a": True, "b": False}))
    totals.report(two, report(tokens_failing={"a": False, "b": False}))
    assert totals.snapshot().tokens_failing == {"a": True, "b": False}
    text = Exposition(totals.snapshot).render("")[0].decode()
    assert 'gateway_upstream_token_failing{upstream="a"} 1.0\n' in text
    assert 'gateway_upstream_token_failing{upstream="b"} 0.0\n' in text
    totals.ended(one)
    assert totals.snapshot().tokens_failing == {"a": False, "b": False}


def test_retries_and_cooldowns_add_up_and_stay() -> None:
    totals = Totals(2)
    one, two = Member(1, 11), Member(2, 12)
    totals.report(one, report(retries={"a": 1}, cooldowns={"a": {"quota": 2}}))
    totals.report(two, report(retries={"a": 2, "b": 3}, cooldowns={"a": {"quota": 1, "key": 1}}))
    totals.ended(one)
    for _ in range(2):  # reading adds nothing
        snapshot = totals.snapshot()
        assert snapshot.retries == {"a": 3, "b": 3}
        assert snapshot.cooldowns == {"a": {"quota": 3, "key": 1}}
    text = Exposition(totals.snapshot).render("")[0].decode()
    assert 'gateway_upstream_retries_total{upstream="a"} 3.0\n' in text
    assert 'gateway_upstream_cooldowns_total{cause="quota",upstream="a"} 3.0\n' in text
