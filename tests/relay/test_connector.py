"""The pool of connections to one origin: what is kept and for how long, and how many there may be."""

from __future__ import annotations

import asyncio
import gc
import ssl

import pytest

from gateway.errors import TooManyConnections
from gateway.upstreams.connection import State, UpstreamConnection
from gateway.upstreams.connector import Connector
from tests.relay.conftest import Connect
from tests.relay.connectors import NO_TLS, Exchange, exchange
from tests.relay.parts import CUTS, WHOLE
from tests.support.eventually import eventually
from tests.support.raw_upstream import RawUpstream
from tests.support.script import Step, keep_open, send, wait_for
from tests.support.tls import TestCertificates


async def test_the_connection_used_last_is_taken_first(connect: Connect, upstream: RawUpstream) -> None:
    connector = connect(upstream)
    assert connector.take() is None
    first, second = await connector.connect(), await connector.connect()
    assert connector.take() is None
    await exchange(second)
    await exchange(first)
    assert connector.take() is first
    assert connector.take() is second
    assert connector.take() is None
    assert set(connector.open) == {first, second}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_nothing_is_left_of_what_the_upstream_closed(
    cut: list[Step], scheme: str, connect: Connect, certificates: TestCertificates
) -> None:
    server, client = (certificates.server.context(), certificates.client_context())
    with RawUpstream(tls=server if scheme == "https" else None) as upstream:
        connector = connect(upstream, tls=client if scheme == "https" else None)
        upstream.answer_next([send(WHOLE), wait_for("idle"), *cut])
        await exchange(await connector.connect())
        assert len(connector.open) == 1
        upstream.set("idle")
        await eventually("it is gone", lambda: not connector.open)
        gc.collect()
        assert not [one for one in gc.get_objects() if isinstance(one, UpstreamConnection)]
        assert connector.take() is None


async def test_a_connection_that_is_about_to_close_is_not_taken(
    connect: Connect, upstream: RawUpstream
) -> None:
    connector = connect(upstream)
    first, second = await connector.connect(), await connector.connect()
    await exchange(first)
    await exchange(second)
    assert second.transport
    second.transport.close()
    assert connector.take() is first
    assert connector.take() is None


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_connection_that_spoke_unasked_is_not_taken(
    scheme: str, connect: Connect, certificates: TestCertificates
) -> None:
    """Not even before the event loop has closed it."""
    with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
        connector = connect(upstream, tls=certificates.client_context() if scheme == "https" else None)
        connection = await connector.connect()
        await exchange(connection)
        connection.data_received(WHOLE)
        assert connector.take() is None
        await upstream.connections_open(0)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_it_can_be_looked_at_and_written_to_at_any_time(
    scheme: str, connect: Connect, certificates: TestCertificates
) -> None:
    """There are turns of the event loop in which a TLS transport has no socket any more."""
    with RawUpstream(tls=certificates.server.context() if scheme == "https" else None) as upstream:
        connector = connect(upstream, tls=certificates.client_context() if scheme == "https" else None)
        connection = await connector.connect()
        upstream.answer_next([wait_for("go"), *CUTS["rst"]])
        request = Exchange(connection)
        await upstream.request(0)
        upstream.set("go")
        while not request.over.done():
            connection.look()
            connection.write(b" ")
            await asyncio.sleep(0)
        connection.look()
        connection.write(b" ")
        await upstream.connections_open(0)


async def test_idle_connections_are_closed_in_time(connect: Connect, upstream: RawUpstream) -> None:
    connector = connect(upstream, idle_seconds=0.05)
    in_use, *others = [await connector.connect() for _ in range(5)]
    upstream.answer_next([wait_for("all are gone"), send(WHOLE)])
    request = Exchange(in_use)
    await upstream.request(0)
    for connection in others:
        await exchange(connection)
    await upstream.connections_open(1)
    assert list(connector.open) == [in_use]
    upstream.set("all are gone")
    assert await request.over is None
    await upstream.connections_open(0)
    assert not connector.open


async def test_each_connection_has_its_time_from_its_last_use(
    connect: Connect, upstream: RawUpstream
) -> None:
    connector = connect(upstream, idle_seconds=0.2)
    loop = asyncio.get_running_loop()
    first, second = await connector.connect(), await connector.connect()
    await exchange(first)
    half_time = loop.time() + 0.1
    while loop.time() < half_time:
        await exchange(second)
        assert connector.take() is second
    last_use = loop.time()
    await exchange(second)
    await eventually("the first is closed", lambda: first not in connector.open)
    await upstream.connections_open(0)
    assert last_use + 0.19 < loop.time()
    assert upstream.total_connections == 2


async def test_an_old_connection_is_not_kept_but_lives_on_while_in_use(
    connect: Connect, upstream: RawUpstream
) -> None:
    connector = connect(upstream, life_seconds=0.0)
    upstream.answer_always([send(WHOLE[:-1]), wait_for("the end"), send(WHOLE[-1:])])
    request = Exchange(await connector.connect())
    await upstream.request(0)
    assert [connection.state for connection in connector.open] == [State.ACTIVE]
    upstream.set("the end")
    assert await request.over is None
    assert connector.take() is None
    await upstream.connections_open(0)
    assert upstream.total_requests == 1


async def test_connections_opened_together_do_not_end_together(
    connect: Connect, upstream: RawUpstream
) -> None:
    connector = connect(upstream, life_seconds=100.0)
    now = asyncio.get_running_loop().time()
    await asyncio.gather(*(connector.connect() for _ in range(20)))
    await upstream.connections_open(20)
    ends = sorted(end - now for end in connector.open.values())
    assert ends[0] >= 80
    assert ends[0] + 2 < ends[-1] <= 101


async def test_no_more_connections_than_there_may_be(connect: Connect, upstream: RawUpstream) -> None:
    connector = connect(upstream, max_open=3)
    got = await asyncio.gather(*(connector.connect() for _ in range(5)), return_exceptions=True)
    refused = [one for one in got if isinstance(one, TooManyConnections)]
    assert (len(refused), len(connector.open)) == (2, 3)
    assert isinstance(refused[0], OSError)
    next(iter(connector.open)).abort()
    await eventually("one is closed", lambda: len(connector.open) == 2)
    await connector.connect()
    with pytest.raises(TooManyConnections):
        await connector.connect()
    await upstream.connections_open(3)
    assert upstream.total_connections == 4


async def test_an_attempt_that_failed_or_was_given_up_counts_no_more(
    connect: Connect, certificates: TestCertificates
) -> None:
    with RawUpstream(tls=certificates.server.context()) as upstream:
        connector = connect(upstream, max_open=1, tls=certificates.client_context(), connect_timeout=60.0)
        for number in (0, 2):
            upstream.accept_next(NO_TLS)
            with pytest.raises(ssl.SSLError):
                await connector.connect()
            upstream.accept_next([keep_open()])
            attempt = asyncio.create_task(connector.connect())
            await upstream.connection(number + 1)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
        await upstream.connections_open(0)


async def test_an_attempt_that_took_too_long_counts_no_more(
    connect: Connect, certificates: TestCertificates
) -> None:
    with RawUpstream(tls=certificates.server.context()) as upstream:
        connector = connect(upstream, max_open=1, tls=certificates.client_context(), connect_timeout=0.1)
        for number in range(3):
            upstream.accept_next([keep_open()])
            with pytest.raises(TimeoutError):
                await connector.connect()
            await upstream.connection(number)
        await upstream.connections_open(0)


@pytest.mark.parametrize("closed", [True, False])
async def test_nothing_is_left_of_a_connector_without_connections(
    closed: bool, upstream: RawUpstream
) -> None:
    """Not even a timer, which would hold it."""
    connector = Connector(upstream.host, upstream.port, None, 5.0, idle_seconds=60.0 if closed else 0.02)
    address = id(connector)  # a compiled class knows no weak references
    await exchange(await connector.connect())
    if closed:
        connector.close()
    await upstream.connections_open(0)
    del connector

    def is_gone() -> bool:
        gc.collect()
        return not any(id(one) == address and isinstance(one, Connector) for one in gc.get_objects())

    await eventually("it is gone", is_gone)
