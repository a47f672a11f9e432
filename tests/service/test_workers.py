"""Several workers on one port: each has its share, and nothing is lost where one is killed or replaced."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from tests.service.rig import (
    DEADLINE,
    access_lines,
    ask,
    at_home,
    client,
    metric,
    port_of,
    request,
    running,
    serve_to_its_end,
)
from tests.service.test_output import ADMIN, PIPE_BYTES
from tests.service.test_start import LISTENING, TOKEN
from tests.service.worker_rig import (
    Samples,
    answer,
    ask_many,
    asked,
    begin,
    by_worker,
    complete,
    owned,
    processes,
    samples,
    total,
)
from tests.support.connection_owner import owners, waiting
from tests.support.eventually import eventually
from tests.support.finished import documented
from tests.support.process import Process
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream

CONNECTIONS = 1000
LOGGED = 1200


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        running.answer_always(answer)
        yield running


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_each_worker_gets_its_share(tmp_path: Path, many_files: None) -> None:
    """Whose a connection is, the kernel tells: which process holds the socket's inode.

    Each has had a request answered, so that it may stay for longer than one that waits for its first.
    """
    with running(tmp_path, SERVER__WORKERS="4") as gateway, ExitStack() as opened:
        port = port_of(gateway.url)
        clients = set()
        for _ in range(CONNECTIONS):
            sock = opened.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
            clients.add(sock.getsockname()[1])
        await eventually("all are accepted", lambda: waiting(port) == 0)
        workers = processes(gateway)
        holders = owners(port, workers.values())
        found = Counter(holders[client] for client in clients)
        shares = {worker: found[process] for worker, process in workers.items()}
        assert sum(shares.values()) == CONNECTIONS, shares
        even = CONNECTIONS / 4
        assert [0.7 * even <= shares[worker] <= 1.3 * even for worker in (1, 2, 3, 4)] == [True] * 4, shares
        await eventually(
            "the metrics tell it, too",
            lambda: by_worker(gateway, "gateway_worker_open_connections") == shares,
        )


async def test_the_limit_of_connections_is_shared_too(tmp_path: Path) -> None:
    with running(tmp_path, SERVER__WORKERS="2", SERVER__MAX_CONNECTIONS="20") as gateway:
        async with AsyncExitStack() as opened:
            for _ in range(60):
                await opened.enter_async_context(client(gateway))
            await eventually("40 are refused", lambda: total(gateway, "gateway_requests_total") == 40)
            assert {
                dict(labels)["reason"]
                for name, labels in samples(gateway)
                if name == "gateway_requests_total"
            } == {"OVERLOADED"}
            assert by_worker(gateway, "gateway_worker_open_connections").keys() == {1, 2}


async def test_killing_one_drops_nothing_that_waits_and_disturbs_no_other(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    with running(tmp_path, upstream, SERVER__WORKERS="3") as gateway:
        async with AsyncExitStack() as opened:
            streams = await begin(gateway, opened, 12)
            holders = owned(gateway, (connection for connection, _ in streams))
            victim = holders[0]
            assert victim
            lost = [stream for stream, holder in zip(streams, holders, strict=True) if holder == victim]
            os.kill(victim, signal.SIGSTOP)
            clients = [await opened.enter_async_context(client(gateway)) for _ in range(40)]
            answers = [asyncio.create_task(asked(gateway, connection)) for connection in clients]

            def unserved() -> int:
                return owned(gateway, clients).count(None)

            await eventually(
                "all are answered but those that wait for the victim",
                lambda: sum(task.done() for task in answers) == len(answers) - unserved(),
            )
            assert 0 < unserved() < len(answers)
            os.kill(victim, signal.SIGKILL)
            await ask_many(gateway, 20)
            assert set(await asyncio.gather(*answers)) == {200}

            upstream.set("go")
            await complete(stream for stream in streams if stream not in lost)
            for connection, stream in lost:
                await connection.read_body(stream)
                assert stream.ended in {"reset", "eof_without_terminator"}
        assert sum(by_worker(gateway, "gateway_worker_restarts_total").values()) == 1
        [line] = [line for line in gateway.log_lines() if "starting another" in line]
        assert line.endswith("was ended by SIGKILL; starting another in 0.0 s")


async def test_one_that_leaves_is_replaced_while_its_streams_go_on(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    path = tmp_path / "gateway.sock"
    listen = f"127.0.0.1:0, unix:{path}"
    with running(tmp_path, upstream, SERVER__WORKERS="2", SERVER__LISTEN=listen) as gateway:
        async with AsyncExitStack() as opened:
            streams = await begin(gateway, opened, 6)
            [leaving] = owned(gateway, [streams[0][0]])
            assert leaving
            os.kill(leaving, signal.SIGTERM)
            await eventually("another serves", lambda: leaving not in processes(gateway).values())
            await ask_many(gateway, 20)
            assert [ask(f"http+unix:{path}", gateway.token).status for _ in range(10)] == [200] * 10
            upstream.set("go")
            await complete(streams)
        await eventually("it has ended", lambda: not Path(f"/proc/{leaving}").exists())
        assert [ask(f"http+unix:{path}", gateway.token).status for _ in range(10)] == [200] * 10
        assert sum(by_worker(gateway, "gateway_worker_restarts_total").values()) == 1


async def test_metrics_are_the_sum_over_all_workers_and_never_go_back(tmp_path: Path) -> None:
    """Exact, since what the killed one had counted was a second old: its last report tells all of it."""
    with running(tmp_path, SERVER__WORKERS="3") as gateway:
        seen: list[Samples] = []

        def counted() -> float:
            seen.append(samples(gateway))
            return sum(value for (name, _), value in seen[-1].items() if name == "gateway_requests_total")

        await ask_many(gateway, 30)
        await eventually("all are counted", lambda: counted() == 30)
        os.kill(processes(gateway)[2], signal.SIGKILL)
        await eventually(
            "another is ready",
            lambda: counted() == 30 and by_worker(gateway, "gateway_worker_resident_memory_bytes")[2] > 0,
        )
        await ask_many(gateway, 20)
        await eventually("those, too", lambda: counted() == 50)
        of_workers = {name for name, labels in seen[-1] if dict(labels).keys() == {"worker"}}
        assert {f"`{name}`" for name in of_workers} == {row[0] for row in documented("Workers")}
        assert gateway.stop() == 0
        lines = access_lines(gateway.log_lines())
    assert len(lines) == 50
    names = {
        name: sum(value for (found, _), value in seen[-1].items() if found == name) for name, _ in seen[-1]
    }
    assert names["gateway_request_duration_seconds_count"] == 50
    assert names["gateway_body_bytes_total"] == sum(
        line["request_bytes"] + line["response_bytes"] for line in lines
    )
    assert names["gateway_tokens_total"] == sum(
        line["input_tokens"] + line["output_tokens"] + line["cached_tokens"] for line in lines
    )
    for earlier, later in pairwise(seen):
        for key, value in earlier.items():
            if key[0].endswith(("_total", "_bucket", "_count", "_sum")):
                assert later[key] >= value, key


def test_no_line_of_the_log_is_broken_by_another_workers(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    process = Process(["serve", "--workers", "4"], at_home(tmp_path), stdout=writing)
    os.close(writing)
    try:
        port = port_of(process.wait_for_line(LISTENING)[1])
        asyncio.run(_refused(port, LOGGED))
        process.popen.terminate()
        with os.fdopen(reading) as log:
            lines = [json.loads(line) for line in log]
        assert process.wait() == 0
    finally:
        process.kill()
    assert [line["status"] for line in lines] == [401] * LOGGED


async def _refused(port: int, count: int) -> None:
    """So many requests, over several connections at once, that need no upstream to be answered and logged."""

    async def one_after_the_other() -> None:
        async with RawClient("127.0.0.1", port, deadline=DEADLINE) as connection:
            for _ in range(count // 24):
                await connection.send(request("nt_live_wrong"))
                assert (await connection.read_response()).status == 401

    await asyncio.gather(*(one_after_the_other() for _ in range(24)))


def test_what_must_be_one_is_done_once(tmp_path: Path) -> None:
    """One credential at the first start, one word to the service manager, and no second gateway beside it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(DEADLINE)
        environment = at_home(tmp_path) | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        process = Process(["serve", "--workers", "2"], environment)
        try:
            url = process.wait_for_line(LISTENING)[1]
            admin_url = process.wait_for_line(ADMIN)[1]
            token = process.wait_for_line(TOKEN.pattern)[0]
            assert {ask(url, token).status for _ in range(10)} == {200}
            assert metric(admin_url, "process_open_fds") > 0
            taken = at_home(tmp_path, SERVER__LISTEN=url.removeprefix("http://"))
            second = serve_to_its_end("--workers", "2", environment=taken)
            assert (second.code, second.error.endswith(": address already in use")) == (1, True)
        finally:
            code = process.stop()
        assert code == 0
        assert [manager.recv(4096) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(4096)
    assert set(TOKEN.findall("\n".join(process.log_lines()))) == {token}
