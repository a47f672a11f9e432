"""Several workers: how all of them end, and what becomes of a gateway whose workers don't start."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from tests.service.rig import (
    EVENTS,
    UPSTREAM_KEY,
    accepts,
    access_lines,
    at_home,
    get,
    over,
    port_of,
    running,
    serve_to_its_end,
)
from tests.service.worker_rig import answer, ask_many, begin, by_worker, complete, owned, processes
from tests.support.connection_owner import listening
from tests.support.eventually import eventually
from tests.support.gateway import start_gateway
from tests.support.raw_upstream import RawUpstream

STREAMS = 20
"""So many that each of two workers has some."""


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        running.answer_always(answer)
        yield running


@pytest.mark.parametrize("told", ["the parent", "every process"])
async def test_a_signal_drains_them_all(tmp_path: Path, upstream: RawUpstream, told: str) -> None:
    """A service manager may signal every process of a service; that must not count as a second signal."""
    with running(tmp_path, upstream, SERVER__WORKERS="2") as gateway:
        async with AsyncExitStack() as opened:
            streams = await begin(gateway, opened, STREAMS)
            workers = set(processes(gateway).values())
            assert set(owned(gateway, (connection for connection, _ in streams))) == workers
            gateway.process.popen.send_signal(signal.SIGTERM)
            for process in workers if told == "every process" else ():
                os.kill(process, signal.SIGTERM)
            await eventually("new connections are refused", lambda: not accepts(gateway.url))
            assert get(gateway.admin_url, "/readyz").json == {"ready": False, "reason": "draining"}
            upstream.set("go")
            await complete(streams)
        assert gateway.stop() == 0
        lines = access_lines(gateway.log_lines())
    # Beside them, connections that asked whether new ones are refused may have been told so.
    assert [line["ending"] for line in lines if line["status"] == 200] == ["complete"] * STREAMS


async def test_a_second_signal_cuts_them_all(tmp_path: Path, upstream: RawUpstream) -> None:
    with running(tmp_path, upstream, SERVER__WORKERS="2", SERVER__DRAIN_SECONDS="600") as gateway:
        async with AsyncExitStack() as opened:
            streams = await begin(gateway, opened, STREAMS)
            gateway.process.popen.send_signal(signal.SIGINT)
            await eventually("new connections are refused", lambda: not accepts(gateway.url))
            gateway.process.popen.send_signal(signal.SIGINT)
            for connection, stream in streams:
                await connection.read_body(stream)
                assert stream.ended == "eof_without_terminator"
                error = json.loads(stream.body.removeprefix(EVENTS[0]).removeprefix(b"data: "))["error"]
                assert error["message"] == "gateway draining"


async def test_workers_without_a_parent_drain_and_end(tmp_path: Path, upstream: RawUpstream) -> None:
    settings = {"GATEWAY_SERVER__WORKERS": "2", "SERVICE_UPSTREAM_KEY": UPSTREAM_KEY}
    gateway = start_gateway(tmp_path, over(upstream), settings)
    workers = processes(gateway).values()
    try:
        async with AsyncExitStack() as opened:
            streams = await begin(gateway, opened, 4)
            os.kill(gateway.process.popen.pid, signal.SIGKILL)
            await eventually("new connections are refused", lambda: not accepts(gateway.url))
            upstream.set("go")
            await complete(streams)
        await eventually("they have ended", lambda: all(map(ended, workers)))
    finally:
        for process in workers:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        gateway.process.kill()


def ended(process: int) -> bool:
    """Whether the process is gone, or waits for somebody to ask how it ended."""
    try:
        return (
            re.search(r"^State:\s+Z", Path(f"/proc/{process}/status").read_text(), re.MULTILINE) is not None
        )
    except FileNotFoundError:
        return True


async def test_one_that_cannot_start_again_is_tried_less_and_less_and_misses_no_request(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    obstacle = tmp_path / "obstacle"
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, sys\nif 'worker' in sys.orig_argv and os.path.exists({str(obstacle)!r}): os._exit(3)\n"
    )
    with running(tmp_path, upstream, {"PYTHONPATH": str(tmp_path)}, SERVER__WORKERS="2") as gateway:
        port = port_of(gateway.url)
        assert listening(port) == 2
        obstacle.touch()
        os.kill(processes(gateway)[1], signal.SIGKILL)
        for pause in ("0.0", "0.5", "1.0", "2.0"):
            gateway.process.wait_for_line(f"worker 1 .*; starting another in {pause} s$")
        await eventually("the other one alone listens", lambda: listening(port) == 1)
        await ask_many(gateway, 20)
        assert get(gateway.admin_url, "/readyz").status == 200
        obstacle.unlink()
        await eventually("both listen again", lambda: listening(port) == 2)
        await ask_many(gateway, 20)
        assert by_worker(gateway, "gateway_worker_restarts_total") == {1: 4, 2: 0}


def test_a_start_without_workers_fails(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'worker' in sys.orig_argv: os._exit(3)\n", encoding="utf-8"
    )
    environment = at_home(tmp_path) | {"PYTHONPATH": str(tmp_path)}
    failed = serve_to_its_end("--workers", "2", environment=environment)
    assert failed.code == 1
    assert re.search(r"^error: worker [12] ended with exit code 3$", failed.stderr, re.MULTILINE)
    assert "credential" not in failed.stderr
    assert not failed.stdout
