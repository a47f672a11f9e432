"""One refusal for each status that a client should be able to tell its user about.

Imported by the drivers too, so it needs nothing but the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """How to ask for it, and what the client's own exception has to show."""

    status: int
    message: str
    """Part of the text of the client's exception."""
    prompt: str = "hello"
    model: str = "gemini-2-5-flash"
    token: str = "good"
    """`good`, `wrong` or `without_scope`."""
    counts_tokens: bool = False
    """Ask for `countTokens`, not `generateContent`; a client without such a call can't meet this one."""


REFUSALS = {
    "400": Refusal(400, "unknown model", model="gemini-9"),
    "401": Refusal(401, "invalid or missing credential", token="wrong"),
    "403": Refusal(403, "credential not authorized for ai gateway", token="without_scope"),
    "404": Refusal(404, "unsupported gemini action", counts_tokens=True),
    # The upstream's own, which the gateway passes on (see gateway/simulator).
    "429": Refusal(429, "You exceeded your current quota", prompt="simulate-error:429"),
    "503": Refusal(503, "The model is overloaded", prompt="simulate-error:503"),
}
GENERATING = {name: refusal for name, refusal in REFUSALS.items() if not refusal.counts_tokens}
"""Those that `generateContent` and `streamGenerateContent` can meet."""
