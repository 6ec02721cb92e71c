"""How does the time of a call grow with the record? A picture, drawn without a library."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

Json = dict[str, Any]

WIDTH: Final = 640
HEIGHT: Final = 360
LEFT, RIGHT, TOP, BOTTOM = 64, 120, 20, 48

_COLOURS: Final = {"ours": "#1f5fa8", "null": "#8a8a8a"}
_NAMES: Final = {"ours": "this service", "null": "null service"}


def growth(rows: Sequence[Json]) -> str:
    """Median time of a call by the size of the request, both axes logarithmic."""
    sizes = [row["megabytes"] for row in rows]
    times = [row[f"{name}_ms"] for row in rows for name in _NAMES]
    x = _scale(min(sizes) / 1.2, max(sizes) * 1.2, LEFT, WIDTH - RIGHT)
    y = _scale(min(times) / 1.5, max(times) * 1.5, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        'font-family="sans-serif" font-size="12" role="img">',
        "<title>Median time of a call by the size of its request</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *_grid(rows, x, y, min(times), max(times)),
        *(_line(name, rows, x, y) for name in _NAMES),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "request, MB", "middle"),
        _text(LEFT - 8, TOP - 6, "ms", "end"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = math.log(high / low)
    return lambda value: start + (end - start) * math.log(value / low) / span


def _grid(
    rows: Sequence[Json],
    x: Callable[[float], float],
    y: Callable[[float], float],
    low: float,
    high: float,
) -> Iterator[str]:
    for row in rows:
        at = x(row["megabytes"])
        yield _rule(at, TOP, at, HEIGHT - BOTTOM)
        yield _text(at, HEIGHT - BOTTOM + 16, f"{row['megabytes']:.2g}", "middle")
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        value = 10.0**power
        if low / 1.5 <= value <= high * 1.5:
            yield _rule(LEFT, y(value), WIDTH - RIGHT, y(value))
            yield _text(LEFT - 8, y(value) + 4, f"{value:g}", "end")


def _line(
    name: str, rows: Sequence[Json], x: Callable[[float], float], y: Callable[[float], float]
) -> str:
    points = [(x(row["megabytes"]), y(row[f"{name}_ms"])) for row in rows]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in points)
    end_x, end_y = points[-1]
    return (
        f'<g fill="{_COLOURS[name]}"><polyline points="{path}" fill="none" '
        f'stroke="{_COLOURS[name]}" stroke-width="2"/>{dots}'
        f"{_text(end_x + 8, end_y + 4, _NAMES[name], 'start')}</g>"
    )


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#e4e4e4"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'
