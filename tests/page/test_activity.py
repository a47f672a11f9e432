"""The rates of now: differences between what was counted now and a minute ago."""

from __future__ import annotations

from gateway.counting import Metrics
from gateway.exchange import Ending, Exchange
from gateway.metrics import Snapshot
from gateway.page.activity import Sampler
from tests.support.identity import Clock


class Counted:
    """Metrics with a sampler over them."""

    def __init__(self) -> None:
        self.metrics = Metrics(models=())
        self.timer = Clock()
        self.sampler = Sampler(
            lambda: Snapshot(self.metrics.open_requests, 0, self.metrics.tallies()), self.timer
        )

    def count(self, ending: Ending, times: int, **labels: object) -> None:
        exchange = Exchange()
        exchange.ending = ending
        exchange.ended = exchange.began
        for name, value in labels.items():
            setattr(exchange, name, value)
        for _ in range(times):
            self.metrics.count(exchange)

    def pass_seconds(self, count: int, *, completing: int = 0) -> None:
        """Time goes by, with a sample every 5 s and so many requests before each."""
        for _ in range(count // 5):
            self.timer.now += 5
            self.count(Ending.COMPLETE, completing)
            self.sampler.sample()


def test_before_a_first_sample_nothing_is_said_of_the_past() -> None:
    counted = Counted()
    counted.count(Ending.COMPLETE, 3)
    counted.metrics.open_requests = 2
    activity = counted.sampler.activity()
    assert (activity.seconds, activity.total, activity.open_requests) == (0, 0, 2)
    assert list(activity.ended) == list(Ending)


def test_what_ended_since_the_first_sample_counts_by_its_ending() -> None:
    counted = Counted()
    counted.count(Ending.COMPLETE, 100)
    counted.sampler.sample()
    counted.timer.now += 3
    counted.count(Ending.COMPLETE, 5, status=200)
    counted.count(Ending.COMPLETE, 2, status=206)  # another tally
    counted.count(Ending.REFUSED, 1)
    activity = counted.sampler.activity()
    assert (activity.seconds, activity.total) == (3, 8)
    assert {ending: count for ending, count in activity.ended.items() if count} == {
        Ending.COMPLETE: 7,
        Ending.REFUSED: 1,
    }


def test_a_rate_is_of_the_last_minute_however_long_the_gateway_runs() -> None:
    counted = Counted()
    counted.sampler.sample()
    counted.pass_seconds(600, completing=1_000)
    counted.pass_seconds(60, completing=10)
    activity = counted.sampler.activity()
    assert (activity.seconds, activity.total) == (60, 120)
    counted.timer.now += 4  # between two samples
    activity = counted.sampler.activity()
    assert (activity.seconds, activity.total) == (59, 110)


def test_samples_from_before_a_pause_are_not_of_now() -> None:
    counted = Counted()
    counted.pass_seconds(60, completing=10)
    counted.timer.now += 3_600  # a machine that slept
    counted.count(Ending.COMPLETE, 7)
    assert counted.sampler.activity().seconds == 0
