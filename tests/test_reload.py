"""When the configuration is read again, what is told of it, and what a bad one does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config import Config, Upstream, load
from gateway.errors import ConfigurationError
from gateway.reload import Reloader
from tests.support.eventually import eventually

LOOK = 0.05
KEY = "AQ.key-of-the-tests"


class Desk:
    """A configuration file with a key in a file of its own, and what was read from it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gateway.toml"
        self.key = folder / "key"
        self.key.touch(mode=0o600)
        self.key.write_text(KEY)
        self.write()
        self.readings = 0
        self.taken_up: list[Sequence[Upstream]] = []
        self.failing: Exception | None = None
        self.config = load(self.path, {})

    def write(self, *lines: str, upstream: str = "studio") -> None:
        """Other content: `lines` in front of one upstream's table."""
        text = [
            *lines,
            "[[upstreams]]",
            f'name = "{upstream}"',
            'kind = "ai-studio"',
            f'keys = ["file:{self.key}"]',
        ]
        self.path.write_text("\n".join(["[store]", f'url = "sqlite:///{self.path.parent}/db"', *text]))

    def read(self) -> Config:
        self.readings += 1
        return load(self.path, {})

    async def take_up(self, upstreams: Sequence[Upstream]) -> None:
        if self.failing:
            raise self.failing
        self.taken_up.append(upstreams)

    @asynccontextmanager
    async def reloading(self) -> AsyncIterator[Reloader]:
        reloader = Reloader(self.config, self.read, self.take_up, look_seconds=LOOK)
        task = asyncio.create_task(reloader.run())
        try:
            yield reloader
        finally:
            task.cancel()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_it_is_read_when_that_is_asked_for(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with desk.reloading() as reloader:
        reloader.ask()
        await eventually("it is taken up", lambda: len(desk.taken_up) == 1)
        await eventually("it is told", lambda: len(caplog.messages) == 1)
        desk.write("[timeouts]", "idle = 7", "[ledger]", "retention_days = 8", upstream="new")
        reloader.ask()
        await eventually("it is told", lambda: len(caplog.messages) == 3)
        assert [one.name for one in desk.taken_up[-1]] == ["new"]
        desk.write("[timeouts]", "idle = 7", upstream="new")
        reloader.ask()
        await eventually("it is told", lambda: len(caplog.messages) == 5)
    assert caplog.messages == [
        "the configuration was read again: upstreams are as before",
        "the configuration was read again: upstreams added: new; removed: studio",
        "what changed here needs a restart: ledger.retention_days, timeouts.idle",
        "the configuration was read again: upstreams are as before",
        "what changed here needs a restart: timeouts.idle",
    ]


async def test_what_stays_needs_no_restart(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.write(
        "[server]",
        'listen = ["127.0.0.1:4040"]',
        'trusted_proxies = ["10.0.0.0/8"]',
        'forward_request_headers = ["X-Trace"]',
        "[admin]",
        f'token = "file:{desk.key}"',
        'hosts = ["gateway.internal"]',
        "[branches]",
        'trusted_suffixes = [".ai.example.com"]',
        "[catalog.models.house-model]",
        "shutdown = { vertex = 2026-12-01 }",
        "[prices.models.house-model]",
        "rates = [{ input = 1, output = 2 }]",
    )
    desk.config = load(desk.path, {})
    async with desk.reloading() as reloader:
        reloader.ask()
        await eventually("it is taken up", lambda: len(desk.taken_up) == 1)
        reloader.ask()
        await eventually("it is taken up again", lambda: len(desk.taken_up) == 2)
    assert caplog.messages == []


async def test_it_is_read_once_for_each_change_of_a_file(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with desk.reloading():
        for number in (1, 2):
            desk.key.write_text(f"{KEY}-{number}")
            await eventually("it is told", lambda: len(caplog.messages) == number)  # noqa: B023
            assert desk.taken_up[-1][0].keys[0].reveal() == f"{KEY}-{number}"
        await asyncio.sleep(4 * LOOK)
    assert desk.readings == 2
    assert set(caplog.messages) == {"the configuration was read again: upstreams changed: studio (keys)"}


async def test_a_file_that_keeps_changing_is_left_to_settle(desk: Desk) -> None:
    async with desk.reloading():
        for number in range(40):
            desk.key.write_text("x" * (number + 1))
            await asyncio.sleep(LOOK / 5)
        assert desk.readings == 0
        await eventually("it is read", lambda: len(desk.taken_up) == 1)
    assert desk.taken_up[-1][0].keys[0].reveal() == "x" * 40


async def test_what_goes_wrong_is_told_once_and_the_next_reading_counts(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    def errors() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]

    async with desk.reloading() as reloader:
        desk.key.unlink()
        await eventually("it is told", lambda: len(errors()) == 1)
        await asyncio.sleep(4 * LOOK)
        assert (desk.readings, len(errors())) == (1, 1)
        desk.key.touch(mode=0o600)
        desk.key.write_text(KEY)
        await eventually("it is taken up", lambda: len(desk.taken_up) == 1)
        for number, failure in enumerate((ConfigurationError("no such place"), ValueError(KEY)), 2):
            desk.failing = failure
            reloader.ask()
            await eventually("it is told", lambda: len(errors()) == number)  # noqa: B023
            desk.failing = None
            reloader.ask()
            await eventually("it is taken up", lambda: len(desk.taken_up) == number)  # noqa: B023
    stays = "the configuration stays as it was: "
    gone, no_place, fault = errors()
    assert gone.startswith(f"{stays}{desk.path}: upstreams")
    assert gone.endswith(f"file:{desk.key} cannot be read: No such file or directory")
    assert no_place == f"{stays}no such place"
    assert fault.startswith(f"{stays}internal error: ValueError in ")
    assert KEY not in "\n".join(caplog.messages)


async def test_new_warnings_are_told_and_old_ones_are_not_repeated(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk.reloading() as reloader:
        desk.key.chmod(0o644)
        for times in (1, 2):
            reloader.ask()
            await eventually("it is taken up", lambda: len(desk.taken_up) == times)  # noqa: B023
    assert [message for message in caplog.messages if "every user" in message] == [
        f"file:{desk.key} can be read by every user of this machine"
    ]
