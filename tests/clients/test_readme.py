"""The README's three snippets, run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.playing import node
from tests.support.gateway import Gateway
from tests.support.machine import PROJECT, program
from tests.support.process import clean_environment

README = (PROJECT / "README.md").read_text()
JS = PROJECT / "tests" / "clients" / "js"


def snippet(language: str, containing: str) -> str:
    """The one code block of the language that contains the text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    [block] = [block for block in blocks if containing in block]
    return str(block)


def run(gateway: Gateway, command: list[str], directory: Path) -> str:
    """What the command prints, given the two variables that the README asks for."""
    environment = clean_environment({"GATEWAY_URL": gateway.url, "GATEWAY_TOKEN": gateway.token})
    finished = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_curl(gateway: Gateway, tmp_path: Path, shell: str) -> None:
    program("curl")
    said = run(gateway, [program(shell), "-c", snippet("sh", 'curl "$GATEWAY_URL')], tmp_path)
    assert "What is Neon?" in said


def test_python(gateway: Gateway, tmp_path: Path) -> None:
    said = run(gateway, [sys.executable, "-c", snippet("python", "genai.Client")], tmp_path)
    assert "What is Neon?" in said


def test_typescript(gateway: Gateway) -> None:
    code = snippet("typescript", "GoogleGenAI")
    said = run(gateway, [node(), "--input-type=module-typescript", "--eval", code], JS)
    assert "Explain database branching." in said
