"""Vertex AI through a whole gateway: recorded exchanges unchanged, tokens from everywhere, changed files."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest

from tests.service.rig import DEADLINE, ask, client, get, running
from tests.support.eventually import eventually
from tests.support.gateway import Gateway
from tests.support.google import ACCOUNT, TokenEndpoint, service_account, workload_identity
from tests.support.raw_upstream import RawUpstream
from tests.support.recorded import RecordedExchange, recorded_exchanges
from tests.support.script import response
from tests.support.tls import TestCertificates, make_certificates
from tests.support.upstream_request import UpstreamRequest

DROPPED = {"server", "alt-svc"}
READ = "INFO gateway.reload: the configuration was read again: upstreams "


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> TestCertificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with TokenEndpoint() as serving:
        yield serving


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as serving:
        yield serving


def table(upstream: RawUpstream, credentials: str, *more: str) -> str:
    """The gateway's only upstream, whose models are the recordings'."""
    lines = [
        "[catalog]",
        'allow = ["gemini-*"]',
        "[[upstreams]]",
        'name = "vertex"',
        'kind = "vertex"',
        'project = "example-project"',
        f'base_url = "{upstream.url}"',
        f'credentials = "{credentials}"',
        *more,
    ]
    return "\n".join(lines) + "\n"


def bearer(request: UpstreamRequest) -> list[str]:
    """What it came with in place of a key, and nothing else does."""
    assert not request.header("x-goog-api-key")
    return request.header("authorization")


async def logged(gateway: Gateway, text: str, times: int = 1) -> None:
    """Wait until so many lines of the log have it."""
    await eventually(text, lambda: sum(text in line for line in gateway.log_lines()) == times, DEADLINE)


def recorded() -> list[RecordedExchange]:
    return [one for one in recorded_exchanges() if "aiplatform" in one.uri]


async def test_recorded_exchanges_pass_unchanged(tmp_path: Path, certificates: TestCertificates) -> None:
    tls = certificates.server.context()
    bundle = str(certificates.ca_file)
    with RawUpstream(tls=tls) as upstream, TokenEndpoint(tls=certificates.server.context()) as endpoint:
        credentials = service_account(tmp_path / "sa.json", endpoint.token_uri)
        configuration = table(upstream, credentials, f'ca_file = "{bundle}"')
        with running(tmp_path, configuration, {"REQUESTS_CA_BUNDLE": bundle}) as gateway:
            assert len(recorded()) == 6
            for exchange in recorded():
                framing: Literal["chunked", "length"] = "chunked" if exchange.alt else "length"
                upstream.answer_next(response(exchange.status, exchange.headers, exchange.body, framing))
                await unchanged(gateway, exchange)
                came = upstream.requests[-1]
                uri = urlsplit(exchange.uri)
                assert came.target == f"{uri.path}?{uri.query}".rstrip("?")
                assert came.body == (exchange.request or b"{}")
                assert bearer(came) == [f"Bearer {endpoint.issued[0]}"]
            assert len(endpoint.issued) == 1


async def unchanged(gateway: Gateway, exchange: RecordedExchange) -> None:
    """Ask for it: the answer is the recorded one."""
    body = exchange.request or b"{}"
    alt = f"?alt={exchange.alt}" if exchange.alt else ""
    head = (
        f"POST /ai-gateway/gemini/v1beta/models/{exchange.model}:{exchange.action}{alt} HTTP/1.1\r\n"
        f"Host: gateway.test\r\nx-goog-api-key: {gateway.token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    async with client(gateway) as asking:
        await asking.send(head.encode() + body)
        answer = await asking.read_response()
    assert (answer.status, answer.ended, answer.body) == (exchange.status, "complete", exchange.body)
    kept = [(name, value) for name, value in exchange.headers if name not in DROPPED]
    assert answer.headers[: len(kept)] == kept


def test_the_metadata_server_gives_tokens(
    tmp_path: Path, upstream: RawUpstream, endpoint: TokenEndpoint
) -> None:
    host = endpoint.url.removeprefix("http://")
    with running(tmp_path, table(upstream, "metadata"), {"GCE_METADATA_HOST": host}) as gateway:
        assert ask(gateway.url, gateway.token).status == 200
    assert bearer(upstream.requests[0]) == [f"Bearer {endpoint.issued[0]}"]
    paths = [urlsplit(request.target).path for request in endpoint.requests]
    account = "/computeMetadata/v1/instance/service-accounts/default/"
    assert paths == [account, account + "token"]


async def test_a_changed_credentials_file_is_taken_up_and_old_tokens_serve_until_then(
    tmp_path: Path, upstream: RawUpstream, endpoint: TokenEndpoint
) -> None:
    workers = 2
    file = tmp_path / "credentials.json"
    configuration = table(upstream, service_account(file, endpoint.token_uri))
    with running(tmp_path, configuration, SERVER__WORKERS=str(workers)) as gateway:
        first = set(endpoint.issued)
        assert len(first) == workers
        endpoint.refuses()
        workload_identity(file, endpoint)
        gateway.process.popen.send_signal(signal.SIGHUP)
        await logged(gateway, READ + "changed: vertex (credentials)")
        await logged(gateway, "gets no new access token", workers)
        assert ask(gateway.url, gateway.token).status == 200
        assert bearer(upstream.requests[-1])[0].removeprefix("Bearer ") in first
        endpoint.works()
        await eventually("new tokens", lambda: len(endpoint.issued) == 2 * workers, DEADLINE)
        await logged(gateway, "has a new access token", workers)
        assert ask(gateway.url, gateway.token).status == 200
        assert bearer(upstream.requests[-1])[0].removeprefix("Bearer ") in set(endpoint.issued) - first
        assert upstream.total_connections == len({request.connection for request in upstream.requests})


async def test_a_bad_credentials_file_changes_nothing(
    tmp_path: Path, upstream: RawUpstream, endpoint: TokenEndpoint
) -> None:
    file = tmp_path / "credentials.json"
    with running(tmp_path, table(upstream, service_account(file, endpoint.token_uri))) as gateway:
        file.write_text("{}")
        gateway.process.popen.send_signal(signal.SIGHUP)
        why = f"credentials: file:{file} is not the JSON file of a service account or a workload identity"
        await logged(gateway, "the configuration stays as it was: ")
        assert gateway.log_lines()[-1].endswith(why)
        assert ask(gateway.url, gateway.token).status == 200
        assert bearer(upstream.requests[-1]) == [f"Bearer {endpoint.issued[0]}"]


async def test_a_gateway_starts_without_a_token_and_asks_as_soon_as_it_has_one(
    tmp_path: Path, upstream: RawUpstream, endpoint: TokenEndpoint
) -> None:
    endpoint.refuses()
    credentials = service_account(tmp_path / "sa.json", endpoint.token_uri)
    with running(tmp_path, table(upstream, credentials)) as gateway:
        assert get(gateway.admin_url, "/readyz").status == 200
        await logged(gateway, "it is not asked until there is one")
        refused = ask(gateway.url, gateway.token)
        assert (refused.status, refused.headers["x-gateway-error"]) == (502, "UPSTREAM_FAILED")
        assert not upstream.requests
        endpoint.works()
        await logged(gateway, "has a new access token")
        assert ask(gateway.url, gateway.token).status == 200
        assert bearer(upstream.requests[-1]) == [f"Bearer {endpoint.issued[0]}"]
        assert ACCOUNT not in "\n".join(gateway.log_lines())


async def test_another_gateways_bearer_is_read_again_with_the_file(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    file = tmp_path / "bearer"
    file.write_text("first-bearer\n")
    configuration = (
        f'[[upstreams]]\nname = "other"\nkind = "gateway"\nbase_url = "{upstream.url}"\n'
        f'keys = ["file:{file}"]\n'
    )
    with running(tmp_path, configuration) as gateway:
        assert ask(gateway.url, gateway.token).status == 200
        file.write_text("second-bearer\n")
        gateway.process.popen.send_signal(signal.SIGHUP)
        await logged(gateway, READ + "changed: other (keys)")
        assert ask(gateway.url, gateway.token).status == 200
    assert [bearer(request) for request in upstream.requests] == [
        ["Bearer first-bearer"],
        ["Bearer second-bearer"],
    ]
    assert {request.target for request in upstream.requests} == {
        "/ai-gateway/gemini/v1beta/models/gemini-2-5-flash:generateContent"
    }
