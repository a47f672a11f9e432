"""Compiles the modules on a request's path with mypyc, to stand beside their source: `scripts/compile`.

modules.txt lists them: what a request or a chunk of a stream passes through. Left out is what runs once or
seldom, what defines structs of msgspec's, which mypyc can't compile, and what awaits: a compiled coroutine
crashes the process when it is cancelled (python/mypy#12867).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext

from gateway.compiled import PACKAGE, RECORD, digests

PROJECT = PACKAGE.parent
BUILD = PROJECT / "build" / "compiled"
LIBRARY = f"{PACKAGE.name}.compiled"
"""Holds the code of all of them; mypyc puts `__mypyc` behind it."""


def main() -> None:
    """Ends the process with an error that is printed where mypyc or the C compiler finds one."""
    os.chdir(PROJECT)  # modules are named after their paths
    names = (PROJECT / "compiling" / "modules.txt").read_text().split()
    source = digests()  # now: some of it may be edited meanwhile
    shutil.rmtree(BUILD, ignore_errors=True)
    extensions = mypycify(
        [str(Path(PACKAGE.name, name)) for name in names],
        opt_level="3",
        debug_level="0",
        group_name=LIBRARY,
        target_dir=str(BUILD / "c"),
    )
    command = build_ext(Distribution({"ext_modules": extensions}))
    command.build_lib, command.build_temp = str(BUILD), str(BUILD / "objects")
    command.ensure_finalized()
    command.run()
    # Nothing starts meanwhile: compiled and interpreted modules don't go together as they come.
    RECORD.write_text("{}")
    built = BUILD / PACKAGE.name
    for path in built.rglob("*.so"):
        shutil.move(path, PACKAGE / path.relative_to(built))
    RECORD.write_text(json.dumps(source, indent=1) + "\n")


if __name__ == "__main__":
    main()
