"""The gateway that is measured without its accounting has all that the gateway asks of what it lacks."""

from __future__ import annotations

from benchmarks import unaccounted
from gateway.exchange import Framing
from gateway.metering import UsageReader


def test_what_stands_in_for_the_reader_of_usage_knows_all_that_it_is_asked() -> None:
    asked = {name for name in dir(UsageReader(Framing.SSE, "")) if not name.startswith("_")}
    assert asked <= set(dir(unaccounted._NoReader(Framing.SSE, "")))
