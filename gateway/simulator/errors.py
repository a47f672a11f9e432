"""Google's error bodies, in Google's words, as the simulated upstream answers them.

Source: answers of the real API as users have published them, and the `google.rpc` error model.
"""

from __future__ import annotations

from typing import Any

_RPC = "type.googleapis.com/google.rpc."
_LIMITS_URL = "https://ai.google.dev/gemini-api/docs/rate-limits"


class GoogleError(Exception):
    """An error answer: an HTTP status, and the object that stands under `error` in the body."""

    def __init__(self, code: int, status: str, message: str, details: list[dict[str, Any]] | None = None):
        super().__init__(message)
        self.code = code
        self.error: dict[str, Any] = {"code": code, "message": message, "status": status}
        if details:
            self.error["details"] = details


def invalid(message: str) -> GoogleError:
    """400 without details: what Google's model server refuses."""
    return GoogleError(400, "INVALID_ARGUMENT", message)


def bad_payload(*violations: tuple[str, str]) -> GoogleError:
    """400 with a `BadRequest` detail: what Google's JSON reader refuses. Pairs of field (or "") and words."""
    listed = [
        {"field": field, "description": words} if field else {"description": words}
        for field, words in violations
    ]
    message = "\n".join(words for _, words in violations)
    return GoogleError(
        400, "INVALID_ARGUMENT", message, [{"@type": f"{_RPC}BadRequest", "fieldViolations": listed}]
    )


def unknown_model(version: str, resource: str, verb: str) -> GoogleError:
    """404 for a model that isn't there, or that has no such method. `resource` is all that the path names."""
    if resource.startswith("projects/"):
        return GoogleError(
            404,
            "NOT_FOUND",
            f"Publisher Model `{resource}` was not found or your project does not have access to it. "
            "Please ensure you are using a valid model version. For more information, see: "
            "https://cloud.google.com/vertex-ai/generative-ai/docs/learn/model-versions",
        )
    return GoogleError(
        404,
        "NOT_FOUND",
        f"{resource} is not found for API version {version}, or is not supported for {verb}. "
        "Call ModelService.ListModels to see the list of available models and their supported methods.",
    )


def _quota_exhausted(model: str) -> GoogleError:
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    return GoogleError(
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details. For more information "
        f"on this error, head to: {_LIMITS_URL}. \n"
        f"* Quota exceeded for metric: {metric}, limit: 10, model: {model}\nPlease retry in 2.5s.",
        [
            {
                "@type": f"{_RPC}Help",
                "links": [{"description": "Learn more about Gemini API quotas", "url": _LIMITS_URL}],
            },
            {
                "@type": f"{_RPC}QuotaFailure",
                "violations": [
                    {
                        "quotaMetric": metric,
                        "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
                        "quotaDimensions": {"location": "global", "model": model},
                        "quotaValue": "10",
                    }
                ],
            },
            {"@type": f"{_RPC}RetryInfo", "retryDelay": "2.5s"},
        ],
    )


_ON_DEMAND = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: (
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or "
        "other valid authentication credential. "
        "See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    ),
    403: (
        "PERMISSION_DENIED",
        "You do not have permission to access the File simulated or it may not exist.",
    ),
    404: ("NOT_FOUND", "Requested entity was not found."),
    500: ("INTERNAL", "An internal error has occurred. Please retry or report in the API documentation."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}


def on_demand(code: int, model: str) -> GoogleError:
    """The answer that `simulate-error:<code>` asks for; a code that Google doesn't use gives 400."""
    if code == 429:
        return _quota_exhausted(model)
    code = code if code in _ON_DEMAND else 400
    return GoogleError(code, *_ON_DEMAND[code])
