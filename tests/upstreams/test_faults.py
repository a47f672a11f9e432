"""What an upstream's error says against the target that was asked, if anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.faults import Cause, Fault, read_answer

KEY, OVERLOAD = Fault(Cause.KEY), Fault(Cause.OVERLOAD)
QUOTA_MESSAGE = "You exceeded your current quota, please check your plan and billing details."
FILE = "You do not have permission to access the File {} or it may not exist."
PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
TOKENS = "GenerateContentInputTokensPerModelPerMinute-FreeTier"


def error(message: str = "no", *details: dict[str, Any]) -> bytes:
    return json.dumps({"error": {"message": message, "status": "ANY", "details": details}}).encode()


def reason(name: object) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": name}


def quota(*ids: object) -> dict[str, Any]:
    violations = [{"quotaMetric": "generativelanguage.googleapis.com/x", "quotaId": name} for name in ids]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


def retry(delay: object) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def spent(delay: float | None, quota_id: str = "", *, day: bool = False, message: str = "no") -> Fault:
    return Fault(Cause.QUOTA, delay, day, message, quota_id)


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (401, b"", KEY),
        (401, error("Request had invalid authentication credentials."), KEY),
        (400, error("API key not valid. Please pass a valid API key.", reason("API_KEY_INVALID")), KEY),
        (400, b"[" + error("x", reason("API_KEY_INVALID")) + b"]", KEY),
        (403, error("no", reason("API_KEY_SERVICE_BLOCKED")), KEY),
        (403, error("no", reason("CONSUMER_SUSPENDED")), KEY),
        (403, error("no", reason("SERVICE_DISABLED")), KEY),
        (403, error("no", reason("ACCESS_TOKEN_SCOPE_INSUFFICIENT")), KEY),
        (403, error("no", reason("CREDENTIAL_BRANCH")), KEY),
        (403, error("Your API key was reported as leaked. Please use another API key."), KEY),
        (403, error("Please use API Key or other form of API consumer identity to call this API."), KEY),
        (400, error("API key expired, says a message alone"), None),
        (400, error("Invalid JSON payload received.", reason("BAD_FIELD")), None),
        (400, error("x", reason(["API_KEY_INVALID"]), reason(None)), None),
        (400, error("x", reason("NOT_API_KEY_INVALID")), None),
        (403, error(FILE.format("abc")), None),
        (403, error("Permission denied on resource files/api-key."), None),
        (403, error("The caller does not have permission", reason("IAM_PERMISSION_DENIED")), None),
        (403, b"", None),
        (404, error("models/x is not found", reason("API_KEY_INVALID")), None),
        (413, b"", None),
        (499, b"", None),
        (501, b"", None),
    ],
)
def test_refusals(status: int, body: bytes, fault: Fault | None) -> None:
    assert read_answer(status, b"", body, client_deadline=False) == fault


@pytest.mark.parametrize(
    "name", ["api-key", "api_key", "apikey", "api key", "my API Key or it may not exist"]
)
def test_a_file_that_its_client_calls_a_key_is_none(name: str) -> None:
    assert read_answer(403, b"", error(FILE.format(name)), client_deadline=False) is None


@pytest.mark.parametrize(
    ("retry_after", "body", "fault"),
    [
        (b"", error(QUOTA_MESSAGE, quota(PER_MINUTE), retry("38s")),
         spent(38.0, PER_MINUTE, message=QUOTA_MESSAGE)),
        (b"", error("no", quota(PER_MINUTE), retry("12.345678901s")), spent(12.345678901, PER_MINUTE)),
        (b"7", error("no", quota(PER_MINUTE), retry("38s")), spent(38.0, PER_MINUTE)),
        (b"7", error("no", quota(PER_MINUTE)), spent(7.0, PER_MINUTE)),
        (b"", error("no", quota(PER_DAY), retry("38s")), spent(38.0, PER_DAY, day=True)),
        (b"", error("no", quota(TOKENS, PER_MINUTE, PER_DAY)), spent(None, PER_DAY, day=True)),
        (b"", error("no", quota(TOKENS, PER_MINUTE)), spent(None, TOKENS)),
        (b"", b"[" + error("no", quota(PER_MINUTE)) + b"]", spent(None, PER_MINUTE)),
        (b"", error("Resource exhausted. Please try again later."),
         spent(None, message="Resource exhausted. Please try again later.")),
        (b"", b'{"error": {"message": "from a gateway"}}', spent(None, message="from a gateway")),
        (b"", b'{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "x"}', spent(None, message="")),
        (b"", error("x" * 5000, quota("y" * 5000)), spent(None, "y" * 1000, message="x" * 1000)),
        (b"Wed, 21 Oct 2026 07:28:00 GMT", b"", spent(None, message="")),
        (b"-1", error("no", retry("-3s"), retry("9")), spent(None)),
        (b"", error("no", retry(5), retry("1e9s"), retry("99999999999s")), spent(None)),
        (b"", error("no", quota(7, None), {"violations": "x"}, {"violations": [1]}), spent(None)),
        (b"", b"<html>too many</html>", spent(None, message="")),
        (b"", b"\xff\xfe", spent(None, message="")),
        (b"", b"[]", spent(None, message="")),
        (b"", b"[" * 100_000, spent(None, message="")),
        (b"", b'{"error": {"message": 5, "details": {"a": 1}}}', spent(None, message="")),
    ],
)  # fmt: skip
def test_quotas(retry_after: bytes, body: bytes, fault: Fault) -> None:
    assert read_answer(429, retry_after, body, client_deadline=False) == fault


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_overload(status: int) -> None:
    assert read_answer(status, b"", b"", client_deadline=False) == OVERLOAD


def test_an_overloaded_one_may_say_how_long() -> None:
    assert read_answer(503, b"9", b"", client_deadline=True) == Fault(Cause.OVERLOAD, 9.0)


def test_late_by_its_clients_own_deadline_says_nothing() -> None:
    assert read_answer(504, b"", b"", client_deadline=True) is None
    assert read_answer(503, b"", b"", client_deadline=True) == OVERLOAD


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "details", "reason"]), inner),
)


@given(
    status=st.integers(400, 599),
    retry_after=st.binary(max_size=20),
    body=st.binary() | st.builds(lambda value: json.dumps(value).encode(), json_values),
)
def test_nothing_that_comes_is_a_fault_of_ours(status: int, retry_after: bytes, body: bytes) -> None:
    fault = read_answer(status, retry_after, body, client_deadline=False)
    if fault and fault.delay is not None:
        assert fault.delay >= 0.0
