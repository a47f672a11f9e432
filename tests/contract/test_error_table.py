"""Every row of the contract's error table that one request can bring about, compared whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.contract import refusals
from tests.contract.asking import Request
from tests.contract.refusals import Row
from tests.contract.rig import MAX_BODY_BYTES, SUFFIX, UNREACHABLE, UNSERVED, Rig

Changes = Callable[[Rig], dict[str, Any]]

CLIENT_ID = "my.request-1_A"
ACTIONS = {
    "unary": ("generateContent", ""),
    "sse": ("streamGenerateContent", "alt=sse"),
    "array": ("streamGenerateContent", ""),
    "alt_json": ("streamGenerateContent", "alt=json"),
}
"""Action and query: every framing that an answer can have."""


@dataclass(frozen=True)
class Case:
    """One thing wrong with a request, and its row."""

    row: Row
    changes: Changes
    metadata: Changes = field(default=lambda rig: {})


def fixed(**changes: Any) -> Changes:
    return lambda rig: changes


def model_case(row: Row, model: str) -> Case:
    return Case(row, fixed(model=model), fixed(model=model[:128]))


def host_case(row: Row, host: str) -> Case:
    return Case(row, fixed(host=host), fixed(host=host))


def method_case(method: str) -> Case:
    return Case(refusals.METHOD, fixed(method=method), fixed(method=method))


WRONG_TOKEN = "nt_live_" + "a" * 16 + "_" + "0" * 64

ANYWHERE: dict[str, Case] = {
    "no credential": Case(refusals.CREDENTIAL_INVALID, fixed(token="")),
    "malformed credential": Case(refusals.CREDENTIAL_INVALID, fixed(token="nt_live_")),
    "unknown credential": Case(refusals.CREDENTIAL_INVALID, fixed(token=WRONG_TOKEN)),
    "right id, wrong secret": Case(
        refusals.CREDENTIAL_INVALID, lambda rig: {"token": rig.known.main[:25] + "0" * 64}
    ),
    "credential sent twice": Case(
        refusals.CREDENTIAL_INVALID, lambda rig: {"headers": (("x-goog-api-key", rig.known.main),)}
    ),
    "expired credential": Case(refusals.CREDENTIAL_INVALID, lambda rig: {"token": rig.known.expired}),
    "revoked credential": Case(refusals.CREDENTIAL_INVALID, lambda rig: {"token": rig.known.revoked}),
    "no scope": Case(refusals.CREDENTIAL_SCOPE, lambda rig: {"token": rig.known.without_scope}),
    "parent of its branch": Case(
        refusals.CREDENTIAL_BRANCH,
        lambda rig: {"token": rig.known.child},
        lambda rig: {"branch": rig.known.ids["main"]},
    ),
    "sibling of its branch": Case(
        refusals.CREDENTIAL_BRANCH,
        lambda rig: {"token": rig.known.child, "host": rig.known.hosts["sibling"]},
        lambda rig: {"branch": rig.known.ids["sibling"]},
    ),
    "branch of another project": Case(
        refusals.CREDENTIAL_BRANCH,
        lambda rig: {"token": rig.known.other_project},
        lambda rig: {"branch": rig.known.ids["main"]},
    ),
    "host without suffix": host_case(refusals.HOST_UNTRUSTED, "localhost"),
    "host of another suffix": host_case(refusals.HOST_UNTRUSTED, "br-a-api.gw.example.org:8080"),
    "host below the suffix": host_case(refusals.HOST_UNTRUSTED, "x.br-a-api" + SUFFIX),
    "host without api label": host_case(refusals.HOST_MALFORMED, "br-a" + SUFFIX),
    "host with a bad label": host_case(refusals.HOST_MALFORMED, "-br-api" + SUFFIX),
    "no such branch": Case(
        refusals.BRANCH_NOT_FOUND, fixed(host="br-none-api" + SUFFIX), fixed(branch="br-none")
    ),
    "GET": method_case("GET"),
    "PUT": method_case("PUT"),
    "DELETE": method_case("DELETE"),
    "OPTIONS": method_case("OPTIONS"),
    "PATCH": method_case("PATCH"),
    "model with a space": model_case(refusals.MODEL_INVALID, "gemini%202"),
    "model with a slash": model_case(refusals.MODEL_INVALID, "google%2Fgemini-2-5-flash"),
    "model with NUL": model_case(refusals.MODEL_INVALID, "gemini%00"),
    "model of broken percent-encoding": model_case(refusals.MODEL_INVALID, "gemini%zz"),
    "model decoded twice": model_case(refusals.MODEL_INVALID, "gemini%252D2-5-flash"),
    "model that is too long": model_case(refusals.MODEL_INVALID, "m" * 129),
    "model unknown": model_case(refusals.MODEL_UNKNOWN, "gemini-9"),
    "longest model": model_case(refusals.MODEL_UNKNOWN, "m" * 128),
    "model of another provider": model_case(refusals.MODEL_NOT_ON_ENDPOINT, "claude-opus-4-8"),
    "model of the chat endpoint": model_case(refusals.MODEL_NOT_ON_ENDPOINT, "databricks-gpt-5"),
    "model that no upstream serves": model_case(refusals.MODEL_NOT_ON_ENDPOINT, UNSERVED),
    "body too large": Case(
        refusals.BODY_TOO_LARGE,
        fixed(length=str(MAX_BODY_BYTES + 1), body=b""),
        fixed(contentLength=str(MAX_BODY_BYTES + 1)),
    ),
    "upstream that can't be reached": Case(refusals.UPSTREAM_FAILED, fixed(model=UNREACHABLE)),
    "head too long": Case(refusals.HEADER_TOO_LONG, fixed(headers=(("X-Long", "a" * 8200),) * 2)),
    "two transfer codings": Case(
        refusals.HTTP_MALFORMED,
        fixed(headers=(("Transfer-Encoding", "gzip, chunked"),), length=None, body=b""),
    ),
}
"""What can go wrong on a request of any framing."""

ENDING = {"body too large", "head too long", "two transfer codings"}
"""Those after which the connection can't go on."""

ELSEWHERE: dict[str, Case] = {
    "countTokens": Case(
        refusals.ACTION_UNSUPPORTED, fixed(action="countTokens"), fixed(action="countTokens")
    ),
    "embedContent": Case(
        refusals.ACTION_UNSUPPORTED, fixed(action="embedContent"), fixed(action="embedContent")
    ),
    "action in another case": Case(
        refusals.ACTION_UNSUPPORTED, fixed(action="generatecontent"), fixed(action="generatecontent")
    ),
    "action with a fragment": Case(
        refusals.ACTION_UNSUPPORTED, fixed(action="generateContent#x"), fixed(action="generateContent#x")
    ),
    "long action": Case(refusals.ACTION_UNSUPPORTED, fixed(action="a" * 300), fixed(action="a" * 128)),
    "no model": Case(refusals.MODEL_PATH_INVALID, fixed(model="")),
    "no action": Case(refusals.MODEL_PATH_INVALID, fixed(action="")),
    "two colons": Case(refusals.MODEL_PATH_INVALID, fixed(action="generateContent:x")),
    "models alone": Case(refusals.MODEL_PATH_INVALID, fixed(path="/v1/gemini/v1beta/models/")),
    "list of models": Case(refusals.NOT_FOUND, fixed(path="/v1/gemini/v1beta/models")),
    "root": Case(refusals.NOT_FOUND, fixed(path="/")),
    "asterisk": Case(refusals.NOT_FOUND, fixed(path="*", method="OPTIONS")),
    "unknown alt": Case(refusals.ALT_UNSUPPORTED, fixed(query="alt=media"), fixed(alt="media")),
    "HTTP/2.0": Case(refusals.HTTP_MALFORMED, fixed(http="HTTP/2.0")),
    "absolute-form": Case(
        refusals.HTTP_MALFORMED,
        lambda rig: {"path": f"http://{rig.known.hosts['main']}{rig.request().target}"},
    ),
}
"""What goes wrong with one framing only: where the path says no action, or the query is what is wrong."""

PARSER = {
    "no version": b"POST /\r\n\r\n",
    "no target": b"POST HTTP/1.1\r\n\r\n",
    "unknown method": b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "no host": b"POST / HTTP/1.1\r\n\r\n",
    "two hosts": b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "control byte": b"POST / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
    "control byte in the query": b"POST /?key=a&x=\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL": b"POST / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    "bare LF": b"POST / HTTP/1.1\nHost: a\n\n",
    "no colon": b"POST / HTTP/1.1\r\nHost: a\r\nx-goog-api-key\r\n\r\n",
    "authority-form": b"CONNECT example.com:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
"""What the HTTP parser refuses, before there is a request."""


async def expect(rig: Rig, request: Request, case: Case, *, keep: bool, array: bool) -> None:
    """Ask, compare the whole answer, and see that the connection is kept, or ends, as the answer said."""
    asked_before = rig.upstream.total_requests
    named = Request(**{**vars(request), "headers": (*request.headers, ("x-request-id", CLIENT_ID))})
    async with rig.client() as client:
        await client.send(named.encode())
        answer = await client.read_response(request.method)
        refusals.check(answer, case.row, case.metadata(rig), array=array, client_id=CLIENT_ID, keep=keep)
        if keep:
            await client.send(rig.request().encode())
            assert (await client.read_response()).status == 200
        else:
            assert await client.peer_left() == "fin"
    assert rig.upstream.total_requests == asked_before + keep


@pytest.mark.parametrize("framing", ACTIONS)
@pytest.mark.parametrize("case", ANYWHERE)
async def test_every_refusal_in_every_framing(rig: Rig, case: str, framing: str) -> None:
    action, query = ACTIONS[framing]
    wrong = ANYWHERE[case]
    request = rig.request(**{"action": action, "query": query, **wrong.changes(rig)})
    keep = case not in ENDING
    await expect(rig, request, wrong, keep=keep, array=framing in ("array", "alt_json"))


@pytest.mark.parametrize("case", ELSEWHERE)
async def test_refusals_of_paths_and_queries(rig: Rig, case: str) -> None:
    wrong = ELSEWHERE[case]
    keep = wrong.row is not refusals.HTTP_MALFORMED
    await expect(rig, rig.request(**wrong.changes(rig)), wrong, keep=keep, array=False)


@pytest.mark.parametrize(
    ("query", "alt", "array"),
    [
        ("alt=", "", True),
        ("alt=SSE", "SSE", True),
        ("%61lt=%78", "x", True),
        ("alt=sse&alt=json", "sse", False),
        ("$alt=json&alt=json", "json", True),
        ("alt=a%00b%ff", "a?b?", True),
        ("alt=" + "x" * 200, "x" * 128, True),
        ("key=&alt=bogus&key=", "bogus", True),
    ],
)
async def test_alts_that_no_stream_takes(rig: Rig, query: str, alt: str, array: bool) -> None:
    request = rig.request(action="streamGenerateContent", query=query)
    case = Case(refusals.ALT_UNSUPPORTED, fixed(), fixed(alt=alt))
    await expect(rig, request, case, keep=True, array=array)


async def test_a_stream_over_http_1_0(rig: Rig) -> None:
    request = rig.request(action="streamGenerateContent", http="HTTP/1.0")
    await expect(rig, request, Case(refusals.HTTP_MALFORMED, fixed()), keep=False, array=True)


@pytest.mark.parametrize("case", PARSER)
async def test_what_the_parser_refuses(rig: Rig, case: str) -> None:
    asked_before = rig.upstream.total_requests
    async with rig.client() as client:
        await client.send(PARSER[case])
        refusals.check(await client.read_response(), refusals.HTTP_MALFORMED, keep=False)
        assert await client.peer_left() == "fin"
    assert rig.upstream.total_requests == asked_before


async def test_head_is_answered_without_a_body(rig: Rig) -> None:
    request = rig.request(method="HEAD", headers=(("x-request-id", CLIENT_ID),))
    async with rig.client() as client:
        await client.send(request.encode())
        answer = await client.read_response("HEAD")
        refusals.check(answer, refusals.METHOD, client_id=CLIENT_ID, head=True)
        await client.send(rig.request().encode())
        assert (await client.read_response()).status == 200


@pytest.mark.parametrize("given", ["", "a b", "a/b", "ä", "x" * 129, "a,b"])
async def test_an_ill_formed_request_id_is_not_echoed(rig: Rig, given: str) -> None:
    answer = await rig.ask(rig.request(token="", headers=(("x-request-id", given),)))
    refusals.check(answer, refusals.CREDENTIAL_INVALID)
