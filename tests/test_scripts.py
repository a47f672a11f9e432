"""The scripts where something is missing: they name it, and end as they should."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.machine import PROJECT

TOOLS = ("sh", "cat", "cksum", "cmp", "dirname", "rm")
"""What the scripts may expect of any system."""


@dataclass(frozen=True)
class Checkout:
    """A clone with nothing installed, on a machine with hardly anything, where we are not root."""

    root: Path
    bin: Path

    def tool(self, name: str, script: str) -> Path:
        """Puts a program on the machine."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs one of its scripts, from a directory that is not the checkout's."""
        return subprocess.run(
            ["/bin/sh", str(self.root / "scripts" / script), *arguments],
            cwd="/",
            env={"PATH": str(self.bin), "HOME": str(self.root), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def installed(self, environment: str, extras: str, *files: str, python: str) -> None:
        """Makes an environment that counts as installed, with a Python that runs this script."""
        script = '. "$root/scripts/environment.sh"; fingerprint "$@"'
        paths = [str(self.root / name) for name in files]
        fingerprint = subprocess.run(
            ["/bin/sh", "-c", script, "sh", *paths],
            env={**os.environ, "root": str(self.root)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        directory = self.root / environment
        (directory / "bin").mkdir(parents=True)
        (directory / "installed").write_text(f"{fingerprint}{extras}\n")
        self.tool("python-of-the-environment", python).rename(directory / "bin" / "python")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "a checkout"
    clients = Path("tests") / "clients"
    (root / clients / "js").mkdir(parents=True)
    shutil.copytree(PROJECT / "scripts", root / "scripts")
    for name in ("setup.cfg", "pyproject.toml", clients / "genai-1.txt", clients / "genai-2.txt"):
        shutil.copy(PROJECT / name, root / name)
    made = Checkout(root, tmp_path / "bin")
    made.bin.mkdir()
    for name in TOOLS:
        (made.bin / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    made.tool("id", "echo 1000")
    return made


@pytest.fixture
def installed(checkout: Checkout) -> Checkout:
    """The same with every environment in place; its pytest prints its arguments and ends with $STATUS."""
    checkout.installed(
        ".venv",
        " clients lint test",
        "setup.cfg",
        "pyproject.toml",
        python='[ "$1" = -c ] && exit 0; echo "ran $*"; exit "${STATUS:-0}"',
    )
    for number in "12":
        checkout.installed(f".venv-genai-{number}", "", f"tests/clients/genai-{number}.txt", python="exit 0")
    return checkout


@pytest.mark.parametrize("script", ["run", "test"])
def test_no_python(checkout: Checkout, script: str) -> None:
    finished = checkout.run(script, PYTHON="no-such-python")
    assert finished.returncode == 1
    assert finished.stderr == f"{script}: needs Python 3.11 or later (looked for no-such-python)\n"


@pytest.mark.parametrize("script", ["run", "test"])
def test_a_python_without_venv_names_debians_package(checkout: Checkout, script: str) -> None:
    # Fit in every way, except that the modules which make environments are missing.
    checkout.tool("bare-python", 'case "$2" in *ensurepip*) exit 1 ;; *print*) echo python3.11-venv ;; esac')
    finished = checkout.run(script, PYTHON="bare-python")
    assert finished.returncode == 1
    message = "bare-python cannot make virtual environments: install the package python3.11-venv"
    assert finished.stderr == f"{script}: {message}\n"


def test_run_starts_what_is_installed_without_installing(installed: Checkout) -> None:
    finished = installed.run("run", "--listen", "127.0.0.1:0", PYTHON="no-such-python")
    assert finished.stdout == "ran -m gateway serve --listen 127.0.0.1:0\n"
    assert finished.stderr == ""


def test_run_installs_again_when_the_metadata_changes(installed: Checkout) -> None:
    (installed.root / "setup.cfg").write_text("changed")
    finished = installed.run("run", PYTHON="no-such-python")
    assert finished.returncode == 1
    assert "needs Python" in finished.stderr


def test_test_names_what_it_left_out_after_pytests_summary(installed: Checkout) -> None:
    finished = installed.run("test", "-k", "some")
    ran, left_out = finished.stdout.splitlines()
    assert ran.startswith("ran -m pytest ")
    assert ran.endswith(" -k some")
    assert left_out == (
        "left out: curl (packages: curl), systemd-analyze (packages: systemd), npm (packages: nodejs npm), "
        "redis-server (packages: redis-server), pg_ctlcluster (packages: postgresql), "
        "chromium-headless-shell (packages: chromium-headless-shell)"
    )
    assert finished.returncode == 0


def test_with_ci_anything_left_out_is_a_failure(installed: Checkout) -> None:
    assert installed.run("test", CI="true").returncode == 1


def test_with_ci_nothing_left_out_is_none(installed: Checkout) -> None:
    tools = (
        "curl",
        "systemd-analyze",
        "npm",
        "cp",
        "redis-server",
        "pg_ctlcluster",
        "chromium-headless-shell",
    )
    for name in tools:
        installed.tool(name, "exit 0")
    (installed.root / "tests" / "clients" / "js" / "package-lock.json").write_text("{}")
    finished = installed.run("test", CI="true")
    assert finished.returncode == 0, finished.stderr
    assert "left out" not in finished.stdout


@pytest.mark.parametrize("ci", ["", "true"])
def test_pytests_status_is_the_scripts(installed: Checkout, ci: str) -> None:
    assert installed.run("test", STATUS="3", CI=ci).returncode == 3


def test_compile_without_a_compiler(installed: Checkout) -> None:
    finished = installed.run("compile")
    assert finished.returncode == 1
    message = "lacks a C compiler or Python's headers (packages: gcc libc6-dev python3-dev)"
    assert finished.stderr == f"compile: {message}\n"


def test_compile_takes_one_option(installed: Checkout) -> None:
    finished = installed.run("compile", "--remove", "everything")
    assert finished.returncode == 2
    assert finished.stderr == "usage: compile [--remove]\n"


@pytest.mark.parametrize("compiled", [True, False])
def test_compile_takes_away_what_it_has_made_and_nothing_else(checkout: Checkout, compiled: bool) -> None:
    (checkout.bin / "find").symlink_to(shutil.which("find") or "/usr/bin/find")
    package = checkout.root / "gateway"
    (package / "upstreams").mkdir(parents=True)
    sources = [package / "compiled.py", package / "upstreams" / "pool.py"]
    made = ["compiled.cpython-311-x86_64-linux-gnu.json", "upstreams/pool.so"] if compiled else []
    for path in (*sources, *(package / name for name in made)):
        path.write_text("")
    finished = checkout.run("compile", "--remove")
    assert finished.returncode == 0, finished.stderr
    assert sorted(path for path in package.rglob("*.*")) == sources
