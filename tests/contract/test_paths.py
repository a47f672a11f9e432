"""Paths: every good one arrives upstream as it should, every odd one is refused and never forwarded."""

from __future__ import annotations

import pytest

from tests.contract import refusals
from tests.contract.asking import PREFIXES, VERSIONS
from tests.contract.refusals import Row, check, check_some_refusal
from tests.contract.rig import Rig

MODEL = "gemini-2-5-flash"
ASKED = f"{MODEL}:generateContent"
UPSTREAM = "models/gemini-2.5-flash:generateContent"
BASE = "/ai-gateway/gemini/v1beta/models/"


async def target_of(rig: Rig, path: str, query: str = "", model: str = MODEL) -> str:
    """What the upstream was asked for, when the gateway was asked for that."""
    asked_before = rig.upstream.total_requests
    answer = await rig.ask(rig.request(path=path, query=query))
    assert answer.status == 200, answer.body
    (asked,) = rig.upstream.requests[asked_before:]
    assert asked.method == "POST"
    return asked.target


def doubled(prefix: str, version: str) -> list[str]:
    """The path with a slash doubled at each place where that is forgiven."""
    places = [f"/{prefix}{version}/models/", f"{prefix}{version}//models/"]
    if version:
        places.append(f"{prefix}/{version}/models/")
    return places


GOOD = [
    (path + ASKED, version.strip("/") or "v1beta")
    for prefix in PREFIXES
    for version in VERSIONS
    for path in (f"{prefix}{version}/models/", *doubled(prefix, version))
]


@pytest.mark.parametrize(("path", "version"), GOOD)
async def test_every_good_path_and_each_doubled_slash(rig: Rig, path: str, version: str) -> None:
    assert await target_of(rig, path) == f"/{version}/{UPSTREAM}"


@pytest.mark.parametrize(
    "segment",
    [
        f"{MODEL}%3AgenerateContent",
        f"{MODEL}%3agenerateContent",
        "gemini%2D2%2d5-flash:generateContent",
        "%67emini-2.5-flash:generateContent",
        "databricks-gemini-2-5-flash:generateContent",
        "system.ai.gemini-2-5-flash%3AgenerateContent",
    ],
)
async def test_encoded_colons_and_models(rig: Rig, segment: str) -> None:
    assert await target_of(rig, BASE + segment) == f"/v1beta/{UPSTREAM}"


@pytest.mark.parametrize(
    "query",
    [
        "x=" + "y" * 10_000,
        "&" * 10_000,
        "?" * 100,
        "a=%00%0d%0aX: y",
        "path=../../../etc/passwd",
        "url=http://example.com/",
        "a=/../;b#c",
        "x-http-method-override=DELETE",
        "alternative=sse&salt=json",
        "fields=candidates&prettyPrint=false",
    ],
)
async def test_queries_that_are_nobodys_business(rig: Rig, query: str) -> None:
    assert await target_of(rig, BASE + ASKED, query.replace(" ", "")) == f"/v1beta/{UPSTREAM}"


@pytest.mark.parametrize(
    "alt",
    ["alt=sse", "alt=json", "$alt=sse", "%24alt=json%3Benum-encoding%3Dint", "alt=json;enum-encoding=int"],
)
async def test_alt_alone_of_a_query_goes_on(rig: Rig, alt: str) -> None:
    target = await target_of(rig, BASE + ASKED, f"x=1&{alt}&y=2&keys=3")
    assert target == f"/v1beta/{UPSTREAM}?{alt}"


ODD: dict[str, Row] = {
    # Slashes.
    f"///ai-gateway/gemini/v1beta/models/{ASKED}": refusals.NOT_FOUND,
    f"/ai-gateway//gemini/v1beta/models/{ASKED}": refusals.NOT_FOUND,
    f"/v1//gemini/v1beta/models/{ASKED}": refusals.NOT_FOUND,
    f"/ai-gateway/gemini///v1beta/models/{ASKED}": refusals.NOT_FOUND,
    f"//ai-gateway/gemini//v1beta/models/{ASKED}": refusals.NOT_FOUND,
    f"//v1/gemini/v1beta//models/{ASKED}": refusals.NOT_FOUND,
    f"/ai-gateway/gemini//v1beta//models/{ASKED}": refusals.NOT_FOUND,
    f"/ai-gateway/gemini///models/{ASKED}": refusals.NOT_FOUND,
    f"{BASE}/{ASKED}": refusals.MODEL_PATH_INVALID,
    f"{BASE}{ASKED}/": refusals.MODEL_PATH_INVALID,
    f"{BASE}{ASKED}//": refusals.MODEL_PATH_INVALID,
    f"{BASE}{MODEL}/:generateContent": refusals.MODEL_PATH_INVALID,
    f"{BASE}{MODEL}:/generateContent": refusals.MODEL_PATH_INVALID,
    f"{BASE}system.ai/{ASKED}": refusals.MODEL_PATH_INVALID,
    f"{BASE}models/{ASKED}": refusals.MODEL_PATH_INVALID,
    # Dots.
    f"{BASE}../models/{ASKED}": refusals.MODEL_PATH_INVALID,
    f"{BASE}./{ASKED}": refusals.MODEL_PATH_INVALID,
    f"{BASE}%2e%2e/{ASKED}": refusals.MODEL_PATH_INVALID,
    f"/x/..{BASE}{ASKED}": refusals.NOT_FOUND,
    f"/.{BASE}{ASKED}": refusals.NOT_FOUND,
    f"/ai-gateway/%2e%2e/ai-gateway/gemini/v1beta/models/{ASKED}": refusals.NOT_FOUND,
    f"{BASE}..:generateContent": refusals.MODEL_UNKNOWN,
    f"{BASE}%2e%2e:generateContent": refusals.MODEL_UNKNOWN,
    # Encodings.
    f"{BASE}..%2F..%2Fadmin:generateContent": refusals.MODEL_INVALID,
    f"{BASE}google%2F{ASKED}": refusals.MODEL_INVALID,
    f"{BASE}{MODEL}%2F:generateContent": refusals.MODEL_INVALID,
    f"{BASE}{MODEL}%00:generateContent": refusals.MODEL_INVALID,
    f"{BASE}{MODEL}%0d%0aX%3A%20y:generateContent": refusals.MODEL_PATH_INVALID,
    f"{BASE}{MODEL}%0d%0a:generateContent": refusals.MODEL_INVALID,
    f"{BASE}{MODEL}%zz:generateContent": refusals.MODEL_INVALID,
    f"{BASE}{MODEL}%:generateContent": refusals.MODEL_INVALID,
    f"{BASE}{MODEL}%2:generateContent": refusals.MODEL_INVALID,
    f"{BASE}{MODEL}%ff:generateContent": refusals.MODEL_INVALID,
    f"{BASE}{MODEL}%EF%BC%8D:generateContent": refusals.MODEL_INVALID,
    f"{BASE}{MODEL}%253AgenerateContent": refusals.MODEL_PATH_INVALID,
    f"{BASE}{MODEL}%253A:generateContent": refusals.MODEL_INVALID,
    f"{BASE}{MODEL}?:generateContent": refusals.MODEL_PATH_INVALID,
    f"{BASE}{MODEL}%3F:generateContent": refusals.MODEL_INVALID,
    f"{BASE}{MODEL}:generate%43ontent": refusals.ACTION_UNSUPPORTED,
    f"{BASE}{ASKED}%00": refusals.ACTION_UNSUPPORTED,
    f"{BASE}{ASKED}%20": refusals.ACTION_UNSUPPORTED,
    f"{BASE}{ASKED}%2F": refusals.ACTION_UNSUPPORTED,
    f"/ai-gateway%2Fgemini/v1beta/models/{ASKED}": refusals.NOT_FOUND,
    f"/%61i-gateway/gemini/v1beta/models/{ASKED}": refusals.NOT_FOUND,
    f"/ai-gateway/gemini/v1beta/models%2F{ASKED}": refusals.NOT_FOUND,
    # Colons and empty parts.
    f"{BASE}{ASKED}:x": refusals.MODEL_PATH_INVALID,
    f"{BASE}{MODEL}::generateContent": refusals.MODEL_PATH_INVALID,
    f"{BASE}{MODEL}%3A:generateContent": refusals.MODEL_PATH_INVALID,
    f"{BASE}{MODEL}%3AgenerateContent%3a": refusals.MODEL_PATH_INVALID,
    f"{BASE}:generateContent": refusals.MODEL_PATH_INVALID,
    f"{BASE}{MODEL}:": refusals.MODEL_PATH_INVALID,
    f"{BASE}:": refusals.MODEL_PATH_INVALID,
    f"{BASE}{MODEL}": refusals.MODEL_PATH_INVALID,
    BASE: refusals.MODEL_PATH_INVALID,
    "/ai-gateway/gemini/models/": refusals.MODEL_PATH_INVALID,
    # Semicolons, backslashes, fragments.
    f"{BASE}{MODEL};v=1:generateContent": refusals.MODEL_INVALID,
    f"{BASE}{ASKED};jsessionid=1": refusals.ACTION_UNSUPPORTED,
    f"{BASE};/{ASKED}": refusals.MODEL_PATH_INVALID,
    f"{BASE}..\\{ASKED}": refusals.MODEL_INVALID,
    f"/ai-gateway\\gemini/v1beta/models/{ASKED}": refusals.NOT_FOUND,
    f"{BASE}{ASKED}#": refusals.ACTION_UNSUPPORTED,
    f"{BASE}#{ASKED}": refusals.MODEL_INVALID,
    f"#{BASE}{ASKED}": refusals.HTTP_MALFORMED,
    f"/#{BASE}{ASKED}": refusals.NOT_FOUND,
    # Versions and prefixes.
    f"/ai-gateway/gemini/v2/models/{ASKED}": refusals.NOT_FOUND,
    f"/ai-gateway/gemini/v1beta1/models/{ASKED}": refusals.NOT_FOUND,
    f"/ai-gateway/gemini/V1/models/{ASKED}": refusals.NOT_FOUND,
    f"/ai-gateway/gemini/v1/v1/models/{ASKED}": refusals.NOT_FOUND,
    f"/ai-gateway/Gemini/v1/models/{ASKED}": refusals.NOT_FOUND,
    f"/ai-gateway/gemini/v1beta/Models/{ASKED}": refusals.NOT_FOUND,
    f"/ai-gateway/v1beta/models/{ASKED}": refusals.NOT_FOUND,
    f"/v1beta/models/{ASKED}": refusals.NOT_FOUND,
    f"/models/{ASKED}": refusals.NOT_FOUND,
    "/ai-gateway/gemini/v1beta/models": refusals.NOT_FOUND,
    "/ai-gateway/gemini/v1beta/cachedContents": refusals.NOT_FOUND,
    f"/ai-gateway/gemini/v1beta/tunedModels/{ASKED}": refusals.NOT_FOUND,
    f"/upload{BASE}{ASKED}": refusals.NOT_FOUND,
    # The admin listener's, which are not this listener's.
    "/": refusals.NOT_FOUND,
    "/healthz": refusals.NOT_FOUND,
    "/metrics": refusals.NOT_FOUND,
    "/ai-gateway": refusals.NOT_FOUND,
    # Forms of a target that are none of a request to an origin.
    f"http://example.com{BASE}{ASKED}": refusals.HTTP_MALFORMED,
    f"HTTP://example.com:99999{BASE}{ASKED}": refusals.HTTP_MALFORMED,
    f"http://[{BASE}{ASKED}": refusals.HTTP_MALFORMED,
    f"ai-gateway/gemini/v1beta/models/{ASKED}": refusals.HTTP_MALFORMED,
    f"\\ai-gateway\\gemini\\v1beta\\models\\{ASKED}": refusals.HTTP_MALFORMED,
    "example.com:443": refusals.HTTP_MALFORMED,
    "*": refusals.HTTP_MALFORMED,
    "?": refusals.HTTP_MALFORMED,
    # Bytes.
    f"{BASE}gemini-2-5-fl\xe4sh:generateContent": refusals.HTTP_MALFORMED,
    f"{BASE}{ASKED}\xff": refusals.HTTP_MALFORMED,
    f"{BASE}{ASKED}\t": refusals.HTTP_MALFORMED,
    f"{BASE}{ASKED} x": refusals.HTTP_MALFORMED,
    f"{BASE}{ASKED}\x00": refusals.HTTP_MALFORMED,
    f"{BASE}{ASKED}\r": refusals.HTTP_MALFORMED,
    f"{BASE}{ASKED}\x7f": refusals.HTTP_MALFORMED,
}


@pytest.mark.parametrize("path", ODD)
async def test_odd_paths_are_refused_and_never_forwarded(rig: Rig, path: str) -> None:
    asked_before = rig.upstream.total_requests
    assert check_some_refusal(await rig.ask(rig.request(path=path))) is ODD[path]
    assert rig.upstream.total_requests == asked_before


async def test_the_asterisk_of_options(rig: Rig) -> None:
    check(await rig.ask(rig.request(path="*", method="OPTIONS")), refusals.NOT_FOUND)
    check(await rig.ask(rig.request(path="*", method="OPTIONS", token="")), refusals.CREDENTIAL_INVALID)


@pytest.mark.parametrize("path", ["//", "/" + "a/" * 8000, "//" * 8000, "/ai-gateway/gemini" + "/" * 16_000])
async def test_long_odd_paths_are_refused_quickly(rig: Rig, path: str) -> None:
    async with rig.client(deadline=1.0) as client:
        await client.send(rig.request(path=path).encode())
        assert (await client.read_response()).status in (404, 414, 431)
