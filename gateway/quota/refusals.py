"""What a client is told whose request a limit does not admit."""

from __future__ import annotations

from gateway.errors import GatewayError, Refusal
from gateway.quota.admission import Admission
from gateway.quota.rules import Kind

REASON = "REQUEST_LIMIT_EXCEEDED"

_MESSAGES = {
    Kind.TOKENS_PER_MINUTE: 'ai gateway per-minute token limit exceeded for model "{model}"',
    Kind.REQUESTS_PER_MINUTE: "ai gateway per-minute request limit exceeded",
    Kind.CONCURRENT_REQUESTS: "ai gateway concurrent request limit exceeded",
    Kind.TOKENS_PER_DAY: "ai gateway daily token limit exceeded",
    Kind.SPEND_PER_DAY: "ai gateway daily spend limit exceeded",
}


def limit_exceeded(admission: Admission, model: str) -> GatewayError:
    """The 429 for a request that was not admitted, with `Retry-After` where its limit lifts by itself.

    `model` is the catalog's short id.
    """
    rule = admission.blocked_by
    assert rule is not None
    wait = admission.retry_after
    refusal = Refusal(
        429,
        _MESSAGES[rule.kind].format(model=model),
        "RESOURCE_EXHAUSTED",
        REASON,
        () if wait is None else (("Retry-After", str(wait)),),
    )
    return GatewayError(refusal, {"limit": rule.kind, "level": rule.level, "quotaValue": str(rule.limit)})
