"""TLS sessions are resumed, on both sides' word, and no certificate goes unchecked for it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from gateway.upstreams.tls_sessions import LIFE, SETTLING, TlsSessions
from tests.support.tls import CertificateFiles, TestCertificates, make_certificates

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
versions = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])


class Greeter(asyncio.Protocol):
    """A server's side: greets, so that a client that has the greeting has the tickets as well."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        resumed = transport.get_extra_info("ssl_object").session_reused
        cast(asyncio.WriteTransport, transport).write(b"resumed" if resumed else b"whole")


@asynccontextmanager
async def server(
    certificate: CertificateFiles, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, *, tickets: int = 2
) -> AsyncIterator[int]:
    """The port of a server. Each knows its own tickets only."""
    context = certificate.context()
    context.maximum_version = version
    context.num_tickets = tickets
    running = await asyncio.get_running_loop().create_server(Greeter, "127.0.0.1", 0, ssl=context)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()


class Client:
    """Makes connections with one context. Time passes only as a test says."""

    def __init__(self, certificates: TestCertificates) -> None:
        self.now = 1000.0
        self.context = certificates.client_context()
        self.sessions = TlsSessions(self.context, lambda: self.now)

    async def handshake(self, port: int, name: str = "127.0.0.1") -> str:
        """How one more connection began, in the words of both sides."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=self.context, server_hostname=name
        )
        greeting = (await reader.read(100)).decode()
        assert writer.get_extra_info("ssl_object").session_reused == (greeting == "resumed")
        writer.transport.abort()
        return greeting

    async def learn(self, port: int) -> None:
        """Have a session to resume."""
        assert await self.handshake(port) == "whole"
        self.now += SETTLING


@pytest.fixture
def client(certificates: TestCertificates) -> Client:
    return Client(certificates)


@versions
async def test_every_connection_after_the_first_resumes(
    version: ssl.TLSVersion, client: Client, certificates: TestCertificates
) -> None:
    async with server(certificates.server, version) as port:
        await client.learn(port)
        for _ in range(5):
            assert await client.handshake(port) == "resumed"


@versions
async def test_connections_opened_at_once_resume(
    version: ssl.TLSVersion, client: Client, certificates: TestCertificates
) -> None:
    async with server(certificates.server, version) as port:
        await client.learn(port)
        many = await asyncio.gather(*(client.handshake(port) for _ in range(20)))
        assert many == ["resumed"] * 20


@versions
async def test_a_server_that_forgot_its_tickets_gets_a_whole_handshake(
    version: ssl.TLSVersion, client: Client, certificates: TestCertificates
) -> None:
    async with server(certificates.server, version) as port:
        await client.learn(port)
        assert await client.handshake(port) == "resumed"
    async with server(certificates.server, version) as port:
        await client.learn(port)
        assert await client.handshake(port) == "resumed"


@versions
@pytest.mark.parametrize("trusted", ["nobody", "another name"])
async def test_a_wrong_certificate_is_refused_though_there_is_a_session(
    trusted: str,
    version: ssl.TLSVersion,
    client: Client,
    certificates: TestCertificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    wrong = certificates.wrong_name
    if trusted == "nobody":
        wrong = make_certificates(tmp_path_factory.mktemp("strangers")).server
    async with server(certificates.server, version) as port, server(wrong, version) as wrong_port:
        await client.learn(port)
        for _ in range(2):
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.handshake(wrong_port)
            client.now += SETTLING
        assert await client.handshake(port) == "resumed"


@versions
async def test_a_session_is_for_the_name_alone_whose_certificate_was_seen(
    version: ssl.TLSVersion, client: Client, certificates: TestCertificates
) -> None:
    async with server(certificates.server, version) as port:
        await client.learn(port)
        assert await client.handshake(port) == "resumed"
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.handshake(port, "elsewhere.example")
        assert await client.handshake(port, "localhost") == "whole"


@versions
async def test_the_certificate_is_seen_again_in_time_however_often_the_session_was_resumed(
    version: ssl.TLSVersion, client: Client, certificates: TestCertificates
) -> None:
    async with server(certificates.server, version) as port:
        await client.learn(port)
        for _ in range(9):
            assert await client.handshake(port) == "resumed"
            client.now += LIFE / 10
        assert await client.handshake(port) == "resumed"
        client.now += LIFE / 10
        await client.learn(port)
        assert await client.handshake(port) == "resumed"


@versions
async def test_after_a_failure_no_session_is_offered(
    version: ssl.TLSVersion, client: Client, certificates: TestCertificates
) -> None:
    async with server(certificates.server, version) as port:
        await client.learn(port)
        assert await client.handshake(port) == "resumed"
        client.sessions.forget()
        await client.learn(port)
        client.sessions.forget()
        assert await client.handshake(port) == "whole"


async def test_a_server_without_tickets_takes_no_session_from_another(
    client: Client, certificates: TestCertificates
) -> None:
    async with server(certificates.server) as port, server(certificates.server, tickets=0) as without:
        await client.learn(without)
        await client.learn(port)
        assert await client.handshake(port) == "resumed"
        await client.learn(without)
        assert await client.handshake(port) == "resumed"


@versions
async def test_a_session_is_read_when_it_has_settled_however_many_connections_follow(
    version: ssl.TLSVersion, client: Client, certificates: TestCertificates
) -> None:
    async with server(certificates.server, version) as port:
        for _ in range(4):
            assert await client.handshake(port) == "whole"
            client.now += SETTLING / 4
        assert await client.handshake(port) == "resumed"
