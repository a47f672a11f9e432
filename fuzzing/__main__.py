"""Fuzzes the gateway, or replays what was found: `scripts/fuzz --help`."""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fuzzing.ends import Finding
from fuzzing.rig import Rig
from fuzzing.sides import LOOPS, SIDES

PROJECT = Path(__file__).resolve().parents[1]
INPUTS = Path(__file__).resolve().parent / "inputs"
"""For each side a directory of inputs to start from, each also a test (tests/test_fuzzing.py)."""
DICTIONARY = Path(__file__).resolve().parent / "http.dict"
WORK = PROJECT / "build" / "fuzz"
"""For each side what was learned (`corpus`) and found (`findings`), kept from one run to the next."""
SECONDS = 600
REPLAYS = 500
"""How often an input is replayed: what depends on a race, or piles up, may not show at once."""
LIBFUZZER = {
    "max_len": 4096,
    "len_control": 20,
    "timeout": 60,
    "rss_limit_mb": 1500,
    "reload": 10,
    "print_final_stats": 1,
}
GRACE_SECONDS = 120
"""What a process may take for its start, and for its last input."""
_PROGRESS = re.compile(r"^#(\d+)\s.*cov: (\d+) ", re.MULTILINE)


@dataclass
class Process:
    """One side on one event loop, fuzzed by a process of its own."""

    side: str
    loop: str
    child: subprocess.Popen[bytes]
    log: Path
    began: float

    def told(self) -> str:
        """How far it has come, in one line."""
        inputs, edges = (_PROGRESS.findall(self.log.read_text("utf-8", "replace")) or [("0", "0")])[-1]
        seconds = time.monotonic() - self.began
        return f"{self.side}, {self.loop}: {int(inputs):,} inputs in {seconds:.0f} s, {edges} edges"


def main() -> int:
    """0 without a finding, 1 with one."""
    args = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if args.replay:
            return replay(args.side, args.replay)
        sides = [args.side] if args.side else list(SIDES)
        return max(fuzz(side, args.seconds) for side in sides)
    except KeyboardInterrupt:
        _say("stopped")
        return 1


def fuzz(side: str, seconds: int) -> int:
    """Fuzz one side on every event loop at once; 1 with a finding, else 0."""
    findings = WORK / side / "findings"
    findings.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    with ExitStack() as stack:
        processes = [_start(stack, side, loop, seconds) for loop in LOOPS]
        deadline = time.monotonic() + seconds + GRACE_SECONDS
        while any(one.child.poll() is None for one in processes) and time.monotonic() < deadline:
            if any(one.child.poll() for one in processes):
                break  # there is a finding
            time.sleep(0.5)
        failed = [one for one in processes if one.child.poll()]
        late = [] if failed else [one for one in processes if one.child.poll() is None]
        for one in processes:
            _say(one.told())
    found = sorted(set(findings.iterdir()) - before)
    for one in failed + late:
        _say(f"\n{one.side}, {one.loop}, ended with {one.child.returncode}; the end of {one.log}:")
        _say("\n".join(one.log.read_text("utf-8", "replace").splitlines()[-30:]))
    for path in found:
        _say(f"\nFINDING {path}\n{path.read_bytes()!r}")
        _say(f"to replay it: scripts/fuzz --side {side} --replay {path}")
    if failed or late or found:
        return 1
    _say(f"{side}: no finding")
    return 0


def _start(stack: ExitStack, side: str, loop: str, seconds: int) -> Process:
    work = WORK / side
    corpus = work / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    log = work / f"{loop}.log"
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-fuzz-"))
    options = [f"-{name}={value}" for name, value in LIBFUZZER.items()]
    findings = work / "findings"
    options += [f"-dict={DICTIONARY}", f"-max_total_time={seconds}", f"-artifact_prefix={findings}/"]
    where = [directory, findings, *options, corpus, INPUTS / side]
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "fuzzing.target", side, loop, *map(str, where)],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    stack.callback(_stop, child)
    return Process(side, loop, child, log, time.monotonic())


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def replay(side: str, paths: list[Path]) -> int:
    """Run inputs again, each many times on every event loop; 1 with a finding, else 0. Needs no atheris."""
    found = 0
    for path in paths:
        data = path.read_bytes()
        for loop, make in LOOPS.items():
            with tempfile.TemporaryDirectory(prefix="gateway-fuzz-") as directory:
                rig = Rig(make(), Path(directory))
                try:
                    for _ in range(REPLAYS):
                        rig.run(SIDES[side], data)
                except Finding as finding:
                    found = 1
                    print(f"{path}, {loop}: {finding}")
                else:
                    print(f"{path}, {loop}: no finding")
                    rig.close()
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--side", choices=list(SIDES), help="default: one after the other")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for each side; default: %(default)s")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="run these inputs again")
    args = parser.parse_args()
    if args.replay and not args.side:
        parser.error("--replay needs --side")
    return args


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
