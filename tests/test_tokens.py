"""Tokens and their carriers."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import tokens
from tests.support.identity import headers

# Not made afresh: they name tests, and workers that run side by side must know a test by one name.
TOKEN = f"nt_live_{'a1' * 8}_{'0f' * 32}"
OTHER = f"nt_live_{'b2' * 8}_{'1e' * 32}"
NONE = headers()

token_texts = st.from_regex(r"nt_live_[a-z0-9]{16}_[0-9a-f]{64}", fullmatch=True)


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def test_a_token_has_the_documented_form_and_is_new_each_time() -> None:
    made = {tokens.new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"nt_live_[a-z0-9]{16}_[0-9a-f]{64}", token) for token in made)
    assert len({tokens.token_id(token) for token in made}) == 100


def test_the_id_is_the_public_part_and_the_hash_is_of_the_whole() -> None:
    token = "nt_live_" + "ab12" * 4 + "_" + "0f" * 32
    assert tokens.token_id(token) == "ab12" * 4
    assert tokens.hash_token(token) == hashlib.sha256(token.encode()).digest()


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {TOKEN}",
        f"bearer {TOKEN}",
        f"BEARER   {TOKEN}\t",
        basic(f"token:{TOKEN}"),
        basic(f":{TOKEN}"),
        basic(f"any one:{TOKEN}").replace("Basic", "bASIC"),
    ],
)
def test_authorization_carries_a_token(value: str) -> None:
    assert tokens.present(headers(Authorization=value), "") == TOKEN


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer{TOKEN}",
        TOKEN,
        f"Token {TOKEN}",
        f"Bearer {TOKEN} x",
        f"Bearer {TOKEN},{TOKEN}",
        f"Bearer {TOKEN}\n",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}0",
        f"Bearer nt_test_{TOKEN[8:]}",
        f"Bearer \u0660{TOKEN[1:]}",
        basic(TOKEN),
        basic(f"{TOKEN}:"),
        basic(f"a:b:{TOKEN}"),
        basic(f"a:{TOKEN}\n"),
        basic(f"ä:{TOKEN}"),
        basic(f"a:{TOKEN}").replace("Basic", "Ba\u017fic"),
        basic(f"a:{TOKEN}")[:-1],
        "Basic !!!!",
        "Basic =",
    ],
)
def test_a_malformed_authorization_decides_whatever_else_is_there(value: str) -> None:
    assert tokens.present(headers(Authorization=value, x_goog_api_key=TOKEN), f"key={TOKEN}") is None


def test_the_carriers_are_asked_in_the_documented_order() -> None:
    query = f"key={tokens.new_token()}"
    assert tokens.present(headers(Authorization=f"Bearer {TOKEN}", x_goog_api_key="dummy"), query) == TOKEN
    assert tokens.present(headers(x_goog_api_key=TOKEN), query) == TOKEN
    assert tokens.present(headers(x_goog_api_key="dummy"), f"key={TOKEN}") is None
    assert tokens.present(headers(x_goog_api_key=""), f"key={TOKEN}") is None
    assert tokens.present(NONE, f"key={TOKEN}") == TOKEN
    assert tokens.present(NONE, "") is None


@pytest.mark.parametrize("first", [TOKEN, OTHER, ""])
def test_twice_in_one_carrier_is_no_credential(first: str) -> None:
    authorization = headers(("authorization", f"Bearer {first}"), ("Authorization", f"Bearer {TOKEN}"))
    assert tokens.present(authorization, f"key={TOKEN}") is None
    api_key = headers(("x-goog-api-key", first), ("X-Goog-Api-Key", TOKEN))
    assert tokens.present(api_key, f"key={TOKEN}") is None
    assert tokens.present(NONE, f"key={first}&key={TOKEN}") is None
    assert tokens.present(NONE, f"key={TOKEN}&alt=sse&k%65y={first}") is None


@pytest.mark.parametrize(
    "query",
    [
        f"key={TOKEN}",
        f"alt=sse&key={TOKEN}",
        f"key={TOKEN}&alt=sse",
        f"&&key={TOKEN}&",
        f"%6bey={TOKEN}",
        f"KEY=x&monkey=x&key2=x&key={TOKEN}",
        f"key={TOKEN.replace('_', '%5F')}",
        "key=" + "".join(f"%{ord(c):02x}" for c in TOKEN),
    ],
)
def test_the_query_carries_a_token(query: str) -> None:
    assert tokens.present(NONE, query) == TOKEN


@pytest.mark.parametrize(
    "query",
    [
        "key",
        "key=",
        f"key={TOKEN}%0A",
        f"key=+{TOKEN}",
        f"key={TOKEN}#",
        f"key==={TOKEN}",
        f"Key={TOKEN}",
        f"x=key={TOKEN}",
        f"key[]={TOKEN}",
        f"k%2565y={TOKEN}",
        f"key={TOKEN.replace('_', '%255F')}",
        f"key={TOKEN[:-1]}%",
        f"key={TOKEN[:-1]}%zz",
        f"key={TOKEN[:-1]}%ff",
        f"key&key={TOKEN}",
    ],
)
def test_a_query_without_a_well_formed_key_carries_none(query: str) -> None:
    assert tokens.present(NONE, query) is None


@pytest.mark.parametrize("unit", ["a", "&", "&ke", "%6b", "&k%65", "&key", "=", "%"])
def test_a_long_query_costs_little_and_hides_no_token(unit: str) -> None:
    padding = unit * (10_240 // len(unit))
    began = time.perf_counter()
    found = tokens.present(NONE, f"{padding}&x=1&key={TOKEN}")
    assert time.perf_counter() - began < 0.1
    # A parameter `key` in the padding makes it twice.
    assert found == (None if unit == "&key" else TOKEN)


@given(token_texts, st.text("0123456789abcdefABCDEF_-~.", max_size=20), st.text("&=;a%2k", max_size=20))
def test_any_well_formed_token_arrives_from_any_carrier(token: str, user: str, around: str) -> None:
    assert tokens.present(headers(authorization=f"Bearer {token}"), around) == token
    assert tokens.present(headers(authorization=basic(f"{user}:{token}")), around) == token
    assert tokens.present(headers(x_goog_api_key=f" {token}\t"), around) == token
    assert tokens.present(NONE, f"{around}&key={quote(token, safe='')}&{around}") == token


@given(
    st.none() | st.text(max_size=200) | token_texts.map(lambda token: f"Bearer {token}"),
    st.none() | st.text(max_size=200) | token_texts,
    st.text(max_size=300)
    | st.lists(st.sampled_from(["key=", "key", "&", "%6b", "=", "%", "a"])).map("".join),
)
def test_whatever_is_sent_gives_a_well_formed_token_or_none(
    authorization: str | None, api_key: str | None, query: str
) -> None:
    pairs = [("Authorization", authorization), ("x-goog-api-key", api_key)]
    found = tokens.present(headers(*((name, value) for name, value in pairs if value is not None)), query)
    assert found is None or re.fullmatch(r"nt_live_[a-z0-9]{16}_[0-9a-f]{64}", found)
    if authorization is not None:
        assert found == (authorization[7:] if authorization.startswith("Bearer nt_live_") else None)
