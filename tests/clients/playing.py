"""Runs a driver against a gateway and hands over what came of its cases."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from tests.clients.refusals import REFUSALS, Refusal
from tests.support.gateway import Gateway
from tests.support.machine import PROJECT, client_python, left_out, program
from tests.support.process import clean_environment

_JS = PROJECT / "tests" / "clients" / "js"
_SECONDS = 120.0
"""For all cases of a driver together, on a loaded machine."""


@dataclass(frozen=True)
class Outcomes:
    """What came of each case of one driver."""

    cases: Mapping[str, Mapping[str, Any]]

    def result(self, case: str) -> Any:
        """What the case returned; fails with the client's exception where it raised one."""
        outcome = self.cases[case]
        if "error" in outcome:
            pytest.fail(f"{case}: {outcome['error']}", pytrace=False)
        return outcome["result"]

    def assert_refused(self, case: str, refusal: Refusal) -> None:
        """The client raised an exception of its own, and it shows the message and the status."""
        outcome = self.cases[case]
        assert "error" in outcome, outcome
        error = outcome["error"]
        assert refusal.message in error["text"], error
        assert str(refusal.status) in f"{error['status']} {error['text']}", error

    def assert_streamed(self, case: str) -> None:
        """The stream came in pieces, and says what the case `text` says in one."""
        told = self.result(case)
        assert told["chunks"] > 1
        assert told["text"] == self.result("text")["text"]


Play = Callable[[Sequence[str], Mapping[str, str]], Outcomes]
"""Runs a driver's command, with environment variables of its own, and returns its outcomes."""


def player(gateway: Gateway, token_without_scope: str) -> Play:
    """Plays drivers against this gateway."""
    target = {
        "url": gateway.url,
        "tokens": {
            "good": gateway.token,
            "wrong": f"{gateway.token[:-64]}{'0' * 64}",
            "without_scope": token_without_scope,
        },
        # Drivers in Python import them.
        "refusals": {name: asdict(refusal) for name, refusal in REFUSALS.items()},
    }

    def play(command: Sequence[str], environment: Mapping[str, str]) -> Outcomes:
        finished = subprocess.run(
            command,
            input=json.dumps(target),
            cwd=PROJECT,
            env=clean_environment(environment),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        return Outcomes(json.loads(finished.stdout))

    return play


def python_driver(name: str, environment: str | None) -> list[str]:
    """The command of a Python driver in an environment of scripts/test; None is the tests' own."""
    python = sys.executable if environment is None else str(client_python(environment))
    return [python, "-m", f"tests.clients.drivers.{name}"]


def javascript_driver(name: str) -> list[str]:
    """The command of a driver."""
    return [node(), str(_JS / f"{name}.mjs")]


def node() -> str:
    """The node that npm brought, which is new enough for the clients, or the machine's own."""
    packages = _JS / "node_modules"
    if not packages.exists():
        left_out("the JavaScript clients are not installed (scripts/test does it, where there is npm)")
    brought = next(packages.glob("node-linux-*/bin/node"), None)
    return str(brought) if brought else program("node")
