"""The same numbers for a spreadsheet, which must not take any of them for a formula.

A cell that begins the way a formula does gets an apostrophe in front, as spreadsheets themselves
write text that looks like one. What we count is whole numbers and stays as it is.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from cds_service.dashboard.numbers import Numbers

Cell = str | int
Table = tuple[Sequence[str], Iterable[Sequence[Cell]]]

#: Also the full-width forms, which some spreadsheets read as the ordinary ones.
_FORMULA: Final = tuple("=+-@\t\r\n|%＝＋－＠")


def csv_text(numbers: Numbers, name: str) -> str | None:
    """One of TABLES as CSV. None: there is no such table."""
    table = TABLES.get(name)
    if table is None:
        return None
    head, rows = table(numbers)
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(head)
    writer.writerows([_safe(cell) for cell in row] for row in rows)
    return out.getvalue()


def _safe(cell: Cell) -> Cell:
    if isinstance(cell, int):
        return cell
    text = cell.replace("\x00", " ")
    return f"'{text}" if text.lstrip(" \u00a0\ufeff").startswith(_FORMULA) else text


def _counts(numbers: Numbers) -> Table:
    head = ("week", "tenant", "protocol", "topic", "rule")
    outcomes = ("fired", "shown", "accepted", "overridden", "ignored")
    rows = (
        (
            *(k.week.isoformat(), k.tenant, k.protocol, k.topic, k.rule),
            *(n.fired, n.shown, n.accepted, n.overridden, n.ignored),
        )
        for k, n in numbers.counts.items()
    )
    return (*head, *outcomes), rows


def _reasons(numbers: Numbers) -> Table:
    return ("topic", "reason", "overridden"), ((t, r, n) for (t, r), n in numbers.reasons.items())


def _gaps(numbers: Numbers) -> Table:
    return ("key", "kind", "calls"), ((k, kind, n) for (k, kind), n in numbers.gaps.items())


def _latencies(numbers: Numbers) -> Table:
    rows = ((x.service, x.calls, x.p50, x.p95, x.p99, x.longest) for x in numbers.latencies)
    return ("service", "calls", "p50_ms", "p95_ms", "p99_ms", "max_ms"), rows


def _comments(numbers: Numbers) -> Table:
    rows = (
        (c.at.isoformat(timespec="seconds"), c.tenant, c.topic, c.outcome, c.reason, c.text)
        for c in numbers.comments
    )
    return ("received", "tenant", "topic", "outcome", "reason", "comment"), rows


TABLES: Final[Mapping[str, Callable[[Numbers], Table]]] = {
    "counts": _counts,
    "reasons": _reasons,
    "gaps": _gaps,
    "latency": _latencies,
    "comments": _comments,
}
