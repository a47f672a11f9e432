"""One fuzzing process: atheris, one side, one event loop. Started by `python -m fuzzing`.

Arguments: SIDE, LOOP, a directory for the gateway's files, one for findings, then libFuzzer's own. A finding
is written there and told, and ends the process with exit code 1; libFuzzer does the same with what ends the
interpreter.
"""

from __future__ import annotations

import os
import sys
import traceback
from hashlib import sha256
from pathlib import Path

import atheris

PACKAGES = ["gateway", "aiohttp", "fuzzing", "tests"]
"""What guides by its coverage. The HTTP parsers on the gateway's path are compiled: the yardstick's own, in
Python, stands in for them, so that HTTP's grammar counts."""
LEFT_OUT = ["fuzzing.ends", "fuzzing.request_side", "fuzzing.rig"]
"""They wait in loops, so that what they cover is a matter of time."""

with atheris.instrument_imports(include=PACKAGES, exclude=LEFT_OUT):
    from fuzzing.rig import Rig
    from fuzzing.sides import LOOPS, SIDES


def main() -> None:
    """Fuzz until libFuzzer's time is over."""
    side, loop, directory, findings, *options = sys.argv[1:]
    rig = Rig(LOOPS[loop](), Path(directory))

    def run(data: bytes) -> None:
        try:
            rig.run(SIDES[side], data)
        except Exception:
            (Path(findings) / f"finding-{sha256(data).hexdigest()[:16]}").write_bytes(data)
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    atheris.Setup([sys.argv[0], *options], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
