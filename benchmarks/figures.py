"""The figures of the report: which value each is, how it compares to nginx's, and what it has to reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Literal

from benchmarks.measurements import (
    CONCURRENCIES,
    MEMORY_STREAMS,
    RATE,
    SLOW_READ_RATE,
    SLOW_READERS,
    STREAMS,
    Values,
)
from benchmarks.subjects import UPSTREAMS, Upstream

Comparison = Literal["share", "times", "difference", "absolute"]
"""How the gateway's value stands to nginx's: more is better, less is better, how much more, or not at all."""


@dataclass(frozen=True)
class Goal:
    """What the comparison must reach, and what it should."""

    must: float
    aim: float


@dataclass(frozen=True)
class Figure:
    """One line of the report."""

    value: str
    """The measurement's name for it."""
    title: str
    unit: str
    scale: float
    """Units in one of the value's."""
    comparison: Comparison
    added: bool = False
    """What the subject adds to the stub's own, in the same repeat."""
    goals: Mapping[Upstream, Goal] | None = None


@dataclass(frozen=True)
class Spread:
    """Of all repeats."""

    least: float
    middle: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Spread | None:
        """None without values."""
        return cls(min(values), median(values), max(values)) if values else None


Repeats = list[dict[tuple[Upstream, str], Values]]
"""For each repeat and each upstream and subject's name the values; what failed is missing."""


def _on(upstream: Upstream, must: float, aim: float) -> dict[Upstream, Goal]:
    return {upstream: Goal(must, aim)}


def all_figures() -> list[Figure]:
    """In the order of the report."""
    figures = []
    unary = {f"unary/{n}": f"unary, concurrency {n}" for n in CONCURRENCIES}
    unary["unary/chunked"] = "unary, concurrency 64, answer in chunks"
    for name, what in unary.items():
        share, cpu = (_on("plain", 0.3, 0.5), _on("plain", 3.5, 2)) if name == "unary/64" else (None, None)
        figures.append(Figure(f"{name}/rate", f"{what}: requests", "1/s", 1, "share", goals=share))
        figures.append(Figure(f"{name}/cpu", f"{what}: CPU per request", "µs", 1, "times", goals=cpu))
    goals = {"p50": _on("plain", 2, 1.2)}
    for p in ("p50", "p99"):
        title = f"{RATE} requests/s: added {p}"
        figures.append(Figure(f"rate/{p}", title, "µs", 1, "times", added=True, goals=goals.get(p)))
    goals = {"p50": _on("plain", 2.2, 1.3)}
    for p in ("p50", "p99"):
        title = f"first byte of a stream: added {p}"
        figures.append(Figure(f"first_byte/{p}", title, "µs", 1, "times", added=True, goals=goals.get(p)))
    for n in STREAMS:
        figures += _of_streams(n)
    for name in ("upload", "response"):
        share = _on("plain", 0.8, 1.1) if name == "upload" else None
        figures.append(Figure(f"{name}/rate", f"8 MB {name}: throughput", "MB/s", 1e-6, "share", goals=share))
        figures.append(Figure(f"{name}/cpu", f"8 MB {name}: CPU", "ms", 1e-3, "times"))
    title = f"memory per open stream, {MEMORY_STREAMS} streams"
    figures.append(Figure("memory/stream", title, "kB", 1e-3, "absolute", goals=_on("plain", 30, 12)))
    title = f"{SLOW_READERS} clients that read 16 MB at {SLOW_READ_RATE // 1000} kB/s: growth"
    figures.append(Figure("slow/growth", title, "MB", 1e-6, "absolute", goals=_on("plain", 10, 4)))
    return figures


def _of_streams(n: int) -> list[Figure]:
    what = f"{n} streams"
    held_to = n >= 200
    figures = [
        Figure(
            f"streams/{n}/p50",
            f"{what}: added delay of a chunk, p50",
            "µs",
            1,
            "difference",
            added=True,
            goals=_on("plain", 20, 0) if held_to else None,
        ),
        *(
            Figure(
                f"streams/{n}/{p}", f"{what}: added delay of a chunk, {name}", "µs", 1, "times", added=True
            )
            for p, name in (("p99", "p99"), ("p999", "p99.9"))
        ),
        Figure(
            f"streams/{n}/p99",
            f"{what}: whole delay of a chunk, p99",
            "µs",
            1,
            "times",
            goals=_on("plain", 2, 1) if held_to else None,
        ),
        Figure(
            f"streams/{n}/cpu",
            f"{what}: CPU per chunk",
            "µs",
            1,
            "times",
            goals=_on("plain", 1.4, 1.1) | _on("tls", 1.6, 1.3) if n == 1000 else None,
        ),
    ]
    return figures


def values_of(figure: Figure, repeats: Repeats, upstream: Upstream, subject: str) -> list[float]:
    """The figure of each repeat that has it, in the figure's unit."""
    found = (_value(figure, repeat, upstream, subject) for repeat in repeats)
    return [value for value in found if value is not None]


def compared(
    figure: Figure, repeats: Repeats, upstream: Upstream, subject: str, other: str = "nginx"
) -> list[float]:
    """The comparison with another subject in each repeat that has both."""
    results = []
    for repeat in repeats:
        ours = _value(figure, repeat, upstream, subject)
        theirs = _value(figure, repeat, upstream, other)
        if ours is None:
            continue
        if figure.comparison == "absolute":
            results.append(ours)
        elif theirs is not None and figure.comparison == "difference":
            results.append(ours - theirs)
        elif theirs is not None and theirs > 0:
            results.append(ours / theirs)
    return results


def verdict(figure: Figure, upstream: Upstream, ratio: float) -> str:
    """`aim`, `must` or `MISSED`: what the median of the comparison reaches; empty where there is no goal."""
    goal = (figure.goals or {}).get(upstream)
    if not goal:
        return ""

    def reached(wanted: float) -> bool:
        return ratio >= wanted if figure.comparison == "share" else ratio <= wanted

    return "aim" if reached(goal.aim) else "must" if reached(goal.must) else "MISSED"


def _value(
    figure: Figure, repeat: dict[tuple[Upstream, str], Values], upstream: Upstream, subject: str
) -> float | None:
    value = repeat.get((upstream, subject), {}).get(figure.value)
    if value is None:
        return None
    if figure.added:
        if subject == "direct":
            return None
        # The stub is asked over plain TCP only: what TLS to the upstream costs is the subject's.
        direct = repeat.get((UPSTREAMS[0], "direct"), {}).get(figure.value)
        if direct is None:
            return None
        value -= direct
    return value * figure.scale
