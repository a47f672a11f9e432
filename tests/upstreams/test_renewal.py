"""Access tokens are renewed ahead of their end, one request at a time, and an old one serves while it can."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import Any

from gateway import config
from gateway.catalog import Model
from gateway.upstreams.faults import Cause, Fault
from gateway.upstreams.opening import open_upstream
from gateway.upstreams.pool import Pool
from gateway.upstreams.renewal import (
    EARLY_SECONDS,
    FIRST_SECONDS,
    LEAST_SECONDS,
    PATIENCE_SECONDS,
    RETRY_SECONDS,
)
from tests.support.eventually import eventually
from tests.support.shifted_loop import shift
from tests.upstreams.renewal_rig import SLACK, Play, Rig, failing, tick

LIFE = 3600


def test_there_is_a_token_when_it_has_started(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        assert not rig.key.available
        await rig.renewal.start()
        assert (rig.key.available, rig.key.line) == (True, rig.line(0))
        assert not rig.told()

    play(scene)


def test_a_token_is_renewed_ahead_of_its_end(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.renewal.start()
        for number in range(1, 4):
            shift(LIFE - EARLY_SECONDS - SLACK)
            await tick()
            assert len(rig.endpoint.requests) == number
            assert rig.key.line == rig.line(number - 1)
            shift(SLACK)
            await rig.renewed(number)
        assert rig.key.available
        assert not rig.told()

    play(scene)


def test_a_token_of_short_life_is_renewed_after_half_of_it(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        rig.endpoint.life = 100
        await rig.renewal.start()
        shift(50 - SLACK)
        await tick()
        assert len(rig.endpoint.requests) == 1
        shift(SLACK)
        await rig.renewed(1)

    play(scene)


def test_a_token_of_no_life_is_not_asked_for_without_a_pause(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        rig.endpoint.life = 1
        began = time.monotonic()
        await rig.renewal.start()
        await rig.asked(3)
        assert time.monotonic() - began >= 2 * LEAST_SECONDS

    play(scene)


def test_the_old_token_serves_while_there_is_no_new_one(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.renewal.start()
        rig.endpoint.refuses()
        shift(LIFE - EARLY_SECONDS)
        await rig.failing()
        assert (rig.key.available, rig.key.line) == (True, rig.line(0))
        assert rig.key.failing_since is not None
        assert abs(rig.key.failing_since - time.time()) < SLACK
        why = "it is refused: invalid_grant: Invalid JWT Signature."
        assert rig.told() == [
            ("ERROR", f"upstream v gets no new access token: {why}; the old one still serves")
        ]
        shift(EARLY_SECONDS - SLACK)
        await rig.asked(3)
        assert rig.key.line == rig.line(0)
        assert not rig.told()

        shift(SLACK)
        await eventually("the end of the old one", lambda: not rig.key.available)
        assert rig.key.line == b""
        assert rig.told() == [
            ("ERROR", "upstream v has no access token any more, and is not asked until it has")
        ]
        rig.endpoint.works()
        shift(RETRY_SECONDS)
        await rig.renewed(1)
        assert rig.key.available
        assert not failing(rig.key)
        ((level, line),) = rig.told()
        assert (level, line.rpartition(", ")[0]) == ("WARNING", "upstream v has a new access token")

    play(scene)


def test_a_gateway_starts_without_a_token_and_gets_it_later(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        rig.endpoint.refuses("invalid_client", "no")
        await rig.renewal.start()
        assert not rig.key.available
        why = "it is refused: invalid_client: no"
        assert rig.told() == [
            ("ERROR", f"upstream v gets no new access token: {why}; it is not asked until there is one")
        ]
        rig.endpoint.works()
        await rig.renewed(0)  # within a second, without any shift

    play(scene)


def test_attempts_that_fail_come_at_longer_and_longer_intervals(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        rig.endpoint.refuses()
        await rig.renewal.start()
        longest = 1.0
        for attempt in range(2, 12):
            if longest >= 4 * SLACK:  # the least pause is half of the longest
                shift(longest / 2 - SLACK)
                await tick()
                assert len(rig.endpoint.requests) == attempt - 1
            shift(longest)
            await rig.asked(attempt)
            await tick()
            longest = min(2 * longest, RETRY_SECONDS)
        assert longest == RETRY_SECONDS
        assert len(rig.told()) == 1

    play(scene)


def test_a_stalled_endpoint_holds_up_nothing_and_is_asked_once(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.renewal.start()
        rig.endpoint.stalls("go")
        shift(LIFE - EARLY_SECONDS)
        await rig.asked(2)
        assert rig.key.failing_since is None
        shift(PATIENCE_SECONDS)
        await rig.failing()
        assert rig.told()[0][1].endswith(": no answer in 30 s; the old one still serves")
        shift(LIFE)
        await eventually("the end of the old one", lambda: not rig.key.available)
        rig.renewal.use(rig.source("other.json", client_id="another"))
        await tick()
        assert len(rig.endpoint.requests) == 2
        rig.endpoint.set("go")
        await rig.renewed(2)  # the answer that came late, and at once the other source's

    play(scene)


def test_a_start_does_not_wait_for_long(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        rig.endpoint.stalls("go")
        starting = asyncio.create_task(rig.renewal.start())
        await rig.asked(1)
        assert not starting.done()
        shift(FIRST_SECONDS)
        await starting
        assert not rig.key.available
        rig.endpoint.set("go")
        await rig.renewed(0)

    play(scene)


def test_another_source_is_asked_at_once_and_the_same_one_is_not(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.renewal.start()
        rig.renewal.use(rig.source())
        await tick()
        assert len(rig.endpoint.requests) == 1
        rig.endpoint.refuses()
        rig.renewal.use(rig.source(client_id="another"))
        await rig.failing()
        assert rig.key.line == rig.line(0)
        rig.endpoint.works()
        await rig.renewed(1)

    play(scene)


def test_a_refused_token_is_renewed_at_once_and_the_new_one_asked_with(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        settings = config.Upstream(
            name="v",
            kind="vertex",
            project="p",
            base_url=config.BaseUrl("http://127.0.0.1:9"),
            credentials=rig.source(),
        )
        upstream = await open_upstream(settings, 1.0)
        target = Pool([upstream]).choose(Model("m"))
        shift(2 * RETRY_SECONDS)
        for _ in range(3):  # requests that were under way together
            target.failed(Fault(Cause.KEY))
        assert not target.ready(time.monotonic())
        await eventually("another token", lambda: target.ready(time.monotonic()))
        assert upstream.keys[0].line.decode().endswith(f"{rig.endpoint.issued[1]}\r\n")
        target.failed(Fault(Cause.KEY))  # too young to be refused for its age
        await tick()
        assert len(rig.endpoint.requests) == 2
        assert not target.ready(time.monotonic())
        await upstream.close()

    play(scene)


def test_it_ends_at_once_whatever_is_asked(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        rig.endpoint.stalls("go")
        rig.endpoint.life = 0  # an answer without a good token
        starting = asyncio.create_task(rig.renewal.start())
        await rig.asked(1)
        assert [thread.daemon for thread in threading.enumerate() if thread.name == "access-token"] == [True]
        began = time.monotonic()
        await rig.renewal.close()
        assert time.monotonic() - began < 1.0
        starting.cancel()
        rig.endpoint.set("go")
        await eventually("an answer for nobody", lambda: len(rig.endpoint.issued) == 1)
        await eventually(
            "the thread's end", lambda: all(one.name != "access-token" for one in threading.enumerate())
        )
        await tick()
        gc.collect()
        assert not faults
        assert not rig.key.available

    play(scene)
