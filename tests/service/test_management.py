"""The command line manages credentials and branches while the gateway runs: it sees every change in time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.service.rig import ask, running
from tests.support.gateway import Gateway

SUFFIX = ".gw.example.com"
SEEN_WITHIN = 1.0
REVOKED_WITHIN = 5.0
"""Seconds after the command has ended, by the contract."""


@pytest.fixture(scope="module")
def branched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose hosts name branches."""
    suffixes = {"BRANCHES__TRUSTED_SUFFIXES": SUFFIX}
    with running(tmp_path_factory.mktemp("branched"), **suffixes) as gateway:
        yield gateway


def status(gateway: Gateway, token: str, branch_id: str | None = None) -> tuple[int, str]:
    """Status and message of an answer (no message in a good one), on that branch's host or on `main`'s."""
    branch_id = branch_id or branch_ids(gateway)["main"]
    answer = ask(gateway.url, token, host=f"{branch_id}-api{SUFFIX}")
    return answer.status, "" if answer.status == 200 else answer.message


def branch_ids(gateway: Gateway) -> dict[str, str]:
    """By name."""
    return {
        branch["name"]: branch["id"] for branch in json.loads(gateway.command("branches", "list", "--json"))
    }


def seconds_until(gateway: Gateway, token: str, wanted: tuple[int, str], branch_id: str) -> float:
    """How long it takes until the gateway answers so; fails when it answers otherwise after the deadline."""
    began = time.monotonic()
    while (seen := status(gateway, token, branch_id)) != wanted:
        assert time.monotonic() - began < REVOKED_WITHIN, seen
    return time.monotonic() - began


UNKNOWN = (401, "invalid or missing credential")
NOT_HERE = (403, "credential not authorized for this branch")
GOOD = (200, "")


def test_a_new_credential_is_good_at_once(branched: Gateway) -> None:
    main = branch_ids(branched)["main"]
    token = branched.credential()
    assert seconds_until(branched, token, GOOD, main) < SEEN_WITHIN


def test_a_revoked_credential_is_refused_within_five_seconds(branched: Gateway) -> None:
    main = branch_ids(branched)["main"]
    token = branched.credential()
    assert status(branched, token, main) == GOOD
    branched.command("credentials", "revoke", token[8:24])
    seconds_until(branched, token, UNKNOWN, main)
    assert status(branched, branched.token, main) == GOOD


def test_a_credential_expires_to_the_second(branched: Gateway) -> None:
    main = branch_ids(branched)["main"]
    made = json.loads(
        branched.command("credentials", "create", "--branch", "main", "--expires", "4s", "--json")
    )
    token = made["api_token"]
    assert status(branched, token, main) == GOOD
    seconds_until(branched, token, UNKNOWN, main)
    # gmtime() by itself reads a coarser clock, which may still be in the second before.
    assert time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time())) >= made["expires"]


def test_a_credential_is_good_on_its_branch_and_below_it_alone(branched: Gateway) -> None:
    preview = branched.command("branches", "create", "preview/x", "--parent", "main").strip()
    below = branched.command("branches", "create", "preview/x/y", "--parent", preview).strip()
    staging = branched.command("branches", "create", "staging", "--parent", "main").strip()
    main = branch_ids(branched)["main"]
    token = branched.command("credentials", "create", "--branch", "preview/x").strip()
    assert [status(branched, token, branch) for branch in (preview, below)] == [GOOD, GOOD]
    assert [status(branched, token, branch) for branch in (main, staging)] == [NOT_HERE, NOT_HERE]
    assert [status(branched, branched.token, branch) for branch in (main, preview, below)] == [GOOD] * 3


def test_a_deleted_branch_takes_its_credentials_with_it(branched: Gateway) -> None:
    main = branch_ids(branched)["main"]
    gone = branched.command("branches", "create", "gone", "--parent", "main").strip()
    token = branched.command("credentials", "create", "--branch", "gone").strip()
    assert status(branched, token, gone) == GOOD
    branched.command("branches", "delete", "gone")
    seconds_until(branched, token, UNKNOWN, gone)
    seconds_until(branched, branched.token, (404, "could not resolve workspace from host"), gone)
    assert status(branched, branched.token, main) == GOOD


def test_hosts_that_name_no_branch(branched: Gateway) -> None:
    answer = ask(branched.url, branched.token, host="br-winter-pond-a1b2c3d4-api.elsewhere.example.com")
    assert (answer.status, answer.message) == (403, "could not resolve workspace from host")
    answer = ask(branched.url, branched.token, host=f"www{SUFFIX}")
    assert (answer.status, answer.message) == (400, "could not resolve workspace from host")
    answer = ask(branched.url, branched.token, host=f"br-winter-pond-a1b2c3d4-api{SUFFIX}")
    assert (answer.status, answer.message) == (404, "could not resolve workspace from host")
