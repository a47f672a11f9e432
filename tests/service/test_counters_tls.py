"""Limits counted on a Redis server over TLS: only on one whose certificate is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.rig import ask, metric, running
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer
from tests.support.tls import TestCertificates, make_certificates

LIMIT = 1_000
"""Requests a minute."""


@pytest.fixture
def certificates(tmp_path: Path) -> TestCertificates:
    folder = tmp_path / "certificates"
    folder.mkdir()
    return make_certificates(folder)


@pytest.fixture
def redis(certificates: TestCertificates) -> Iterator[RedisServer]:
    server = RedisServer(tls=certificates.server)
    yield server
    server.stop()


def settings(redis: RedisServer) -> dict[str, str]:
    return {"COUNTERS__URL": redis.url, "LIMITS__REQUESTS_PER_MINUTE": str(LIMIT)}


async def test_a_server_that_is_trusted_counts(
    tmp_path: Path, redis: RedisServer, certificates: TestCertificates
) -> None:
    trust = {"SSL_CERT_FILE": str(certificates.ca_file)}
    with running(tmp_path, None, trust, **settings(redis)) as gateway:

        def counted() -> bool:
            return ask(gateway.url, gateway.token).status == 200 and (
                metric(gateway.admin_url, "gateway_counters_away") == 0
            )

        await eventually("requests are counted there", counted)
        left = [int(ask(gateway.url, gateway.token).headers["x-ratelimit-remaining-requests"]) for _ in "12"]
        assert left[0] - left[1] == 1
        assert not [line for line in gateway.log_lines() if "counters are away" in line]


async def test_a_server_that_is_not_trusted_is_not_used(tmp_path: Path, redis: RedisServer) -> None:
    with running(tmp_path, **settings(redis)) as gateway:
        assert ask(gateway.url, gateway.token).status == 200  # counted by this machine alone
        assert metric(gateway.admin_url, "gateway_counters_away") == 1
        [told] = [line for line in gateway.log_lines() if "counters are away" in line]
        assert "certificate" in told.lower()
