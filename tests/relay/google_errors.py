"""Errors as Google sends them: what stands in a body, and whole answers by what they are about."""

from __future__ import annotations

import json
from typing import Any

RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12.345678901s"}


def google_error(code: int, message: str = "no", *details: dict[str, Any], status: str = "X") -> bytes:
    """An error's body."""
    return json.dumps(
        {"error": {"code": code, "message": message, "status": status, "details": details}}, indent=2
    ).encode()


def info(reason: str) -> dict[str, str]:
    """The detail that gives an error's reason."""
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}


def quota(quota_id: str) -> dict[str, Any]:
    """The detail that names the quota which is used up."""
    return {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [
            {
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
                "quotaId": quota_id,
                "quotaValue": "10",
            }
        ],
    }


PER_MINUTE = google_error(
    429,
    "You exceeded your current quota, please check your plan and billing details.",
    quota("GenerateRequestsPerMinutePerProjectPerModel"),
    RETRY,
    status="RESOURCE_EXHAUSTED",
)
PER_DAY = google_error(
    429,
    "You exceeded your current quota, please check your plan and billing details.",
    quota("GenerateRequestsPerDayPerProjectPerModel"),
    status="RESOURCE_EXHAUSTED",
)
ABOUT_THE_TARGET = {
    "429 of the minute": (429, PER_MINUTE),
    "429 of the day": (429, PER_DAY),
    "429 of a spend limit": (
        429,
        google_error(429, "The project has exceeded its spending cap.", status="RESOURCE_EXHAUSTED"),
    ),
    "429 of Vertex AI": (
        429,
        google_error(429, "Resource exhausted. Please try again later.", status="RESOURCE_EXHAUSTED"),
    ),
    "503 overload": (
        503,
        google_error(503, "The model is overloaded. Please try again later.", status="UNAVAILABLE"),
    ),
    "500": (500, google_error(500, "An internal error has occurred.", status="INTERNAL")),
    "502 of a proxy": (502, b"<html><h1>502 Bad Gateway</h1></html>"),
    "504": (504, google_error(504, "The deadline expired.", status="DEADLINE_EXCEEDED")),
}
"""Status and body of what another target might not have answered; the last of them goes to the client."""
ABOUT_THE_KEY = {
    "400 API_KEY_INVALID": (
        400,
        google_error(400, "API key not valid.", info("API_KEY_INVALID"), status="INVALID_ARGUMENT"),
    ),
    "403 of a leaked key": (
        403,
        google_error(403, "Your API key was reported as leaked.", status="PERMISSION_DENIED"),
    ),
    "403 SERVICE_DISABLED": (403, google_error(403, "not enabled", info("SERVICE_DISABLED"))),
    "401": (401, google_error(401, "Request had invalid authentication credentials.")),
}
"""The same of what says that the gateway's key is refused; no client is told that."""
ABOUT_THE_REQUEST = {
    "400": (400, google_error(400, 'Unknown name "x"', status="INVALID_ARGUMENT")),
    "403 about a file": (
        403,
        google_error(403, "You do not have permission to access the File abc or it may not exist."),
    ),
    "404": (404, google_error(404, "models/gemini-9 is not found", status="NOT_FOUND")),
    "413": (413, b"too large"),
    "501": (501, google_error(501, "not implemented")),
}
"""The same of what every target would answer."""
