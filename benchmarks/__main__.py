"""Runs the benchmark: `scripts/benchmark --help`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import report
from benchmarks.figures import Repeats
from benchmarks.load import Load, LoadFailed
from benchmarks.measurements import Measurement, all_measurements
from benchmarks.others import start_litellm, start_portkey
from benchmarks.programs import BenchmarkError
from benchmarks.subjects import (
    PROJECT,
    UPSTREAMS,
    Machine,
    Start,
    Subject,
    Upstream,
    start_direct,
    start_forwarder,
    start_gateway,
    start_machine,
    start_nginx,
    start_on_redis,
    start_unaccounted,
)

OTHERS: dict[str, Start] = {"litellm": start_litellm, "portkey": start_portkey}
"""Measured only when asked for, in what they can be asked, over plain TCP."""

ACCOUNTING: dict[str, Start] = {"unaccounted": start_unaccounted, "redis": start_on_redis}
"""The gateway again, to see what counting and recording cost: over plain TCP, and nothing but requests."""

BINARIES = PROJECT / "build" / "benchmarks"
SECONDS, QUICK_SECONDS = 1.0, 0.7
REPEATS = 5


class Run:
    """All repeats of all measurements; what fails is told and left out."""

    def __init__(self, machine: Machine, load: Load, seconds: float) -> None:
        self._machine = machine
        self._load = load
        self._seconds = seconds
        self.repeats: Repeats = []
        self.failures: list[str] = []

    def repeat(
        self, measurements: list[Measurement], starts: dict[str, Start], running: list[Subject]
    ) -> None:
        """Each measurement of every subject in turn, so that all see the machine as it is just then."""
        self.repeats.append({})
        turn = (len(self.repeats) - 1) % len(running)
        for measurement in measurements:
            for subject in running[turn:] + running[:turn]:
                if subject.name in OTHERS and not measurement.light:
                    continue
                if subject.name in ACCOUNTING and measurement.group not in ("unary", "latency"):
                    continue
                if not measurement.fresh:
                    self._measure(measurement, subject)
                elif subject.program:
                    fresh = starts[subject.name](self._machine, subject.upstream)
                    try:
                        self._measure(measurement, fresh)
                    finally:
                        fresh.stop()

    def _measure(self, measurement: Measurement, subject: Subject) -> None:
        where = f"{measurement.name}, {subject.upstream} upstream, {subject.name}"
        try:
            values = measurement.take(self._load, subject, self._seconds)
        except LoadFailed as error:
            self.failures.append(f"{where}: {error}")
            _say(f"FAILED {self.failures[-1]}")
            return
        self.repeats[-1].setdefault((subject.upstream, subject.name), {}).update(values)
        figures = ", ".join(f"{name.rpartition('/')[2]} {value:.6g}" for name, value in values.items())
        _say(f"{len(self.repeats)}. {where}: {figures}")


def main() -> int:
    """0 when everything could be measured, 1 otherwise."""
    args = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    groups = set(args.only.split(",")) if args.only else None
    measurements = [m for m in all_measurements() if groups is None or m.group in groups]
    starts: dict[str, Start] = {"direct": start_direct, "nginx": start_nginx, "gateway": start_gateway}
    if args.forwarder:
        starts["forwarder"] = start_forwarder
    if args.accounting:
        starts |= ACCOUNTING
    starts |= {name: start for name, start in OTHERS.items() if getattr(args, name)}
    upstreams: list[Upstream] = [u for u in UPSTREAMS if u in args.upstreams.split(",")]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-benchmark-")))
        try:
            machine = start_machine(directory, BINARIES)
            stack.callback(machine.stub.stop)
            running = []
            for upstream in upstreams:
                for name, start in starts.items():
                    # The stub is asked the same way whatever the others speak to it.
                    if name in ("nginx", "gateway") or upstream == upstreams[0]:
                        subject = start(machine, upstream if name in ("nginx", "gateway") else UPSTREAMS[0])
                        stack.callback(subject.stop)
                        running.append(subject)
            run = Run(machine, Load(machine, BINARIES), QUICK_SECONDS if args.quick else SECONDS)
            for _ in range(args.repeats or (1 if args.quick else REPEATS)):
                run.repeat(measurements, starts, running)
        except BenchmarkError as error:
            _say(f"benchmark: {error}")
            return 1
        except KeyboardInterrupt:
            _say("stopped")
            return 1
    for name, value in report.circumstances().items():
        print(f"{'- ' if args.markdown else ''}{name}: {value}")
    print(f"\n{report.tables(run.repeats, list(starts), markdown=args.markdown)}")
    for line in report.accounting(run.repeats):
        print(line)
    for line in report.against_others(run.repeats, [name for name in starts if name in OTHERS]):
        print(line)
    if args.json:
        report.write_json(run.repeats, args.json)
    for line in [*run.failures, *report.doubts(run.repeats)]:
        _say(line)
    _say(f"took {time.monotonic() - began:.0f} s")
    return 1 if run.failures else 0


def _arguments() -> argparse.Namespace:
    groups = sorted({measurement.group for measurement in all_measurements()})
    parser = argparse.ArgumentParser(prog="scripts/benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short repeat, to try things out")
    parser.add_argument("--repeats", type=int, metavar="N", help=f"default: {REPEATS}")
    parser.add_argument("--only", metavar="GROUP,…", help=f"of {', '.join(groups)}")
    parser.add_argument("--upstreams", default=",".join(UPSTREAMS), metavar="…", help="default: %(default)s")
    parser.add_argument(
        "--forwarder", action="store_true", help="beside it a bare forwarder: the loop's own cost"
    )
    # Which of the two it is decides the script, before this starts.
    parser.add_argument("--interpreted", action="store_true", help="not compiled by scripts/compile")
    parser.add_argument(
        "--accounting",
        action="store_true",
        help="beside it the gateway without limits and usage, and with its limits on Redis; interpreted",
    )
    parser.add_argument("--litellm", action="store_true", help="beside it LiteLLM's Gemini pass-through")
    parser.add_argument("--portkey", action="store_true", help="beside it Portkey's gateway")
    parser.add_argument("--json", metavar="FILE", help="write every value there")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
