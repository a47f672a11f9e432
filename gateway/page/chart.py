"""Bars as an SVG path draws them. Pure.

A chart is 100 units high and one unit wide for each value; the page stretches it. So no text is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEIGHT = 100
_GAP = 0.1
"""Left free on each side of a bar."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars of which each is stacked from the same layers."""

    top: int
    """What the full height stands for: 1, 2 or 5 times a power of ten, so its half is whole, too."""
    paths: Sequence[str]
    """One for each layer, the lowest first: the `d` of a `<path>`."""


def stacked(layers: Sequence[Sequence[int]], least: int) -> Chart:
    """Layers of equally many values, standing on each other; `least`: what the height stands for at least."""
    top = _round_up(max([least, *(sum(values) for values in zip(*layers, strict=True))]))
    floors = [0] * len(layers[0])
    paths = []
    for layer in layers:
        heights = [floor + value for floor, value in zip(floors, layer, strict=True)]
        paths.append(
            "".join(
                _rectangle(number, HEIGHT - HEIGHT * floor / top, HEIGHT - HEIGHT * height / top)
                for number, (floor, height) in enumerate(zip(floors, heights, strict=True))
                if height > floor
            )
        )
        floors = heights
    return Chart(top, paths)


def bars(values: Sequence[int]) -> str:
    """The `d` of a `<path>`; the highest bar takes the full height. Not all values are 0."""
    most = max(values)
    return "".join(
        _rectangle(number, HEIGHT, HEIGHT - HEIGHT * value / most)
        for number, value in enumerate(values)
        if value
    )


def _rectangle(number: int, low: float, high: float) -> str:
    return f"M{number + _GAP:.4g} {low:.4g}V{high:.4g}h{1 - 2 * _GAP:.4g}V{low:.4g}z"


def _round_up(value: int) -> int:
    """To 1, 2 or 5 times a power of ten, of at least 10."""
    power = 10
    while True:
        for step in (power, 2 * power, 5 * power):
            if value <= step:
                return step
        power *= 10
