"""The headers that tell a client how much of its limits is left."""

from __future__ import annotations

from gateway.quota.admission import Admission


def rate_limit_lines(admission: Admission) -> bytes:
    """`x-ratelimit-{limit,remaining,reset}-{tokens,requests}`, as far as there are such limits.

    Lines with CRLF between them and none behind; empty where there is no such limit. Reset is in whole
    seconds. They are not for an answer of an upstream that sends some itself.
    """
    lines = b""
    if tokens := admission.token_standing:
        lines = (
            b"x-ratelimit-limit-tokens: %d\r\n"
            b"x-ratelimit-remaining-tokens: %d\r\n"
            b"x-ratelimit-reset-tokens: %d" % (tokens.limit, tokens.remaining, tokens.reset)
        )
    if requests := admission.request_standing:
        lines += (
            b"%bx-ratelimit-limit-requests: %d\r\n"
            b"x-ratelimit-remaining-requests: %d\r\n"
            b"x-ratelimit-reset-requests: %d"
            % (b"\r\n" if lines else b"", requests.limit, requests.remaining, requests.reset)
        )
    return lines
