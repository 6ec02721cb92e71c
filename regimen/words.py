"""How numbers, dates, doses and schedules are said to a prescriber.

"microgram" in full, no trailing zeros, a leading zero, and none of the error-prone abbreviations.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from regimen.facts import Comparator, DoseLine, LabResult, Order, Route
from regimen.recommendation import Phase, Regimen
from regimen.schedule import Duration, Schedule, Unit

UNIT_WORDS = {
    Unit.SECOND: "second",
    Unit.MINUTE: "minute",
    Unit.HOUR: "hour",
    Unit.DAY: "day",
    Unit.WEEK: "week",
    Unit.MONTH: "month",
    Unit.YEAR: "year",
}
TIMES = {1: "once", 2: "twice", 3: "three times", 4: "four times"}
ROUTE_WORDS = {
    Route.INTRAMUSCULAR: "IM",
    Route.SUBCUTANEOUS: "subcutaneous",
    Route.INTRAVENOUS: "IV",
    Route.ORAL: "by mouth",
    Route.SUBLINGUAL: "under the tongue",
    Route.NASAL: "by nose",
    Route.PARENTERAL: "by injection",
}
COMPARATOR_WORDS = {
    Comparator.EQUAL: "",
    Comparator.LESS: "less than ",
    Comparator.LESS_OR_EQUAL: "at most ",
    Comparator.GREATER: "more than ",
    Comparator.GREATER_OR_EQUAL: "at least ",
}
SHOWN_DIGITS = 12


def number(value: Decimal) -> str:
    """`1.50` → "1.5"; `1E+3` → "1000"; very long numbers are cut to what a person can read."""
    rounded = round(value, 4) if abs(value) < Decimal(10) ** SHOWN_DIGITS else value
    text = format(rounded.normalize(), "f")
    return text if len(text) <= 2 * SHOWN_DIGITS else f"{value:.3E}"


def day(on: date | None) -> str:
    return on.isoformat() if on else "date not recorded"


def since(on: date | None) -> str:
    """ " since 2026-05-01", or nothing."""
    return f" since {on.isoformat()}" if on else ""


def dose(micrograms: Decimal) -> str:
    """Milligrams from 10 mg up, microgram below: "1000 mg", "1000 microgram"."""
    if micrograms >= 10_000 or (micrograms > 1000 and micrograms % 1000 == 0):
        return f"{number(micrograms / 1000)} mg"
    return f"{number(micrograms)} microgram"


def lab_value(result: LabResult) -> str:
    """The result as reported: "120 pg/mL", "less than 150 pg/mL"."""
    if result.value is None:
        return ""
    value = f"{COMPARATOR_WORDS[result.comparator]}{number(result.value)}"
    return f"{value} {result.unit}" if result.unit else value


def duration(length: Duration) -> str:
    return f"{number(length.value)} {_plural(UNIT_WORDS[length.unit], length.value)}"


def schedule(said: Schedule | None) -> str:
    """ "three times a week for 2 weeks", "every 12 weeks", "a single dose"."""
    if said is None:
        return "no schedule"
    if said.once:
        return "a single dose"
    return f"{_rhythm(said)}{_end(said)}"


def _rhythm(said: Schedule) -> str:
    unit = UNIT_WORDS[said.unit]
    if said.frequency == 1:
        if said.period_max is not None:
            return f"every {number(said.period)}-{number(said.period_max)} {unit}s"
        if said.period == 1:
            return "daily" if said.unit is Unit.DAY else f"every {unit}"
        return f"every {number(said.period)} {unit}s"
    times = TIMES.get(int(said.frequency), f"{number(said.frequency)} times")
    if said.period == 1:
        return f"{times} a {unit}"
    return f"{times} every {number(said.period)} {unit}s"


def _end(said: Schedule) -> str:
    if said.bounds is not None:
        return f" for {duration(said.bounds)}"
    if said.count is not None:
        return f", {said.count} {_plural('dose', Decimal(said.count))}"
    return ""


def _plural(word: str, value: Decimal) -> str:
    return word if value == 1 else f"{word}s"


def phase(said: Phase) -> str:
    """ "hydroxocobalamin 1 mg IM three times a week for 2 weeks (6 doses)"."""
    return f"{said.product.name} {said.product.dose_words} {ROUTE_WORDS[said.route]} {said.words}"


def regimen(said: Regimen) -> str:
    return ", then ".join(phase(p) for p in said.phases)


def sentence(text: str) -> str:
    """The same with a capital letter; the rest is left alone, abbreviations keep theirs."""
    return text[:1].upper() + text[1:]


def brief(said: Regimen) -> str:
    """ "hydroxocobalamin 1 mg IM three times a week for 2 weeks (6 doses), then every month"."""
    first = said.phases[0]
    return ", then ".join([phase(first), *(p.words for p in said.phases[1:])])


def order(said: Order, line: DoseLine | None = None) -> str:
    """What was ordered, as far as it says: "hydroxocobalamin 1 mg IM every 12 weeks"."""
    shown = line or said.line
    parts = [said.ingredient.value]
    if shown.dose_ug is not None:
        parts.append(dose(shown.dose_ug))
    if shown.route in ROUTE_WORDS:
        parts.append(ROUTE_WORDS[shown.route])
    if shown.schedule is not None:
        parts.append(schedule(shown.schedule))
    return " ".join(parts)
