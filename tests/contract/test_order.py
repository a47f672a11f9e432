"""The order of checks: of two things wrong with a request, the earlier in the contract's order answers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pytest

from tests.contract import refusals
from tests.contract.refusals import Row, check, check_some_refusal
from tests.contract.rig import MAX_BODY_BYTES, SUFFIX, UNREACHABLE, UNSERVED, Rig
from tests.contract.test_error_table import WRONG_TOKEN

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Fault:
    """One thing wrong. `token` and `host` name a credential or branch of the rig."""

    step: int
    """Its place in the contract's order; those of one step exclude each other."""
    row: Row
    changes: dict[str, Any]

    def on(self, rig: Rig) -> dict[str, Any]:
        named = dict(self.changes)
        if "token_of" in named:
            named["token"] = getattr(rig.known, named.pop("token_of"))
        if "host_of" in named:
            named["host"] = rig.known.hosts[named.pop("host_of")]
        return named

    @property
    def fields(self) -> set[str]:
        return {name.removesuffix("_of") for name in self.changes}


FAULTS: dict[str, Fault] = {
    "head too long": Fault(0, refusals.HEADER_TOO_LONG, {"headers": (("X-Long", "a" * 8200),) * 2}),
    "host untrusted": Fault(1, refusals.HOST_UNTRUSTED, {"host": "br-a-api.example.org"}),
    "host malformed": Fault(1, refusals.HOST_MALFORMED, {"host": "br-a" + SUFFIX}),
    "no credential": Fault(2, refusals.CREDENTIAL_INVALID, {"token": ""}),
    "unknown credential": Fault(2, refusals.CREDENTIAL_INVALID, {"token": WRONG_TOKEN}),
    "revoked credential": Fault(2, refusals.CREDENTIAL_INVALID, {"token_of": "revoked"}),
    "no scope": Fault(3, refusals.CREDENTIAL_SCOPE, {"token_of": "without_scope"}),
    "no branch": Fault(4, refusals.BRANCH_NOT_FOUND, {"host": "br-none-api" + SUFFIX}),
    "host of another's branch": Fault(4, refusals.CREDENTIAL_BRANCH, {"host_of": "other main"}),
    "token of another's branch": Fault(4, refusals.CREDENTIAL_BRANCH, {"token_of": "child"}),
    "no such path": Fault(5, refusals.NOT_FOUND, {"prefix": "/ai-gateway/openai/v1/models/"}),
    "no model path": Fault(5, refusals.MODEL_PATH_INVALID, {"action": "generateContent:"}),
    "no such action": Fault(5, refusals.ACTION_UNSUPPORTED, {"action": "countTokens"}),
    "method": Fault(6, refusals.METHOD, {"method": "PUT"}),
    "model invalid": Fault(7, refusals.MODEL_INVALID, {"model": "gemini%20"}),
    "model unknown": Fault(7, refusals.MODEL_UNKNOWN, {"model": "gemini-9"}),
    "model elsewhere": Fault(7, refusals.MODEL_NOT_ON_ENDPOINT, {"model": "gpt-5"}),
    "model unserved": Fault(7, refusals.MODEL_NOT_ON_ENDPOINT, {"model": UNSERVED}),
    "alt": Fault(8, refusals.ALT_UNSUPPORTED, {"query": "alt=xml"}),
    "body too large": Fault(9, refusals.BODY_TOO_LARGE, {"length": str(MAX_BODY_BYTES + 1)}),
    "upstream": Fault(10, refusals.UPSTREAM_FAILED, {"model": UNREACHABLE}),
}
PAIRS = [
    (first, second)
    for first, second in combinations(FAULTS, 2)
    if FAULTS[first].step != FAULTS[second].step and not FAULTS[first].fields & FAULTS[second].fields
]


def test_every_step_meets_its_neighbour() -> None:
    met = {(FAULTS[first].step, FAULTS[second].step) for first, second in PAIRS}
    met.add((2, 3))  # in one credential: the test of the expired one
    assert {(step, step + 1) for step in range(10)} <= met


@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_the_earlier_of_two_faults_answers(rig: Rig, first: str, second: str) -> None:
    asked_before = rig.upstream.total_requests
    request = rig.request(**FAULTS[first].on(rig), **FAULTS[second].on(rig))
    # One answer alone: what the body holds is no second request.
    assert check_some_refusal(await rig.ask(request)) is FAULTS[first].row
    assert rig.upstream.total_requests == asked_before


async def test_an_expired_credential_is_invalid_before_it_is_out_of_scope(rig: Rig) -> None:
    check(await rig.ask(rig.request(token=rig.known.expired)), refusals.CREDENTIAL_INVALID)


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {"upstream"}))
async def test_no_fault_waits_for_the_body_or_asks_for_it(rig: Rig, fault: str) -> None:
    wrong = {"length": "100", "body": b"", **FAULTS[fault].on(rig)}
    headers = (*wrong.pop("headers", ()), ("Expect", "100-continue"))
    async with rig.client() as client:
        await client.send(rig.request(**wrong, headers=headers).encode())
        answer = await client.read_response()
        assert check_some_refusal(answer) is FAULTS[fault].row
        assert answer.header("Connection") == ["close"]
        assert await client.peer_left() == "fin"


@pytest.mark.parametrize("fault", ["no credential", "unknown credential", "no scope", "no such path"])
async def test_a_refused_client_that_goes_on_sending_gets_its_answer(rig: Rig, fault: str) -> None:
    wrong = rig.request(**FAULTS[fault].on(rig), headers=(("Transfer-Encoding", "chunked"),), length=None)
    async with rig.client() as client:
        await client.send(wrong.head() + b"%x\r\n" % (2 * MEBIBYTE))
        await client.send(bytes(2 * MEBIBYTE))
        assert check_some_refusal(await client.read_response()) is FAULTS[fault].row
        assert await client.peer_left() == "fin"


async def test_the_body_is_asked_for_once_everything_is_right(rig: Rig) -> None:
    asked_before = rig.upstream.total_requests
    request = rig.request(headers=(("Expect", "100-Continue"),), body=b'{"contents": []}')
    async with rig.client() as client:
        await client.send(request.head())
        interim = await client.read_response()
        assert (interim.raw_head, interim.body) == (b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        await client.send(request.body)
        assert (await client.read_response()).status == 200
    upstream = rig.upstream.requests[asked_before]
    assert (upstream.body, upstream.header("Expect")) == (request.body, [])


@pytest.mark.parametrize(
    ("expect", "http"), [("100-continue", "HTTP/1.0"), ("200-ok", "HTTP/1.1"), ("", "HTTP/1.1")]
)
async def test_other_expectations_are_ignored(rig: Rig, expect: str, http: str) -> None:
    request = rig.request(headers=(("Expect", expect),), http=http)
    async with rig.client() as client:
        await client.send(request.head())
        await client.send(request.body)
        assert (await client.read_response()).status == 200


async def test_no_body_is_asked_for_that_is_here_already(rig: Rig) -> None:
    answer = await rig.ask(rig.request(headers=(("Expect", "100-continue"),)))
    assert answer.status == 200


async def test_credentials_are_looked_at_before_the_branch_is_told(rig: Rig) -> None:
    for host in ("br-none-api" + SUFFIX, rig.known.hosts["main"], rig.known.hosts["other main"]):
        answer = await rig.ask(rig.request(host=host, token=WRONG_TOKEN))
        check(answer, refusals.CREDENTIAL_INVALID)  # whether there is such a branch can't be seen
