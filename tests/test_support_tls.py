"""The raw upstream under TLS: certificates, truncation, close_notify."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from tests.support.raw_upstream import RawUpstream
from tests.support.script import fin, keep_open, response, response_bytes, send
from tests.support.tls import TestCertificates, make_certificates

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> TestCertificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def tls_socket(upstream: RawUpstream, certificates: TestCertificates) -> ssl.SSLSocket:
    plain = socket.create_connection((upstream.host, upstream.port), 5)
    context = certificates.client_context()
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)  # set by some builds of Python
    return context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)


async def test_tls(certificates: TestCertificates) -> None:
    with RawUpstream(tls=certificates.server.context()) as upstream:
        upstream.answer_always(lambda request: response(body=request.body))
        for host in ("localhost", "127.0.0.1"):
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection(
                    upstream.host, upstream.port, ssl=certificates.client_context(), server_hostname=host
                )
                writer.write(REQUEST)
                assert await reader.readuntil(b"body") == response_bytes(body=b"body")
                writer.close()
                await writer.wait_closed()
        await upstream.connections_open(0)
        assert all(connection.close_notify for connection in upstream.connections)


async def test_tls_ended_without_close_notify_is_a_truncation(certificates: TestCertificates) -> None:
    def ask() -> bytes:
        with tls_socket(upstream, certificates) as sock:
            sock.sendall(REQUEST)
            return b"".join(iter(lambda: sock.recv(65536), b""))

    with RawUpstream(tls=certificates.server.context()) as upstream:
        upstream.answer_next(response(body=b"1234", framing="close"))
        assert (await asyncio.to_thread(ask)).endswith(b"1234")
        upstream.answer_next([send(response_bytes(body=b"1234", framing="close")), fin()])
        with pytest.raises(ssl.SSLError, match=r"(?i)eof"):
            await asyncio.to_thread(ask)


async def test_a_busy_upstream_ignores_close_notify_and_notices_fin(certificates: TestCertificates) -> None:
    def say_goodbye() -> None:
        sock.settimeout(0.2)
        sock.unwrap()

    with RawUpstream(tls=certificates.server.context()) as upstream:
        upstream.answer_next([keep_open()])
        with tls_socket(upstream, certificates) as sock:
            sock.sendall(REQUEST)
            await (await upstream.request()).whole_body()
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(say_goodbye)
            connection = await upstream.connection()
            await upstream.until("close_notify", lambda: connection.close_notify)
            assert connection.is_open
        assert (await connection.closed()).kind == "fin"


async def test_a_wrong_name_and_an_unknown_ca_are_refused(certificates: TestCertificates) -> None:
    with RawUpstream(tls=certificates.wrong_name.context()) as upstream:
        for context in (certificates.client_context(), ssl.create_default_context()):
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection(
                    upstream.host, upstream.port, ssl=context, server_hostname="localhost"
                )
        await upstream.until("the refusals", lambda: all(c.tls_error for c in upstream.connections))
        assert (upstream.total_connections, upstream.total_requests) == (2, 0)
