"""The three carriers of a credential: which one decides, what is malformed, and that none goes upstream."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from tests.contract import refusals
from tests.contract.refusals import check
from tests.contract.rig import UPSTREAM_KEY, Rig

OTHER = "nt_live_" + "b" * 16 + "_" + "1" * 64
DUMMY = "databricks"


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode("latin-1")).decode("ascii")


@dataclass(frozen=True)
class Sent:
    """Header lines and query of one request, made with the good token."""

    headers: tuple[tuple[str, str], ...] = ()
    query: str = ""


def authorization(*values: str, query: str = "") -> Sent:
    return Sent(tuple(("Authorization", value) for value in values), query)


def api_key(*values: str, query: str = "") -> Sent:
    return Sent(tuple(("x-goog-api-key", value) for value in values), query)


Carrier = Callable[[str], Sent]

GOOD: dict[str, Carrier] = {
    "bearer": lambda t: authorization(f"Bearer {t}"),
    "bearer in capitals": lambda t: authorization(f"BEARER {t}"),
    "bearer in small letters": lambda t: authorization(f"bearer {t}"),
    "bearer with spaces": lambda t: authorization(f"Bearer   {t}  "),
    "authorization in small letters": lambda t: Sent((("authorization", f"Bearer {t}"),)),
    "basic": lambda t: authorization(basic(f"token:{t}")),
    "basic without a user": lambda t: authorization(basic(f":{t}")),
    "basic in capitals": lambda t: authorization("BASIC" + basic(f"u:{t}")[5:]),
    "api key": api_key,
    "api key in capitals": lambda t: Sent((("X-Goog-Api-Key", t),)),
    "query": lambda t: Sent(query=f"key={t}"),
    "query among others": lambda t: Sent(query=f"alt=json&key={t}&x=1"),
    "query in an encoded field": lambda t: Sent(query=f"%6bey={t}"),
    "query, encoded": lambda t: Sent(query=f"key={quote(t, safe='').replace('_', '%5f')}"),
    # The first carrier that is present decides, whatever the others hold.
    "bearer beside a dummy key": lambda t: Sent(
        (("x-goog-api-key", DUMMY), ("Authorization", f"Bearer {t}"))
    ),
    "bearer beside a key sent twice": lambda t: Sent(
        (("x-goog-api-key", DUMMY), ("x-goog-api-key", t), ("Authorization", f"Bearer {t}"))
    ),
    "bearer beside a dummy query": lambda t: authorization(f"Bearer {t}", query=f"key={DUMMY}&key={t}"),
    "api key beside a dummy query": lambda t: api_key(t, query=f"key={DUMMY}"),
    "all three": lambda t: Sent((("x-goog-api-key", t), ("Authorization", f"Bearer {t}")), f"key={t}"),
}
BAD: dict[str, Carrier] = {
    "none": lambda t: Sent(),
    "empty authorization": lambda t: authorization(""),
    "empty authorization beside a good key": lambda t: Sent((("Authorization", ""), ("x-goog-api-key", t))),
    "bearer alone": lambda t: authorization("Bearer"),
    "bearer without a space": lambda t: authorization(f"Bearer{t}"),
    "bearer with a tab": lambda t: authorization(f"Bearer\t{t}"),
    "bearer, quoted": lambda t: authorization(f'Bearer "{t}"'),
    "bearer with more": lambda t: authorization(f"Bearer {t} {t}"),
    "bearer with a comma": lambda t: authorization(f"Bearer {t}, Bearer {t}"),
    "token alone": authorization,
    "another scheme": lambda t: authorization(f"Digest {t}"),
    "scheme in full width": lambda t: authorization(f"\xefBearer {t}"),
    "bearer sent twice": lambda t: authorization(f"Bearer {t}", f"Bearer {t}"),
    "bearer and basic": lambda t: authorization(f"Bearer {t}", basic(f"u:{t}")),
    "bad bearer beside a good key": lambda t: Sent(
        (("Authorization", f"Bearer {OTHER}"), ("x-goog-api-key", t))
    ),
    "bad bearer beside a good query": lambda t: authorization("Bearer x", query=f"key={t}"),
    "basic that is not base64": lambda t: authorization(f"Basic token:{t}"),
    "basic cut short": lambda t: authorization(basic(f"u:{t}")[:-3]),
    "basic without a colon": lambda t: authorization(basic(t)),
    "basic with the token as user": lambda t: authorization(basic(f"{t}:")),
    "basic with two colons": lambda t: authorization(basic(f"u:{t}:")),
    "basic beyond ASCII": lambda t: authorization(basic(f"\xfc:{t}")),
    "api key, empty": lambda t: api_key(""),
    "api key, empty, beside a good query": lambda t: api_key("", query=f"key={t}"),
    "api key sent twice": lambda t: api_key(t, t),
    "api key with bearer": lambda t: api_key(f"Bearer {t}"),
    "api key in capitals": lambda t: api_key(t.upper()),
    "api key one short": lambda t: api_key(t[:-1]),
    "api key one longer": lambda t: api_key(t + "0"),
    "api key beyond ASCII": lambda t: api_key(t[:-1] + "\xb9"),
    "dummy api key beside a good query": lambda t: api_key(DUMMY, query=f"key={t}"),
    "query, empty": lambda t: Sent(query="key="),
    "query without a value": lambda t: Sent(query="key"),
    "query sent twice": lambda t: Sent(query=f"key={t}&key={t}"),
    "query sent twice, once empty": lambda t: Sent(query=f"key={t}&key"),
    "query sent twice, once encoded": lambda t: Sent(query=f"key={t}&k%65y={t}"),
    "query in another case": lambda t: Sent(query=f"Key={t}"),
    "query under another name": lambda t: Sent(query=f"access_token={t}&api_key={t}"),
    "query behind a semicolon": lambda t: Sent(query=f"a=b;key={t}"),
    "query with a plus": lambda t: Sent(query=f"key=+{t}"),
    "query with a fragment": lambda t: Sent(query=f"key={t}#"),
    "cookie": lambda t: Sent((("Cookie", f"key={t}"),)),
    "proxy authorization": lambda t: Sent((("Proxy-Authorization", f"Bearer {t}"),)),
    "another gateway's header": lambda t: Sent((("x-api-key", t),)),
}


@pytest.mark.parametrize("carrier", GOOD)
async def test_a_good_credential_is_taken_and_stays_here(rig: Rig, carrier: str) -> None:
    token = rig.known.main
    sent = GOOD[carrier](token)
    asked_before = rig.upstream.total_requests
    answer = await rig.ask(rig.request(token="", headers=sent.headers, query=sent.query))
    assert answer.status == 200
    (asked,) = rig.upstream.requests[asked_before:]
    assert asked.header("x-goog-api-key") == [UPSTREAM_KEY]
    assert asked.header("Authorization") == []
    told = (asked.raw_head + asked.body + answer.raw_head + answer.body).lower()
    for hidden in (token, token[8:24], token[25:57], token[57:], DUMMY, "key=", "basic", "bearer"):
        assert hidden.encode() not in told, hidden


@pytest.mark.parametrize("carrier", BAD)
async def test_anything_else_is_no_credential(rig: Rig, carrier: str) -> None:
    sent = BAD[carrier](rig.known.main)
    asked_before = rig.upstream.total_requests
    answer = await rig.ask(rig.request(token="", headers=sent.headers, query=sent.query))
    check(answer, refusals.CREDENTIAL_INVALID)
    assert rig.upstream.total_requests == asked_before


async def test_a_credential_in_the_body_is_the_clients_own_affair(rig: Rig) -> None:
    body = rig.known.main.encode()
    asked_before = rig.upstream.total_requests
    assert (await rig.ask(rig.request(body=body))).status == 200
    assert rig.upstream.requests[asked_before].body == body


@pytest.mark.parametrize("branch", ["main", "child", "sibling"])
async def test_a_credential_is_good_on_its_branch_and_below(rig: Rig, branch: str) -> None:
    host = rig.known.hosts[branch]
    for name in (host, host.upper(), host + ":8080", host + "."):
        assert (await rig.ask(rig.request(host=name))).status == 200
    own = await rig.ask(rig.request(host=host, token=rig.known.child))
    if branch == "child":
        assert own.status == 200
    else:
        check(own, refusals.CREDENTIAL_BRANCH, {"branch": rig.known.ids[branch]})
