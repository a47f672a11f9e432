"""What an upstream's failure says about the target that was asked, if anything. Pure.

Source: Google's error bodies (`{"error": {"message", "status", "details": [...]}}`, or a one-element array
of it), and those of other gateways.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec


class Cause(Enum):
    """What is wrong with a target."""

    QUOTA = "quota"
    """It has used up what it may use."""
    OVERLOAD = "overload"
    """It can't be reached, breaks off, is late, or says that it can't just now."""
    KEY = "key"
    """Its key is refused."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What one attempt says against its target."""

    cause: Cause
    delay: float | None = None
    """For how many seconds it is to be left alone, as the upstream says."""
    until_day_ends: bool = False
    """The quota is one of the day, which ends at midnight in California."""
    message: str = ""
    """Of a quota's block, in the upstream's words."""
    quota_id: str = ""
    """Google's name of that quota."""


CONNECTION_FAULT = Fault(Cause.OVERLOAD)
"""It could not be reached, or broke off."""
TIMEOUT_FAULT = Fault(Cause.OVERLOAD)
"""It was late by the gateway's own deadlines."""
_OVERLOADED = Fault(Cause.OVERLOAD)
_KEY_REFUSED = Fault(Cause.KEY)

_KEY_REASONS = re.compile(
    r"API_KEY_.*|CONSUMER_.*|SERVICE_DISABLED|ACCESS_TOKEN_.*|CREDENTIAL_(?:INVALID|SCOPE|BRANCH)"
)
_KEY_MESSAGE = re.compile(r"\bapi key\b", re.IGNORECASE)
_QUOTED_NAME = re.compile(r"\baccess the \w+ .* or it may not exist", re.DOTALL)
"""Of a file, say, which the client may have called "api key"."""
_DELAY = re.compile(r"([0-9]{1,9})(\.[0-9]{1,9})?s")
_SECONDS = re.compile(rb"[0-9]{1,9}")
_MESSAGE_CHARACTERS = 1000


def read_answer(status: int, retry_after: bytes, body: bytes, *, client_deadline: bool) -> Fault | None:
    """What an error answer says against its target; None: it is about the request.

    `retry_after` is the header's value, empty where there is none. `client_deadline`: the client had told the
    upstream how long it may work.
    """
    if status == 401:
        return _KEY_REFUSED
    if status in (400, 403):
        return _KEY_REFUSED if _is_about_the_key(status, _error(body)) else None
    if status == 429:
        return _quota(retry_after, _error(body))
    if status == 504:
        return None if client_deadline else _OVERLOADED
    if status in (500, 502, 503):
        delay = float(retry_after) if _SECONDS.fullmatch(retry_after) else None
        return _OVERLOADED if delay is None else Fault(Cause.OVERLOAD, delay)
    return None


def retry_delay(body: bytes) -> float | None:
    """The seconds of an error's `google.rpc.RetryInfo`; None where it has none."""
    return _retry_delay(_error(body))


def _is_about_the_key(status: int, error: dict[str, Any]) -> bool:
    reasons = [detail.get("reason") for detail in _details(error)]
    if any(isinstance(reason, str) and _KEY_REASONS.fullmatch(reason) for reason in reasons):
        return True
    message = error.get("message")
    return (
        status == 403
        and isinstance(message, str)
        and bool(_KEY_MESSAGE.search(_QUOTED_NAME.sub("", message)))
    )


def _quota(retry_after: bytes, error: dict[str, Any]) -> Fault:
    quota_ids = [
        violation["quotaId"]
        for detail in _details(error)
        for violation in _dicts(detail.get("violations"))
        if isinstance(violation.get("quotaId"), str)
    ]
    # Where several are used up, it lifts when the longest does.
    quota_id = next((name for name in quota_ids if "PerDay" in name), quota_ids[0] if quota_ids else "")
    delay = _retry_delay(error)
    if delay is None and _SECONDS.fullmatch(retry_after):
        delay = float(retry_after)
    message = error.get("message")
    return Fault(
        Cause.QUOTA,
        delay,
        "PerDay" in quota_id,
        message[:_MESSAGE_CHARACTERS] if isinstance(message, str) else "",
        quota_id[:_MESSAGE_CHARACTERS],
    )


def _retry_delay(error: dict[str, Any]) -> float | None:
    for detail in _details(error):
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and _DELAY.fullmatch(delay):
            return float(delay[:-1])
    return None


def _error(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if isinstance(document, list) and document:
        document = document[0]
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _details(error: dict[str, Any]) -> list[dict[str, Any]]:
    return _dicts(error.get("details"))


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
