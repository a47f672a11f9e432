"""What every driver does: read a target from standard input, play its cases, print what came of each."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """The gateway to ask."""

    url: str
    """`http://HOST:PORT`, without a path."""
    tokens: dict[str, str]
    """`good`, `wrong` and `without_scope`."""

    @property
    def base_url(self) -> str:
        return self.url + "/ai-gateway/gemini"


Case = Callable[[Target], Any]
"""Plays one case with the client, and returns JSON that says what the client made of it. May be async."""


def play(cases: dict[str, Case]) -> None:
    """One JSON object on standard output: case → `{"result": …}`, or `{"error": …}` for the exception."""
    given = json.load(sys.stdin)
    target = Target(given["url"], given["tokens"])
    json.dump({name: _outcome(case, target) for name, case in cases.items()}, sys.stdout)


def _outcome(case: Case, target: Target) -> dict[str, Any]:
    try:
        result = case(target)
        return {"result": asyncio.run(result) if inspect.iscoroutine(result) else result}
    except Exception as error:
        status = getattr(error, "code", getattr(error, "status_code", None))
        return {
            "error": {
                "type": type(error).__name__,
                "text": str(error),
                "status": status if isinstance(status, int) else getattr(status, "value", None),
            }
        }
