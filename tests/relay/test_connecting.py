"""How connections to the upstream are opened: many at once, at any of its addresses, over TLS."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from contextlib import ExitStack
from typing import Any

import pytest
from aiohappyeyeballs import AddrInfoType

from gateway.upstreams.connection import UpstreamConnection
from gateway.upstreams.connector import Connector
from gateway.upstreams.resolver import Resolver
from tests.relay.conftest import Connect
from tests.relay.connectors import NO_TLS, Names, exchange
from tests.support.census import connections
from tests.support.eventually import eventually
from tests.support.machine import open_files
from tests.support.raw_upstream import RawUpstream
from tests.support.script import stop_reading
from tests.support.tls import TestCertificates

MANY = 1000


async def test_a_thousand_at_once_are_opened_after_one_look_up(
    connect: Connect, upstream: RawUpstream
) -> None:
    names = Names("127.0.0.1")
    connector = connect(upstream, resolver=names.resolver(upstream.port))
    with open_files(2 * MANY + 500):
        connections = await asyncio.gather(*(connector.connect() for _ in range(MANY)))
        await upstream.connections_open(MANY)
        await asyncio.gather(*map(exchange, connections))
        assert (names.asked, upstream.total_connections, upstream.total_requests) == (1, MANY, MANY)
        connector.close()
        await upstream.connections_open(0)


async def test_no_thread_has_to_look_at_an_address(connect: Connect, upstream: RawUpstream) -> None:
    """The threads may be busy with slow look-ups. By its first step, an attempt has told the upstream."""
    attempt = asyncio.create_task(connect(upstream).connect())
    await asyncio.sleep(0)
    attempt.cancel()
    await upstream.connection(0)


async def test_a_dead_address_is_passed_over_and_each_is_the_first_in_turn(connect: Connect) -> None:
    """Three addresses with the same port; at one of them nobody listens."""
    with socket.create_server(("127.0.0.2", 0)) as second:
        port = second.getsockname()[1]
        with socket.create_server(("127.0.0.4", port)):
            names = Names("127.0.0.2", "127.0.0.3", "127.0.0.4")
            connector = Connector("upstream.example", port, None, 5.0, resolver=names.resolver(port))
            reached = []
            for _ in range(6):
                connection = await connector.connect()
                assert connection.transport
                reached.append(connection.transport.get_extra_info("peername")[0])
            assert reached == ["127.0.0.2", "127.0.0.4", "127.0.0.4"] * 2
            connector.close()
            await eventually("all connections closed", lambda: not connector.open)


async def test_an_address_that_does_not_answer_is_passed_over(
    connect: Connect, upstream: RawUpstream
) -> None:
    with socket.create_server(("127.0.0.2", upstream.port), backlog=0) as silent, ExitStack() as waiting:
        while True:  # what its queue has no room for gets no answer at all
            sock = waiting.enter_context(socket.socket())
            sock.settimeout(0.1)
            try:
                sock.connect(silent.getsockname())
            except TimeoutError:
                break
        names = Names("127.0.0.2", "127.0.0.1")
        connector = connect(upstream, resolver=names.resolver(upstream.port))
        await exchange(await connector.connect())


async def test_a_name_that_nobody_knows(connect: Connect, upstream: RawUpstream) -> None:
    async def look_up(host: str, port: int) -> list[AddrInfoType]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    connector = connect(upstream, resolver=Resolver("upstream.example", upstream.port, look_up))
    with pytest.raises(socket.gaierror):
        await connector.connect()


async def test_the_look_up_is_part_of_the_deadline(connect: Connect, upstream: RawUpstream) -> None:
    given_up = asyncio.Event()

    async def look_up(host: str, port: int) -> list[AddrInfoType]:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        raise AssertionError("nobody sets the other one")

    resolver = Resolver("upstream.example", upstream.port, look_up)
    connector = connect(upstream, resolver=resolver, connect_timeout=0.05)
    with pytest.raises(TimeoutError):
        await connector.connect()
    assert not given_up.is_set()
    connector.close()
    await given_up.wait()
    assert not upstream.total_connections


def is_resumed(connection: UpstreamConnection) -> bool:
    assert connection.transport
    resumed = connection.transport.get_extra_info("ssl_object").session_reused
    assert isinstance(resumed, bool)
    return resumed


async def one_more(connector: Connector) -> bool:
    """Whether a new connection, used once, resumed a session."""
    connection = await connector.connect()
    resumed = is_resumed(connection)
    await exchange(connection)
    connection.abort()
    return resumed


async def resumes(connector: Connector) -> None:
    """Return once new connections resume a session, which takes them some time to have."""
    async with asyncio.timeout(10):
        while not await one_more(connector):
            pass


async def test_new_connections_resume_the_session_and_the_certificate_counts(
    connect: Connect, certificates: TestCertificates
) -> None:
    with RawUpstream(tls=certificates.server.context()) as upstream:
        connector = connect(upstream, tls=certificates.client_context())
        assert not await one_more(connector)
        await resumes(connector)
        assert await one_more(connector)
        upstream.tls = certificates.wrong_name.context()
        for _ in range(2):
            with pytest.raises(ssl.SSLCertVerificationError):
                await connector.connect()
        assert not connector.open
        upstream.tls = certificates.server.context()
        assert not await one_more(connector)
        await resumes(connector)


async def test_a_connection_that_breaks_in_its_handshake_has_the_next_do_the_whole_of_it(
    connect: Connect, certificates: TestCertificates
) -> None:
    with RawUpstream(tls=certificates.server.context()) as upstream:
        connector = connect(upstream, tls=certificates.client_context())
        await resumes(connector)
        upstream.accept_next(NO_TLS)
        with pytest.raises(ssl.SSLError):
            await connector.connect()
        assert not await one_more(connector)


def descriptors(port: int) -> list[int]:
    """Of this process's connections to that port."""
    return [descriptor for descriptor, _, there in connections() if there == port]


@pytest.mark.parametrize("held_up", [False, True], ids=["in time", "before it knows of the socket"])
async def test_one_that_is_given_up_just_when_its_handshake_is_over(
    held_up: bool, connect: Connect, certificates: TestCertificates
) -> None:
    """Its socket is closed at once, and nothing more is done with it.

    Where a second one holds the event loop up until the first is answered, the first attempt is given up
    before it has heard that its socket is in use.
    """
    loop = asyncio.get_running_loop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    context = certificates.client_context()
    with RawUpstream(tls=certificates.server.context()) as upstream:
        for _ in range(1 + held_up):
            upstream.accept_next([stop_reading()])  # nobody says goodbye
        connector = connect(upstream, tls=context)
        begun: set[int] = set()
        plain: Any = context.sslobject_class

        class Watched(plain):  # type: ignore[misc]
            def do_handshake(self) -> None:
                if id(self) not in begun:
                    begun.add(id(self))
                    if len(begun) == 2:
                        assert select.select(descriptors(upstream.port), [], [], 5)[0]
                super().do_handshake()  # raises until the handshake is over
                for attempt in attempts:
                    attempt.cancel()

        context.sslobject_class = Watched
        attempts = [asyncio.create_task(connector.connect()) for _ in range(1 + held_up)]
        ends = await asyncio.gather(*attempts, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * len(attempts)
        await upstream.connections_open(0)
        assert not descriptors(upstream.port)
        context.sslobject_class = plain  # a context and its TLS objects are never collected
    assert not faults
