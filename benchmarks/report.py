"""Turns the values of all repeats into tables, as plain text and as Markdown, and into JSON."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from typing import Any

from benchmarks.figures import Figure, Goal, Repeats, Spread, all_figures, compared, values_of, verdict
from benchmarks.subjects import UPSTREAMS, Upstream, versions

_COMPARISON = {
    "share": "{} of nginx's",
    "times": "{} × nginx's",
    "difference": "nginx's + {} µs",
    "absolute": "{}",
}
_HEADINGS = {"plain": "Plain upstream", "tls": "TLS upstream"}
_BUSY = 0.97
_OTHERS_GOALS = {"litellm": Goal(80, 200), "portkey": Goal(12, 30)}


def tables(repeats: Repeats, subjects: list[str], *, markdown: bool) -> str:
    """One table for each upstream: the spread of every subject, and the gateway against the others."""
    parts = []
    for upstream in UPSTREAMS:
        rows = [row for figure in all_figures() if (row := _row(figure, repeats, upstream, subjects))]
        if rows:
            names = ["figure", *subjects, "gateway is", "range", "must", "aim", "reached"]
            heading = _HEADINGS[upstream]
            table = _markdown([names, *rows]) if markdown else _text([names, *rows])
            parts.append(f"{'### ' if markdown else ''}{heading}\n\n{table}")
    return "\n\n".join(parts) + "\n"


def against_others(repeats: Repeats, others: list[str]) -> list[str]:
    """The gateway's requests a second at concurrency 64, times those of other gateways."""
    figure = next(figure for figure in all_figures() if figure.value == "unary/64/rate")
    lines = []
    for other in others:
        if spread := Spread.of(compared(figure, repeats, "plain", "gateway", other)):
            goal = _OTHERS_GOALS[other]
            lines.append(
                f"requests at concurrency 64: {_number(spread.middle)} × {other}'s "
                f"({_number(spread.least)} to {_number(spread.most)}; must {goal.must:g}, aim {goal.aim:g})"
            )
    return lines


def accounting(repeats: Repeats) -> list[str]:
    """What limits and usage add to the gateway, counted by itself and by Redis, where that was measured."""
    lines = []
    for value, what in (("unary/64/cpu", "CPU per request at concurrency 64"), ("rate/p99", "p99 at 500/s")):
        figure = next(figure for figure in all_figures() if figure.value == value)
        for subject, where in (("gateway", "in memory"), ("redis", "on Redis")):
            added = [
                ours - bare
                for repeat in repeats
                for ours in values_of(figure, [repeat], "plain", subject)
                for bare in values_of(figure, [repeat], "plain", "unaccounted")
            ]
            if spread := Spread.of(added):
                lines.append(f"limits (counted {where}) and usage add {_spread(spread)} µs: {what}")
    return lines


def doubts(repeats: Repeats) -> list[str]:
    """Where the stub and the load client were as busy as their core allows, so that they set the limit."""
    return sorted(
        {
            f"{name.removesuffix('/busy')}, {subject}: stub and load client kept their core {value:.0%} busy"
            for repeat in repeats
            for (_, subject), values in repeat.items()
            for name, value in values.items()
            if name.endswith("/busy") and value > _BUSY and subject != "direct"
        }
    )


def circumstances() -> dict[str, str]:
    """Date, machine, command and versions."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "command": shlex.join(["scripts/benchmark", *sys.argv[1:]]),
        **versions(),
    }


def as_json(repeats: Repeats) -> dict[str, Any]:
    """Everything, by repeat, for other programs: values in µs, bytes, Hz, bytes a second."""
    return {
        "circumstances": circumstances(),
        "repeats": [
            {f"{upstream}/{subject}": values for (upstream, subject), values in repeat.items()}
            for repeat in repeats
        ],
    }


def write_json(repeats: Repeats, path: str) -> None:
    """Writes `as_json` into a file."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(as_json(repeats), file, indent=1)


def _row(figure: Figure, repeats: Repeats, upstream: Upstream, subjects: list[str]) -> list[str]:
    spreads = [Spread.of(values_of(figure, repeats, upstream, subject)) for subject in subjects]
    if not any(spreads):
        return []
    row = [f"{figure.title} ({figure.unit})", *map(_spread, spreads)]
    comparison = Spread.of(compared(figure, repeats, upstream, "gateway"))
    goal = (figure.goals or {}).get(upstream)
    if not comparison:
        return [*row, "–", "", *_goal(figure, goal), ""]
    return [
        *row,
        _COMPARISON[figure.comparison].format(_number(comparison.middle)),
        f"{_number(comparison.least)} to {_number(comparison.most)}",
        *_goal(figure, goal),
        verdict(figure, upstream, comparison.middle),
    ]


def _goal(figure: Figure, goal: Goal | None) -> list[str]:
    if not goal:
        return ["", ""]
    sign = "≥" if figure.comparison == "share" else "≤"
    return [f"{sign} {goal.must:g}", f"{sign} {goal.aim:g}"]


def _spread(spread: Spread | None) -> str:
    if not spread:
        return "–"
    return f"{_number(spread.middle)} ({_number(spread.least)} to {_number(spread.most)})"


def _number(value: float) -> str:
    """Three digits that count, thousands set apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def _text(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
