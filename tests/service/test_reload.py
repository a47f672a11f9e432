"""SIGHUP and changed files of secrets: the upstreams of the file are taken up, and no request is dropped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.service.rig import DEADLINE, ask, at_home, client, running
from tests.service.test_start import LISTENING
from tests.service.worker_rig import answer, ask_many, asked, begin, complete, processes
from tests.support.eventually import eventually
from tests.support.gateway import SIMULATED, Gateway
from tests.support.process import Process
from tests.support.raw_upstream import RawUpstream

KEY = "AQ.first-key-of-the-reload-tests"
NEXT_KEY = "AQ.next-key-of-the-reload-tests"
READ = "INFO gateway.reload: the configuration was read again: upstreams "
STAYS = "ERROR gateway.reload: the configuration stays as it was: "
MANY = 20


@pytest.fixture
def here() -> Iterator[RawUpstream]:
    with RawUpstream() as upstream:
        upstream.answer_always(answer)
        yield upstream


@pytest.fixture
def there() -> Iterator[RawUpstream]:
    with RawUpstream() as upstream:
        upstream.answer_always(answer)
        yield upstream


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_text(KEY)
    return file


def table(name: str, upstream: RawUpstream, key_file: Path, **more: str) -> str:
    """An upstream's part of the file; `more` are further keys and their values in TOML."""
    values = {"name": f'"{name}"', "kind": '"ai-studio"', "base_url": f'"{upstream.url}"'}
    values |= {"keys": f'["file:{key_file}"]'} | more
    return "[[upstreams]]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())


def write(gateway: Gateway, upstreams: str) -> None:
    """Give the gateway's file other upstreams; they are not read yet."""
    kept = gateway.config_path.read_text().partition("[[upstreams]]")[0]
    gateway.config_path.write_text(kept + upstreams)


def told(gateway: Gateway, beginning: str) -> list[str]:
    """What was logged with this beginning, without it.

    The access log goes into the same pipe here, and may have been cut within a line when it was full.
    """
    return [line.partition(beginning)[2] for line in gateway.log_lines() if beginning in line]


def checked(gateway: Gateway) -> str:
    """What `check-config` has to say against the file."""
    process = Process(["check-config", "--config", str(gateway.config_path)])
    assert process.wait() == 2
    [line] = process.log_lines()
    return line


async def hang_up(gateway: Gateway, beginning: str = READ, workers: int = 1) -> str:
    """SIGHUP: what is logged of it, once all processes have done what they are to do."""
    before, done = len(told(gateway, beginning)), taken_up(gateway)
    gateway.process.popen.send_signal(signal.SIGHUP)
    await eventually("it is logged", lambda: len(told(gateway, beginning)) > before)
    if workers > 1:
        await eventually("every worker has taken it up", lambda: taken_up(gateway) == done + workers)
    return told(gateway, beginning)[-1]


def taken_up(gateway: Gateway) -> int:
    """How often a worker said that it has done as its parent told it."""
    return sum(line.endswith(": the upstreams were taken up") for line in gateway.log_lines())


@pytest.mark.parametrize("workers", [1, 2])
async def test_one_goes_and_another_comes_while_streams_are_under_way(
    tmp_path: Path, here: RawUpstream, there: RawUpstream, key_file: Path, workers: int
) -> None:
    with running(tmp_path, table("old", here, key_file), SERVER__WORKERS=str(workers)) as gateway:
        async with AsyncExitStack() as opened:
            await ask_many(gateway, MANY)
            streams = await begin(gateway, opened, MANY)
            write(gateway, table("new", there, key_file))
            assert await hang_up(gateway, workers=workers) == "added: new; removed: old"
            # Those that wait for a request are closed at once, the others when theirs is over.
            await here.connections_open(MANY)
            asked_before = here.total_requests
            await ask_many(gateway, MANY)
            assert (here.total_requests, there.total_requests) == (asked_before, MANY)
            here.set("go")
            await complete(streams)
            await here.connections_open(0)


async def test_a_key_is_rotated_by_its_file_alone(tmp_path: Path, here: RawUpstream, key_file: Path) -> None:
    with running(tmp_path, table("studio", here, key_file), SERVER__WORKERS="2") as gateway:
        async with AsyncExitStack() as opened:
            streams = await begin(gateway, opened, MANY)
            new = key_file.with_suffix(".new")
            new.touch(mode=0o600)
            new.write_text(NEXT_KEY + "\n")
            new.rename(key_file)
            await eventually("it is seen", lambda: told(gateway, READ) == ["changed: studio (keys)"])
            await eventually("by every worker", lambda: taken_up(gateway) == 2)
            await ask_many(gateway, MANY)
            used = [request.header("x-goog-api-key") for request in here.requests]
            assert used == [[KEY]] * MANY + [[NEXT_KEY]] * MANY
            here.set("go")
            await complete(streams)
        assert not any(key in line for line in gateway.log_lines() for key in (KEY, NEXT_KEY))


async def test_one_that_stays_keeps_its_connections_whatever_else_changes(
    tmp_path: Path, here: RawUpstream, there: RawUpstream, key_file: Path
) -> None:
    first = table("here", here, key_file)
    with running(tmp_path, first) as gateway:
        async with client(gateway) as connection:
            assert await asked(gateway, connection) == 200
            write(gateway, table("here", here, key_file, priority="2") + table("there", there, key_file))
            assert await hang_up(gateway) == "added: there; changed: here (priority)"
            assert await asked(gateway, connection) == 200
            assert (here.total_requests, there.total_requests) == (1, 1)
            write(gateway, first)
            assert await hang_up(gateway) == "removed: there; changed: here (priority)"
            assert await asked(gateway, connection) == 200
            assert (here.total_requests, here.total_connections) == (2, 1)
            # At another place it is another upstream.
            write(gateway, table("here", there, key_file))
            assert await hang_up(gateway) == "changed: here (base_url)"
            assert await asked(gateway, connection) == 200
            assert (here.total_requests, there.total_requests) == (2, 2)


@pytest.mark.parametrize("workers", [1, 2])
async def test_no_request_fails_while_upstreams_come_and_go(
    tmp_path: Path, here: RawUpstream, there: RawUpstream, key_file: Path, workers: int
) -> None:
    files = (
        table("here", here, key_file),
        table("here", here, key_file, priority="2") + table("there", there, key_file),
        table("there", there, key_file),
        table("here", there, key_file) + table("there", here, key_file, models='["gemini-3-*"]'),
    )
    over = asyncio.Event()

    async def keep_asking(gateway: Gateway) -> list[int]:
        statuses = []
        async with client(gateway) as connection:
            while not over.is_set():
                statuses.append(await asked(gateway, connection))
        return statuses

    with running(tmp_path, files[0], SERVER__WORKERS=str(workers)) as gateway:
        asking = [asyncio.create_task(keep_asking(gateway)) for _ in range(8)]
        for number in range(1, 6):
            write(gateway, files[number % len(files)])
            await hang_up(gateway, workers=workers)
        over.set()
        statuses = [status for statuses in await asyncio.gather(*asking) for status in statuses]
        assert len(statuses) == here.total_requests + there.total_requests
        assert set(statuses) == {200}


async def test_a_bad_file_changes_nothing_and_it_is_said_why(
    tmp_path: Path, here: RawUpstream, key_file: Path
) -> None:
    good = table("studio", here, key_file)
    with running(tmp_path, good, SERVER__WORKERS="2") as gateway:
        write(gateway, good + table("studio", here, key_file))
        why = await hang_up(gateway, STAYS)
        assert why == f"{gateway.config_path}: upstreams[1].name: 'studio' is taken by another upstream"
        assert checked(gateway) == f"error: {why}"
        await ask_many(gateway, MANY)
        assert here.total_requests == MANY
        write(gateway, good)
        assert await hang_up(gateway, workers=2) == "are as before"


async def test_a_worker_that_starts_later_has_what_the_others_have(
    tmp_path: Path, here: RawUpstream, there: RawUpstream, key_file: Path
) -> None:
    with running(tmp_path, table("here", here, key_file), SERVER__WORKERS="2") as gateway:
        write(gateway, table("there", there, key_file))
        await hang_up(gateway, workers=2)
        good = gateway.config_path.read_text()
        key_file.unlink()
        gateway.config_path.write_text("[server")
        first = processes(gateway)
        for process in first.values():
            os.kill(process, signal.SIGKILL)
        await ask_many(gateway, MANY)  # who waits for a worker is served by its successor
        assert not {*processes(gateway).values()} & {*first.values()}
        assert (here.total_requests, there.total_requests) == (0, MANY)
        assert {request.header("x-goog-api-key")[0] for request in there.requests} == {KEY}
        # The next good file counts for them as for any other.
        key_file.write_text(NEXT_KEY)
        gateway.config_path.write_text(good)
        assert await hang_up(gateway, workers=2) == "changed: there (keys)"
        await ask_many(gateway, 1)
        assert there.requests[-1].header("x-goog-api-key") == [NEXT_KEY]


async def test_what_needs_a_restart_is_told(tmp_path: Path, here: RawUpstream, key_file: Path) -> None:
    with running(tmp_path, table("studio", here, key_file)) as gateway:
        text = gateway.config_path.read_text()
        text = text.replace("[server]\n", "[server]\nmax_body_bytes = 1\n").replace("= 0\n", "= 1\n")
        gateway.config_path.write_text(text)
        beginning = "WARNING gateway.reload: what changed here needs a restart: "
        assert await hang_up(gateway, beginning) == "server.max_body_bytes, limits.tokens_per_minute"
        assert ask(gateway.url, gateway.token).status == 200


def test_a_service_manager_is_told_when_it_begins_and_when_it_is_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(DEADLINE)
        manager.bind(str(tmp_path / "notify"))
        config_path = tmp_path / "gateway.toml"
        config_path.write_text(SIMULATED)
        environment = at_home(tmp_path) | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        process = Process(["serve", "--config", str(config_path)], environment)
        try:
            assert manager.recv(4096) == b"READY=1"
            for content in (SIMULATED, "nothing of the kind"):
                config_path.write_text(content)
                process.popen.send_signal(signal.SIGHUP)
                state, since = manager.recv(4096).decode().split("\n")
                assert state == "RELOADING=1"
                microseconds = int(since.removeprefix("MONOTONIC_USEC="))
                assert 0 <= time.monotonic() - microseconds / 1_000_000 < DEADLINE
                assert manager.recv(4096) == b"READY=1"
        finally:
            code = process.stop()
        assert code == 0
        assert manager.recv(4096) == b"STOPPING=1"
    assert f"{STAYS}{config_path}: is not valid TOML" in "\n".join(process.log_lines())


def test_without_a_file_it_ends_with_its_terminal(tmp_path: Path) -> None:
    process = Process(["serve"], at_home(tmp_path))
    process.wait_for_line(LISTENING)
    process.popen.send_signal(signal.SIGHUP)
    assert process.wait() == -signal.SIGHUP
