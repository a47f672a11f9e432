"""Whether modules stand compiled beside their source (`scripts/compile`), and fit it.

Python prefers a compiled module to its source without looking at either's age, and what is compiled holds
constants of other modules.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

PACKAGE = Path(__file__).parent
RECORD = PACKAGE / f"compiled{EXTENSION_SUFFIXES[0]}.json"
"""What `digests` said when it was compiled, for this Python: modules for another one it does not see."""


def digests() -> dict[str, str]:
    """What the source files of the package are recognised by, by their paths within it."""
    return {
        str(path.relative_to(PACKAGE)): blake2b(path.read_bytes(), digest_size=16).hexdigest()
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def check() -> bool:
    """Whether there are any. Raises ImportError where a source file has changed since they were compiled."""
    try:
        then: dict[str, str] = json.loads(RECORD.read_bytes())
    except FileNotFoundError:
        return False
    changed = sorted(name for name, _ in then.items() ^ digests().items())
    if changed:
        raise ImportError(
            f"{PACKAGE / changed[0]} is not what was compiled: "
            "run scripts/compile again, or scripts/compile --remove"
        )
    return True


COMPILED = check()
"""Whether this process runs compiled modules."""
