"""What `scripts/compile` compiles, and that nothing starts once it no longer fits its source."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.machine import PROJECT

SOURCE = "limit = 10\n"
MODULES = (PROJECT / "compiling" / "modules.txt").read_text().split()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """One that looks after its compiled modules as the gateway does."""
    package = tmp_path / "gateway"
    (package / "upstreams").mkdir(parents=True)
    for name in ("__init__.py", "compiled.py"):
        shutil.copy(PROJECT / "gateway" / name, package / name)
    (package / "upstreams" / "pool.py").write_text(SOURCE)
    return package


def record(package: Path, suffix: str = EXTENSION_SUFFIXES[0]) -> None:
    """What `scripts/compile` leaves beside the modules."""
    digests = run(package, "from gateway.compiled import digests; import json; print(json.dumps(digests()))")
    (package / f"compiled{suffix}.json").write_text(digests.stdout)


def run(package: Path, program: str = "import gateway; print(gateway.COMPILED)") -> CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=package.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_nothing_is_compiled(package: Path) -> None:
    assert run(package).stdout == "False\n"


def test_compiled_from_this_source(package: Path) -> None:
    record(package)
    assert run(package).stdout == "True\n"


def test_compiled_for_another_python(package: Path) -> None:
    """That one's modules are not seen by this one."""
    record(package, ".cpython-27-sparc64-linux-gnu.so")
    (package / "upstreams" / "pool.py").write_text("limit = 11\n")
    assert run(package).stdout == "False\n"


@pytest.mark.parametrize("name", ["upstreams/pool.py", "upstreams/another.py"])
@pytest.mark.parametrize("now", ["limit = 11\n", None])
def test_the_source_has_changed_since(package: Path, name: str, now: str | None) -> None:
    """One file was changed, taken away or added."""
    (package / "upstreams" / "another.py").write_text(SOURCE)
    if name == "upstreams/another.py" and now:
        (package / name).unlink()
    record(package)
    source = package / name
    if now:
        source.write_text(now)
    else:
        source.unlink()
    finished = run(package)
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == (
        f"ImportError: {source} is not what was compiled: "
        "run scripts/compile again, or scripts/compile --remove"
    )


@pytest.mark.parametrize("name", MODULES)
def test_nothing_that_awaits_is_compiled(name: str) -> None:
    """Nor a generator that cleans up: compiled, they crash or lose exceptions when they are cut short."""
    nodes = list(ast.walk(ast.parse((PROJECT / "gateway" / name).read_bytes())))
    assert not [node for node in nodes if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)]
    tries = [node for node in nodes if isinstance(node, ast.Try | ast.With)]
    assert not [
        node for part in tries for node in ast.walk(part) if isinstance(node, ast.Yield | ast.YieldFrom)
    ]
