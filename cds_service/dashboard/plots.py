"""Numbers as pictures a person can read: small SVG, made here, without script or style of its own.

Colours are classes of the page's style sheet. Every bar has its number beside it or in a title, and
the same numbers are in a table of the page, for whoever cannot see the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from markupsafe import Markup, escape

_WIDTH: Final = 720
_LEFT: Final = 190
_ROW: Final = 22
_TALL: Final = 180
_MARGIN: Final = 34
_MOST_LABELS: Final = 16


def rows_plot(title: str, rows: Mapping[str, Mapping[str, int]]) -> Markup:
    """One horizontal bar a row, made of its parts: {"regimen": {"accepted": 3, "ignored": 5}}."""
    height = _ROW * len(rows) + 8
    most = max((sum(parts.values()) for parts in rows.values()), default=0) or 1
    body = [
        piece
        for number, (label, parts) in enumerate(rows.items())
        for piece in _row(label, parts, 4 + number * _ROW, most)
    ]
    return _svg(title, height, body)


def _row(label: str, parts: Mapping[str, int], top: int, most: int) -> Iterator[Markup]:
    yield Markup('<text class="label" x="{}" y="{}">{}</text>').format(_LEFT - 8, top + 14, label)
    left = float(_LEFT)
    room = _WIDTH - _LEFT - 60
    for name, value in parts.items():
        width = room * value / most
        yield _bar(name, value, (left, top + 2, width, _ROW - 6), label)
        left += width
    total = sum(parts.values())
    yield Markup('<text class="number" x="{:.1f}" y="{}">{}</text>').format(
        left + 6, top + 14, total
    )


def weeks_plot(title: str, labels: Sequence[str], series: Mapping[str, Sequence[int]]) -> Markup:
    """One column a week, the series stacked; the number on top is their sum."""
    sums = [sum(values) for values in zip(*series.values(), strict=True)] or [0]
    most = max(sums) or 1
    step = (_WIDTH - 20) / max(1, len(labels))
    every = -(-len(labels) // _MOST_LABELS)
    body: list[Markup] = []
    for number, label in enumerate(labels):
        left = 10 + number * step
        parts = {name: values[number] for name, values in series.items()}
        place = (left + step * 0.12, step * 0.76)
        body += _column(label, parts, place, most)
        if number % every == 0:
            body += _words(label, sum(parts.values()), place, most)
    return _svg(title, _TALL + 2 * _MARGIN, body)


def _column(
    label: str, parts: Mapping[str, int], place: tuple[float, float], most: int
) -> Iterator[Markup]:
    left, width = place
    bottom = float(_TALL + _MARGIN)
    for name, value in parts.items():
        height = _TALL * value / most
        bottom -= height
        yield _bar(name, value, (left, bottom, width, height), label)


def _words(label: str, total: int, place: tuple[float, float], most: int) -> Iterator[Markup]:
    """The week under a column, the number on top. Not on each, where they would overlap."""
    middle = place[0] + place[1] / 2
    top = _TALL + _MARGIN - _TALL * total / most
    number = Markup('<text class="over" x="{:.1f}" y="{:.1f}">{}</text>')
    yield number.format(middle, top - 5, total)
    under = Markup('<text class="under" x="{:.1f}" y="{}">{}</text>')
    yield under.format(middle, _TALL + _MARGIN + 18, label)


def _bar(name: str, value: int, box: tuple[float, float, float, float], label: str) -> Markup:
    if not value:
        return Markup("")
    return Markup(
        '<rect class="part-{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
        "<title>{}: {} {}</title></rect>"
    ).format(name, *box, label, value, name)


def _svg(title: str, height: int, body: Sequence[Markup]) -> Markup:
    head = Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>'
    ).format(_WIDTH, height, title, escape(title))
    return head + Markup("").join(body) + Markup("</svg>")
