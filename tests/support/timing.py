"""How does a schedule written in words look as FHIR `Timing.repeat`?

    once · daily · weekly · monthly · 3 a week · 2 a day · 3 per 7 days
    every 2 days · every 12 hours · every 2-3 months · on mon wed fri
    ... for 2 weeks · ... until 2026-12-14 · ..., 6 doses

Only these; anything else is refused, so that a vignette never says less than it seems to.
"""

from __future__ import annotations

import re
from typing import Any

UCUM = "http://unitsofmeasure.org"
UNITS = {"hour": "h", "day": "d", "week": "wk", "month": "mo", "year": "a"}
_SHORT = {"daily": (1, "day"), "weekly": (1, "week"), "monthly": (1, "month")}

_EVERY = re.compile(r"every (?:(\d+)(?:-(\d+))? )?(hour|day|week|month|year)s?")
_PER = re.compile(r"(\d+) (?:a|per (\d+)) ?(hour|day|week|month|year)s?")
_ON = re.compile(r"on ((?:(?:mon|tue|wed|thu|fri|sat|sun) ?)+)")
_WHOLE = re.compile(
    r"(?P<rhythm>.+?)(?: for (?P<bounds>\d+) (?P<unit>day|week|month|year)s?)?"
    r"(?: until (?P<until>\d{4}-\d{2}-\d{2}))?"
    r"(?:, (?P<count>\d+) doses)?"
)

Repeat = dict[str, Any]


def _rhythm(words: str) -> Repeat:
    if words in _SHORT:
        period, unit = _SHORT[words]
        return {"frequency": 1, "period": period, "periodUnit": UNITS[unit]}
    if match := _EVERY.fullmatch(words):
        repeat = {"frequency": 1, "period": int(match[1] or 1), "periodUnit": UNITS[match[3]]}
        return repeat | ({"periodMax": int(match[2])} if match[2] else {})
    if match := _PER.fullmatch(words):
        period = int(match[2] or 1)
        return {"frequency": int(match[1]), "period": period, "periodUnit": UNITS[match[3]]}
    if match := _ON.fullmatch(words):
        return {"dayOfWeek": match[1].split(), "frequency": 1, "period": 1, "periodUnit": "d"}
    raise ValueError(f"not a schedule this harness reads: {words!r}")


def repeat(words: str) -> Repeat:
    """`Timing.repeat` of a schedule in words."""
    if words == "once":
        return {"count": 1}
    match = _WHOLE.fullmatch(words)
    if match is None:
        raise ValueError(f"not a schedule this harness reads: {words!r}")
    out = _rhythm(match["rhythm"])
    if match["bounds"]:
        unit = match["unit"]
        bounds = {"value": int(match["bounds"]), "unit": unit, "system": UCUM, "code": UNITS[unit]}
        out["boundsDuration"] = bounds
    if match["until"]:
        out["boundsPeriod"] = {"end": match["until"]}
    if match["count"]:
        out["count"] = int(match["count"])
    return out
