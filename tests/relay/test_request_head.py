"""The request's head as the upstream sees it: its own path and model name, one credential, few headers."""

from __future__ import annotations

import base64

import pytest

from tests.relay.conftest import Start
from tests.relay.parts import UNARY, WHOLE
from tests.support.places import UPSTREAM_KEY
from tests.support.raw_upstream import RawUpstream
from tests.support.script import send
from tests.support.stack import CREDENTIAL, Stack
from tests.support.upstream_request import UpstreamRequest

Headers = list[tuple[str, str]]


async def relayed(
    stack: Stack, upstream: RawUpstream, target: str, headers: Headers, *, authenticated: bool = True
) -> UpstreamRequest:
    """What the upstream gets of a request to that target."""
    upstream.answer_next([send(WHOLE)])
    credential = [(CREDENTIAL, stack.token)] if authenticated else []
    lines = [f"{name}: {value}" for name, value in [("Host", "x"), *credential, *headers]]
    head = "\r\n".join([f"POST {target} HTTP/1.1", *lines, "Content-Length: 2", "", ""])
    async with stack.client() as client:
        await client.send(head.encode("latin-1") + b"{}")
        answer = await client.read_response()
        assert (answer.status, answer.body) == (200, UNARY)
    request = upstream.requests[-1]
    assert await request.whole_body() == b"{}"
    return request


GENERATE = "/ai-gateway/gemini/v1beta/models/gemini-2.5-flash:generateContent"


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (
            "/ai-gateway/gemini/v1beta/models/gemini-2.5-flash:generateContent",
            "/v1beta/models/{}:generateContent",
        ),
        ("/v1/gemini/v1beta/models/gemini-2-5-flash:generateContent", "/v1beta/models/{}:generateContent"),
        ("/ai-gateway/gemini/v1/models/gemini-2.5-flash:generateContent", "/v1/models/{}:generateContent"),
        ("/v1/gemini/v1alpha/models/gemini-2.5-flash:generateContent", "/v1alpha/models/{}:generateContent"),
        ("/ai-gateway/gemini/models/gemini-2.5-flash:generateContent", "/v1beta/models/{}:generateContent"),
        (
            "/ai-gateway/gemini/v1/models/databricks-gemini-2-5-flash%3AstreamGenerateContent?alt=sse",
            "/v1/models/{}:streamGenerateContent?alt=sse",
        ),
        (
            "/ai-gateway/gemini/v1/models/%67emini-2.5-flash:streamGenerateContent?key=&a=b&%24alt=json&c",
            "/v1/models/{}:streamGenerateContent?%24alt=json",
        ),
        (
            GENERATE + "?$alt=json;enum-encoding=int",
            "/v1beta/models/{}:generateContent?$alt=json;enum-encoding=int",
        ),
        (
            GENERATE + "?fields=candidates&prettyPrint=false&access_token=x&x=%00%zz",
            "/v1beta/models/{}:generateContent",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["ai-studio", "gateway"])
async def test_path_and_query(asked: str, sent: str, kind: str, start: Start, upstream: RawUpstream) -> None:
    stack = await start(kind=kind, upstream_url=upstream.url + "/base")
    prefix, model = (
        ("", "gemini-2.5-flash") if kind == "ai-studio" else ("/ai-gateway/gemini", "gemini-2-5-flash")
    )
    request = await relayed(stack, upstream, asked, [])
    assert (request.method, request.version) == ("POST", "HTTP/1.1")
    assert request.target == "/base" + prefix + sent.format(model)


async def test_the_whole_head_of_a_request_with_everything(start: Start, upstream: RawUpstream) -> None:
    stack = await start(forward_request_headers=frozenset({b"x-goog-user-project"}))
    request = await relayed(
        stack,
        upstream,
        GENERATE,
        [
            ("content-TYPE", "application/json; charset=\xfc"),
            ("Content-Encoding", "gzip"),
            ("Accept", "*/*"),
            ("accept", "text/event-stream"),
            ("User-Agent", "google-genai-sdk/3.4.0 gl-python/3.11"),
            ("X-Goog-Api-Client", "gl-python/3.11"),
            ("X-Goog-User-Project", "billing"),
            ("Accept-Encoding", "gzip, br"),
            ("Cookie", "session=1"),
            ("X-Goog-FieldMask", "candidates"),
            ("X-HTTP-Method-Override", "GET"),
            ("X-Forwarded-For", "1.2.3.4"),
            ("X-Request-Id", "mine"),
            ("Forwarded", "for=1.2.3.4"),
            ("Traceparent", "00-1-2-3"),
            ("Via", "1.1 x"),
            ("Connection", "keep-alive, te"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authorization", "Basic x"),
            ("X-Gateway-Error", "INTERNAL"),
            ("Referer", "https://example.com/?key=secret"),
        ],
    )
    assert request.headers == [
        ("Host", f"127.0.0.1:{upstream.port}"),
        ("x-goog-api-key", UPSTREAM_KEY),
        ("content-TYPE", "application/json; charset=\xfc"),
        ("Content-Encoding", "gzip"),
        ("Accept", "*/*"),
        ("accept", "text/event-stream"),
        ("User-Agent", "google-genai-sdk/3.4.0 gl-python/3.11"),
        ("X-Goog-Api-Client", "gl-python/3.11"),
        ("X-Goog-User-Project", "billing"),
        ("Accept-Encoding", "gzip"),
        ("Content-Length", "2"),
    ]


@pytest.mark.parametrize("kind", ["ai-studio", "gateway"])
@pytest.mark.parametrize("carrier", ["bearer", "basic", "header", "query", "all"])
async def test_the_upstream_gets_one_credential_and_it_is_the_gateways(
    kind: str, carrier: str, start: Start, upstream: RawUpstream
) -> None:
    stack = await start(kind=kind)
    basic = base64.b64encode(f"token:{stack.token}".encode()).decode()
    carriers: dict[str, tuple[str, Headers]] = {
        "bearer": ("", [("Authorization", f"Bearer {stack.token}")]),
        "basic": ("", [("Authorization", f"Basic {basic}")]),
        "header": ("", [("X-Goog-Api-Key", stack.token)]),
        "query": (f"?alt=json&key={stack.token}", []),
        "all": (
            f"?key={stack.token}",
            [
                ("Authorization", f"Bearer {stack.token}"),
                ("x-goog-api-key", "dummy"),
                ("X-Api-Key", stack.token),
            ],
        ),
    }
    query, headers = carriers[carrier]
    request = await relayed(stack, upstream, GENERATE + query, headers, authenticated=False)
    key, bearer = ([UPSTREAM_KEY], []) if kind == "ai-studio" else ([], [f"Bearer {UPSTREAM_KEY}"])
    assert (request.header("x-goog-api-key"), request.header("authorization")) == (key, bearer)
    assert stack.token.encode() not in request.raw_head
    assert b"dummy" not in request.raw_head
    assert request.raw_head.count(UPSTREAM_KEY.encode()) == 1


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("5", ["5"]),
        ("29.5", ["29.5"]),
        ("30", ["30"]),
        ("31", ["30"]),
        ("1200", ["30"]),
        ("999999999", ["30"]),
        ("9999999999999", []),
        ("-1", []),
        ("soon", []),
        ("", []),
        ("nan", []),
        ("1e3", []),
    ],
)
async def test_the_timeout_is_capped_at_the_gateways_own(
    asked: str, sent: list[str], stack: Stack, upstream: RawUpstream
) -> None:
    request = await relayed(stack, upstream, GENERATE, [("X-Server-Timeout", asked)])
    assert request.header("x-server-timeout") == sent


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ([], "identity"),
        (["gzip, deflate, br, zstd"], "gzip, deflate"),
        (["br"], "identity"),
        (["GZIP;q=1.0, identity; q=0.5, *;q=0"], "gzip;q=1.0, identity; q=0.5"),
        (["br", "deflate"], "deflate"),
        (["gzip", "x"], "gzip"),
        (["*"], "identity"),
        ([""], "identity"),
    ],
)
async def test_only_what_can_be_metered_is_accepted(
    asked: list[str], sent: str, stack: Stack, upstream: RawUpstream
) -> None:
    request = await relayed(stack, upstream, GENERATE, [("Accept-Encoding", value) for value in asked])
    assert request.header("accept-encoding") == [sent]


@pytest.mark.parametrize(
    ("kind", "model", "passes"),
    [
        ("ai-studio", "gemini-2.5-flash", True),
        ("ai-studio", "gemini-2-5-flash", False),
        ("gateway", "gemini-2.5-flash", False),
        ("gateway", "gemini-2-5-flash", True),
    ],
)
async def test_the_routing_header_goes_where_the_model_keeps_its_name(
    kind: str, model: str, passes: bool, start: Start, upstream: RawUpstream
) -> None:
    stack = await start(kind=kind)
    value = f"model=models/{model}"
    target = f"/v1/gemini/v1beta/models/{model}:generateContent"
    request = await relayed(stack, upstream, target, [("X-Goog-Request-Params", value)])
    assert request.header("x-goog-request-params") == ([value] if passes else [])
