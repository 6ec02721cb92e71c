"""What one laboratory result says, in the unit it was reported in.

A cut-off is compared in the guideline's own number for that unit: 132.9 pmol/L is below 133,
although converting it gives 180.08 ng/L. Nothing is judged without a known unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum

from regimen.facts import Analyte, Comparator, Flag, LabResult, PatientFacts
from regimen.protocol import Protocol

# Factors to the unit that the cut-offs are written in, per analyte: exact decimals.
MASS = {"pg/mL": 1, "ng/L": 1, "ug/L": 1000, "ng/mL": 1000, "ng/dL": 10}
MOLAR = {"pmol/L": 1, "nmol/L": 1000}
UNITS: dict[Analyte, dict[str, tuple[str, Decimal]]] = {
    Analyte.B12_TOTAL: {
        **{u: ("ng/L", Decimal(f)) for u, f in MASS.items()},
        **{u: ("pmol/L", Decimal(f)) for u, f in MOLAR.items()},
    },
    Analyte.B12_ACTIVE: {u: ("pmol/L", Decimal(f)) for u, f in MOLAR.items()},
    Analyte.MMA: {
        "umol/L": ("umol/L", Decimal(1)),
        "nmol/L": ("umol/L", Decimal("0.001")),
    },
    Analyte.HOMOCYSTEINE: {
        "umol/L": ("umol/L", Decimal(1)),
        "nmol/L": ("umol/L", Decimal("0.001")),
    },
    Analyte.HAEMOGLOBIN: {
        "g/L": ("g/L", Decimal(1)),
        "g/dL": ("g/L", Decimal(10)),
        "mmol/L": ("g/L", Decimal("16.114")),
    },
    Analyte.MCV: {"fL": ("fL", Decimal(1))},
    Analyte.POTASSIUM: {"mmol/L": ("mmol/L", Decimal(1)), "meq/L": ("mmol/L", Decimal(1))},
    Analyte.EGFR: {"mL/min/{1.73_m2}": ("mL/min", Decimal(1)), "mL/min": ("mL/min", Decimal(1))},
    Analyte.PLATELETS: {"10*9/L": ("10*9/L", Decimal(1)), "10*3/uL": ("10*9/L", Decimal(1))},
}
TEST_WORDS = {
    Analyte.B12_TOTAL: "Serum vitamin B12",
    Analyte.B12_ACTIVE: "Active B12 (holotranscobalamin)",
    Analyte.MMA: "Methylmalonic acid (MMA)",
    Analyte.HOMOCYSTEINE: "Homocysteine",
    Analyte.HAEMOGLOBIN: "Haemoglobin",
    Analyte.MCV: "MCV",
    Analyte.POTASSIUM: "Potassium",
    Analyte.EGFR: "eGFR",
    Analyte.PLATELETS: "Platelets",
    Analyte.IF_ANTIBODY: "Intrinsic factor antibody",
}
BELOW = (Comparator.LESS, Comparator.LESS_OR_EQUAL)
ABOVE = (Comparator.GREATER, Comparator.GREATER_OR_EQUAL)


class Verdict(StrEnum):
    """What a B12 result says; ordered from most to least deficient by `SEVERITY`."""

    LOW = "low"
    MAYBE_LOW = "maybe-low"
    INDETERMINATE = "indeterminate"
    NORMAL = "normal"


SEVERITY = tuple(Verdict)


def in_unit(result: LabResult) -> tuple[Decimal, str] | None:
    """The value in the unit of the cut-offs; None without a value or a unit that fits."""
    if result.value is None or result.unit is None:
        return None
    known = UNITS.get(result.analyte, {}).get(result.unit)
    return (result.value * known[1], known[0]) if known else None


def cut_offs(analyte: Analyte, unit: str, protocol: Protocol) -> tuple[Decimal, Decimal]:
    """Below the first: confirmed. Above the second: unlikely."""
    t = protocol.thresholds
    if analyte is Analyte.B12_ACTIVE:
        return t.b12_active_low_pmol_l, t.b12_active_high_pmol_l
    if unit == "pmol/L":
        return t.b12_total_low_pmol_l, t.b12_total_high_pmol_l
    return t.b12_total_low_ng_l, t.b12_total_high_ng_l


def verdict(result: LabResult, protocol: Protocol) -> Verdict | None:
    """C.2: what a total or active B12 result says; None when nothing can be said."""
    measured = in_unit(result)
    if measured is None:
        return _without_unit(result)
    value, unit = measured
    low, high = cut_offs(result.analyte, unit, protocol)
    match result.comparator:
        case Comparator.EQUAL:
            return _exact(value, low, high)
        case Comparator.LESS if value <= low:
            return Verdict.LOW
        case Comparator.LESS_OR_EQUAL if value < low:
            return Verdict.LOW
        case Comparator.LESS | Comparator.LESS_OR_EQUAL if value <= high:
            return Verdict.MAYBE_LOW
        case Comparator.GREATER | Comparator.GREATER_OR_EQUAL if value >= high:
            return Verdict.NORMAL
    return None


def _exact(value: Decimal, low: Decimal, high: Decimal) -> Verdict:
    if value < low:
        return Verdict.LOW
    return Verdict.INDETERMINATE if value <= high else Verdict.NORMAL


def _without_unit(result: LabResult) -> Verdict | None:
    """Only a flag, or a number below the laboratory's own limit in the same unknown unit."""
    if result.value is not None:
        below = result.low is not None and result.value < result.low
        return Verdict.MAYBE_LOW if below and result.comparator is Comparator.EQUAL else None
    match result.flag:
        case Flag.CRITICALLY_LOW:
            return Verdict.LOW
        case Flag.LOW:
            return Verdict.MAYBE_LOW
        case Flag.HIGH:
            return Verdict.NORMAL
    return None


def raised(result: LabResult, limit: Decimal) -> bool:
    """Above the laboratory's upper limit, else above `limit`; by its flag if no number came."""
    if result.value is None:
        return result.flag is Flag.HIGH
    measured = in_unit(result)
    if measured is None or result.comparator in BELOW:
        return False
    value = measured[0]
    if result.high is not None and result.unit is not None:
        limit = result.high * UNITS[result.analyte][result.unit][1]
    return value >= limit if result.comparator is Comparator.GREATER else value > limit


def below(result: LabResult, limit: Decimal) -> bool:
    """Surely below `limit`: a bound counts only where it settles the question."""
    measured = in_unit(result)
    if measured is None or result.comparator in ABOVE:
        return False
    if result.comparator is Comparator.LESS:
        return measured[0] <= limit
    return measured[0] < limit


# Of most results the low one is the worse; of these the high one.
_HIGH_IS_WORSE = frozenset({Analyte.MCV, Analyte.MMA, Analyte.HOMOCYSTEINE})
_B12 = frozenset({Analyte.B12_TOTAL, Analyte.B12_ACTIVE})


def newest_first(results: Iterable[LabResult], protocol: Protocol) -> list[LabResult]:
    """By date, then time of day; of results of one moment the worse comes first. On a day with a
    result that says no time of day, none is known to be the later one."""
    results = list(results)
    undecided = {r.on for r in results if _has_time(r)} & {
        r.on for r in results if not _has_time(r)
    }

    def order(result: LabResult) -> tuple[str, str, Decimal, str]:
        on = result.on.isoformat() if result.on else ""
        moment = "" if result.on in undecided else result.moment
        return (on, moment, _severity(result, protocol), result.record.reference)

    return sorted(results, key=order, reverse=True)


def _has_time(result: LabResult) -> bool:
    """Midnight is how a day without a time is written."""
    when = result.moment.partition(" ")[0]
    return bool(when) and "T00:00:00.000000+00:00" not in when


_NOTHING_SAID = Decimal("-1E9")


def _severity(result: LabResult, protocol: Protocol) -> Decimal:
    """The greater, the worse. A B12 result that cannot be judged comes first: a normal one beside
    it settles nothing."""
    if result.analyte in _B12:
        said = verdict(result, protocol)
        return Decimal(1) if said is None else Decimal(-SEVERITY.index(said))
    measured = in_unit(result)
    if measured is None:
        return _NOTHING_SAID
    return measured[0] if result.analyte in _HIGH_IS_WORSE else -measured[0]


def newest(facts: PatientFacts, analyte: Analyte, protocol: Protocol) -> LabResult | None:
    """The newest final result with a number that can be judged."""
    usable = [r for r in facts.results(analyte) if in_unit(r) is not None and not r.preliminary]
    return next(iter(newest_first([r for r in usable if r.on], protocol)), None)
