"""What a test needs from the machine, and what happens where it's missing."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

PROJECT = Path(__file__).resolve().parents[2]
"""The project's directory."""


def left_out(what: str) -> NoReturn:
    """Skips the test, or the module being collected; with CI=true nothing may be left out, so it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}; with CI=true nothing may be left out", pytrace=False)
    pytest.skip(what, allow_module_level=True)


def program(name: str) -> str:
    """The path of a program, or the test is left out."""
    return shutil.which(name) or left_out(f"{name} is not installed (scripts/test, as root, installs it)")


def client_python(environment: str) -> Path:
    """The interpreter of one of the environments of tests/clients, or the test is left out."""
    python = PROJECT / f".venv-{environment}" / "bin" / "python"
    if not python.exists():
        left_out(f".venv-{environment} is not there (scripts/test makes it)")
    return python


@contextmanager
def open_files(count: int) -> Iterator[None]:
    """So many files may be open in this process meanwhile, or the test is left out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != hard < count:
        left_out(f"{count} open files are needed, and {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
