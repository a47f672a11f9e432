"""What a soak prints: figures now and then, at the end what was done, what was logged, how memory went."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from soak import verdict
from soak.run import Soak
from soak.sampling import Sample

ROWS = 60
"""About how many."""
_WORKER = re.compile(r" \(worker \d+\)")
_NUMBER = re.compile(r"\b(?:0x[0-9a-f]+|\d[\d.,]*)")


class Table:
    """Prints a part of the samples, as they come."""

    def __init__(self, seconds: float) -> None:
        self._every = max(5.0, seconds / ROWS)
        self._next = 0.0
        print("seconds  requests  open  memory in MB, of each process   open files, of each process")

    def show(self, sample: Sample) -> None:
        """Prints the sample, if it is time."""
        if sample.seconds < self._next:
            return
        self._next = sample.seconds + self._every
        memory = " + ".join(f"{held.memory / 1e6:.1f}" for held in sample.held.values())
        files = " + ".join(str(held.files) for held in sample.held.values())
        print(
            f"{sample.seconds:7.0f}  {sample.requests:8,}  {sample.counted.open_requests:4}  "
            f"{f'{sample.memory / 1e6:.1f} = {memory}':31}  {sample.files} = {files}",
            flush=True,
        )


def summary(soak: Soak) -> list[str]:
    """What the clients did, what the gateway logged, both by kind, and how memory went in the second half."""
    lines = ["", "what clients did, and what came of it"]
    for (action, outcome), count in sorted(soak.ledger.outcomes.items()):
        lines.append(f"{count:8,}  {action}: {outcome}")
    lines += ["", "lines of the gateway's log"]
    lines += [f"{count:8,}  {kind}" for kind, count in sorted(kinds(soak.log).items())]
    growths = verdict.growths(soak.samples)
    lines += ["", "memory in the second half" if growths else "too short to judge the memory"]
    return [*lines, *map(str, growths), ""]


def kinds(log: Iterable[str]) -> Counter[str]:
    """How many lines there are of each kind: alike but for their worker and their numbers."""
    return Counter(_NUMBER.sub("N", _WORKER.sub("", line)) for line in log)
