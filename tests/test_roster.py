"""Which upstreams are open, from one configuration to the next."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway import config
from gateway.catalog import Catalog
from gateway.errors import ConfigurationError
from gateway.secrets import Secret
from gateway.upstreams import Upstream, simulated
from gateway.upstreams.faults import Cause, Fault
from gateway.upstreams.pool import Pool
from gateway.upstreams.roster import Roster
from tests.support.eventually import eventually
from tests.support.tls import TestCertificates, make_certificates

GRACE = 0.05
T = TypeVar("T")
SIMULATED = config.Upstream(name="simulated", kind="simulated")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> TestCertificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def opened() -> AsyncIterator[Roster]:
    """A roster that is closed, whatever happens."""
    roster = Roster(5.0, grace_seconds=GRACE)
    try:
        yield roster
    finally:
        await roster.close()


def studio(name: str = "studio", keys: str = "first second", **more: object) -> config.Upstream:
    secrets = tuple(Secret(key, "env:TEST") for key in keys.split())
    given = {"base_url": config.BaseUrl("https://studio.test"), "keys": secrets} | more
    return config.Upstream(name=name, kind="ai-studio", **given)  # type: ignore[arg-type]


def listens(upstream: Upstream) -> bool:
    """Whether the simulator of an upstream still has its port."""
    try:
        socket.create_server(("127.0.0.1", upstream.connector.port)).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return True
    return False


async def test_what_does_not_need_another_connection_changes_in_place() -> None:
    async with opened() as roster:
        [before] = await roster.take_up([studio()])
        first, second = before.keys
        changed = studio(keys="second third", models=("gemini-3-*",), priority=5, weight=7)
        [after] = await roster.take_up([changed])
        assert after is before
        assert (after.priority, after.weight) == (5, 7)
        assert (after.serves("gemini-3-pro"), after.serves("gemini-2-5-pro")) == (True, False)
        # A key that stays is the same one, with all that is known of it, at whichever place.
        assert after.keys[0] is second
        assert first not in after.keys
        assert [key.name for key in after.keys] == ["1", "2"]


async def test_another_place_is_another_upstream(certificates: TestCertificates) -> None:
    async with opened() as roster:
        [before, kept] = await roster.take_up([studio(), studio("kept")])
        for change in ({"base_url": config.BaseUrl("https://b.test")}, {"ca_file": certificates.ca_file}):
            [after, still] = await roster.take_up([studio(**change), studio("kept")])
            assert after is not before
            assert still is kept
            before = after


async def test_what_is_left_alone_by_another_rule_is_another_with_nothing_known_against_it() -> None:
    async with opened() as roster:
        [before] = await roster.take_up([studio(keys="only")])
        pool = Pool([before])
        model = Catalog.build().resolve("gemini-2.5-flash")
        pool.choose(model).failed(Fault(Cause.QUOTA, until_day_ends=True))
        pool.replace(await roster.take_up([studio(keys="only", cooldown=False)]))
        assert pool.choose(model).at_ease
        assert [upstream.cooldown for upstream in pool.upstreams] == [False]


async def test_other_content_of_its_file_makes_it_another(
    certificates: TestCertificates, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    content = certificates.ca_file.read_bytes()
    ca_file.write_bytes(content)
    async with opened() as roster:
        [first] = await roster.take_up([studio(ca_file=ca_file)])
        [same] = await roster.take_up([studio(ca_file=ca_file)])
        ca_file.write_bytes(content + b"\n")
        [other] = await roster.take_up([studio(ca_file=ca_file)])
        assert same is first
        assert other is not first


@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), (b"", "no certificate")])
async def test_where_one_cannot_be_opened_nothing_changes(
    content: bytes | None, why: str, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_bytes(content)
    async with opened() as roster:
        [before] = await roster.take_up([studio(keys="first")])
        new = [studio(name, ca_file=ca_file) for name in ("new", "other")]
        told = "; ".join(f"upstream '{name}' could not be opened with .*{why}.*" for name in ("new", "other"))
        with pytest.raises(ConfigurationError, match=told):
            await roster.take_up([studio(keys="second"), SIMULATED, *new])
        assert [key.line for key in before.keys] == [b"x-goog-api-key: first\r\n"]
        [after] = await roster.take_up([studio(keys="first")])
        assert after is before


async def test_to_give_up_while_one_fails_to_open_is_to_give_up(tmp_path: Path) -> None:
    """At whatever turn of the event loop; Python 3.11's TaskGroup would forget the one in which it fails."""
    new = studio("new", ca_file=tmp_path / "none")
    async with opened() as roster:
        for _ in range(50):  # a thread is asked: it is never the same turn
            turns = 0
            while (ended := await given_up(roster.take_up([new]), turns)) is None:
                turns += 1
            assert turns > 2
            with pytest.raises(ConfigurationError):
                ended.result()


async def given_up(work: Coroutine[Any, Any, T], turns: int) -> asyncio.Task[T] | None:
    """Cancel it so many turns of the event loop later, which must end it; it is returned if it was over."""
    task = asyncio.create_task(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    if not task.cancel():
        return task
    with pytest.raises(asyncio.CancelledError):
        await task
    return None


async def test_one_that_was_removed_is_closed_when_nobody_uses_it_any_more() -> None:
    async with opened() as roster:
        [simulated] = await roster.take_up([SIMULATED])
        # Chosen before, asked after: it is still there.
        assert await roster.take_up([studio()])
        connection = await simulated.connector.connect()
        await asyncio.sleep(3 * GRACE)
        assert listens(simulated)
        connection.abort()
        await eventually("it is closed", lambda: not listens(simulated))


async def test_all_are_closed_with_it_those_that_leave_too() -> None:
    async with opened() as roster:
        [leaving] = await roster.take_up([SIMULATED])
        [simulated] = await roster.take_up([config.Upstream(name="other", kind="simulated")])
        await leaving.connector.connect()
        assert listens(simulated)
        assert listens(leaving)
    assert not listens(simulated)
    assert not listens(leaving)
    assert not leaving.connector.open


async def test_a_simulator_whose_start_is_cancelled_does_not_go_on_listening() -> None:
    """At whatever turn of the event loop."""
    runner, _ = await simulated.start(0)
    await runner.cleanup()
    before = open_files()
    turns = 0
    while (started := await given_up(simulated.start(0), turns)) is None:
        assert open_files() == before, turns
        turns += 1
    assert turns > 2
    runner, _ = started.result()
    await runner.cleanup()


def open_files() -> int:
    """Of this process."""
    return len(os.listdir("/proc/self/fd"))
