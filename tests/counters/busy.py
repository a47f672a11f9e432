"""A process that counts as fast as it can: `python -m tests.counters.busy FILE KIND`.

`until-refused` prints how many requests were admitted; `for-ever` says that it counts, and does; `holding`
leaves a window half changed, with the lock held, and waits for its end.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from gateway.counters.memory import MemoryCounters
from gateway.counters.table import Table
from gateway.limits import Limits
from gateway.quota.admission import Admission, Estimate
from gateway.quota.windows import DEBT, TOTAL
from tests.counters.rig import BEGIN, rules

LIMITS = Limits(
    requests_per_minute=2_000, tokens_per_minute=10**9, concurrent_requests=10**6, tokens_per_day=10**12
)
RULES = rules(LIMITS, credential=LIMITS)


def until_refused(counters: MemoryCounters) -> None:
    admitted = 0
    while counters.admit(RULES, Estimate(1, 0)).blocked_by is None:
        admitted += 1
    print(admitted, flush=True)


def for_ever(counters: MemoryCounters) -> None:
    open_requests: list[Admission] = []
    wide = tuple(rule for rule in RULES if rule.limit > LIMITS.requests_per_minute)  # type: ignore[operator]
    for number in range(sys.maxsize):
        open_requests.append(counters.admit(wide, Estimate(random.randrange(1000), 0)))
        if len(open_requests) > 20:
            ended = open_requests.pop(random.randrange(20))
            counters.settle(ended, random.randrange(2000), None, final=True)
        if number == 100:
            print("counting", flush=True)


def holding(path: Path) -> None:
    table = Table(path)
    table.mutex.acquire()
    found = table.find(RULES[0])
    assert found
    _, cells = found
    cells[TOTAL] += 12345
    cells[DEBT] += 12345
    print("holding", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    file, kind = Path(sys.argv[1]), sys.argv[2]
    if kind == "holding":
        holding(file)
    elif kind == "until-refused":
        until_refused(MemoryCounters(file, lambda: BEGIN))
    else:
        for_ever(MemoryCounters(file))
