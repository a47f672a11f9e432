"""Access tokens by google-auth's own flow, from a stub that checks what it is asked with."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.google_tokens import SCOPE, GoogleCredentials, TokenUnavailable
from tests.support.google import (
    SUBJECT_TOKEN,
    TokenEndpoint,
    private_key,
    service_account,
    workload_identity,
)
from tests.support.ports import refusing_port

FORM = "expected metadata, file:PATH or credential:NAME, not a secret itself"


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with TokenEndpoint() as running:
        yield running


def failure(credentials: GoogleCredentials) -> str:
    with pytest.raises(TokenUnavailable) as caught:
        credentials.fetch()
    assert caught.value.__suppress_context__ or not caught.value.__context__
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_service_account_signs_for_its_token(tmp_path: Path, endpoint: TokenEndpoint) -> None:
    credentials = GoogleCredentials.parse(service_account(tmp_path / "sa.json", endpoint.token_uri), {})
    first, second = credentials.fetch(), credentials.fetch()
    assert [first.value, second.value] == endpoint.issued
    assert endpoint.scopes == [SCOPE, SCOPE]
    assert 3590 < first.seconds <= 3600
    assert credentials.path == tmp_path / "sa.json"


def test_a_workload_identity_exchanges_its_token_and_reads_it_anew(
    tmp_path: Path, endpoint: TokenEndpoint
) -> None:
    credentials = GoogleCredentials.parse(workload_identity(tmp_path / "wi.json", endpoint), {})
    subject = tmp_path / "wi.subject"
    subject.write_text("another")
    assert "invalid_request" in failure(credentials)
    subject.write_text(SUBJECT_TOKEN)
    assert credentials.fetch().value == endpoint.issued[0]
    assert endpoint.scopes == [SCOPE]


def test_a_systemd_credential_is_a_file(tmp_path: Path, endpoint: TokenEndpoint) -> None:
    service_account(tmp_path / "vertex", endpoint.token_uri)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    credentials = GoogleCredentials.parse("credential:vertex", environ)
    assert credentials.fetch().value == endpoint.issued[0]
    assert credentials.warning() is None


def test_two_are_equal_by_reference_and_content(tmp_path: Path) -> None:
    file = tmp_path / "sa.json"
    reference = service_account(file, "https://a.example/token")
    first = GoogleCredentials.parse(reference, {})
    assert first == GoogleCredentials.parse(reference, {})
    service_account(file, "https://b.example/token")
    assert first != GoogleCredentials.parse(reference, {})
    assert GoogleCredentials.parse("metadata", {}) == GoogleCredentials.parse("metadata", {})
    assert first != GoogleCredentials.parse("metadata", {})


def test_what_was_not_read_asks_nobody() -> None:
    credentials = GoogleCredentials.parse("file:/nowhere", {}, read=False)
    with pytest.raises(RuntimeError, match="not read by this command"):
        credentials.fetch()


def test_a_file_for_everyone_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "sa.json"
    reference = service_account(file, "https://a.example/token")
    file.chmod(0o644)
    warning = GoogleCredentials.parse(reference, {}).warning()
    assert warning == f"{reference} can be read by every user of this machine"


BAD_ANSWERS: dict[str, tuple[Callable[[TokenEndpoint], None], str]] = {
    "refused": (
        lambda at: at.refuses(),
        "it is refused: invalid_grant: Invalid JWT Signature.",
    ),
    "an error without a name": (lambda at: at.answers(b'{"no": 1}', 400), 'it is refused: {"no": 1}'),
    "no JSON": (lambda at: at.answers(b"<html>", 400), "it is refused: <html>"),
    "no JSON, with success": (lambda at: at.answers(b"<html>"), "the answer can't be used: TypeError in"),
    "no token": (lambda at: at.answers(b"{}"), "it is refused: No access token in response."),
    "no end": (lambda at: at.answers(b'{"access_token": "x"}'), "the answer has no token, or not how long"),
    "an end that is none": (
        lambda at: at.answers(b'{"access_token": "x", "expires_in": "soon"}'),
        "the answer can't be used: ValueError in",
    ),
    "ended": (
        lambda at: at.answers(b'{"access_token": "x", "expires_in": 0}'),
        "the answer's token has ended already",
    ),
    "two lines": (
        lambda at: at.answers(b'{"access_token": "x\\r\\nHost: y", "expires_in": 9}'),
        "the answer has no token, or not how long",
    ),
    "a number": (
        lambda at: at.answers(b'{"access_token": 7, "expires_in": 9}'),
        "the answer has no token, or not how long",
    ),
}


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_an_answer_without_a_token_is_told_in_a_line(
    case: str, tmp_path: Path, endpoint: TokenEndpoint
) -> None:
    act, told = BAD_ANSWERS[case]
    act(endpoint)
    credentials = GoogleCredentials.parse(service_account(tmp_path / "sa.json", endpoint.token_uri), {})
    assert failure(credentials).startswith(told)
    endpoint.works()
    assert credentials.fetch().value == endpoint.issued[0]


def test_who_cannot_be_asked_is_told_by_the_reason(tmp_path: Path) -> None:
    with refusing_port() as port:
        reference = service_account(tmp_path / "sa.json", f"http://127.0.0.1:{port}/token")
        told = failure(GoogleCredentials.parse(reference, {}))
    assert told == "it can't be asked for (ConnectionRefusedError)"


def test_an_answer_that_echoes_tells_no_secret(tmp_path: Path, endpoint: TokenEndpoint) -> None:
    credentials = GoogleCredentials.parse(service_account(tmp_path / "sa.json", endpoint.token_uri), {})
    credentials.fetch()
    sent = endpoint.requests[0].body.decode()
    for body in (
        json.dumps({"error": "x", "error_description": f"no {sent} {private_key()}"}),
        sent,
        f"<p>\n{private_key()}\n{endpoint.issued[0]}</p>",
    ):
        endpoint.answers(body.encode(), 400)
        told = failure(credentials)
        assert "***" in told
        pieces = [line for line in private_key().splitlines() if "-----" not in line]
        for secret in (sent.rpartition("=")[2], sent[:40], endpoint.issued[0], *pieces):
            assert secret[:24] not in told
    endpoint.works()
    assert "ya29" not in repr(credentials.fetch())
    assert "PRIVATE" not in repr(credentials)


BAD_FILES: dict[str, tuple[dict[str, object], str]] = {
    "another type": ({"type": "authorized_user"}, " is not the JSON file of a service account or a"),
    "no type": ({"type": None}, " is not the JSON file of a service account or a workload identity"),
    "lacking": (
        {"client_email": None, "private_key": 3},
        " is a service account's without client_email, private_",
    ),
    "no key": ({"private_key": "planted"}, " is a service account's whose private_key can't be used"),
    "no identity": ({"type": "external_account"}, " is a workload identity's that lacks something, or is"),
    "a program": (
        {"type": "external_account", "credential_source": {"executable": {"command": "/bin/true"}}},
        " names a program to run, which the gateway does not",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_without_quoting_it(case: str, tmp_path: Path) -> None:
    changes, told = BAD_FILES[case]
    reference = service_account(tmp_path / "sa.json", "https://a.example/token", **changes)
    with pytest.raises(ValueError, match=re.escape(reference + told)) as caught:
        GoogleCredentials.parse(reference, {})
    assert "planted" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b" " * 65537, "is too large"),
        (b"AQ.planted", "is not the JSON file of a service account or a workload identity"),
        (b"[]", "is not the JSON file of a service account or a workload identity"),
        (b"[" * 60000, "is not the JSON file of a service account or a workload identity"),
        (b"\xff", "is not the JSON file of a service account or a workload identity"),
    ],
)
def test_a_file_of_another_kind_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    file = tmp_path / "sa.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(f'file:{file} {told}')}$"):
        GoogleCredentials.parse(f"file:{file}", {})


@pytest.mark.parametrize("bad", ["", "AQ.key", "env:NAME", "file:", "credential:", "credential:a/b", "meta"])
def test_a_reference_of_another_form_is_refused(bad: str) -> None:
    for read in (True, False):
        with pytest.raises(ValueError, match=f"^{FORM}$"):
            GoogleCredentials.parse(bad, os.environ, read=read)
