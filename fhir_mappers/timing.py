"""How often, and for how long, does a FHIR Timing say that a dose is given?

The same schedule is said in many ways: by frequency and period, by days of the week, by a code,
by a list of times. All of them become one `Schedule`. What is said in free text only, or cannot
be so (a period of 0), is unknown: None, never a guess.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from fhir_mappers.elements import (
    Json,
    as_dict,
    as_list,
    codings,
    decimal,
    dicts,
    moment,
    period,
    text,
    whole,
)
from regimen.schedule import DAYS, Duration, Schedule, Unit

_LONGEST_INTERVAL_DAYS = 3660
_MOST_PER_PERIOD = 1000
_MOST_DOSES = 100_000
_MOST_EVENTS = 1000
_MOST_CODINGS = 20
_LONGEST_PHRASE = 60

_UNITS = {
    spelling: unit
    for unit, spellings in {
        Unit.SECOND: "s sec secs second seconds",
        Unit.MINUTE: "min mins minute minutes",
        Unit.HOUR: "h hr hrs hour hours",
        Unit.DAY: "d day days",
        Unit.WEEK: "wk wks week weeks",
        Unit.MONTH: "mo month months",
        Unit.YEAR: "a yr yrs year years",
    }.items()
    for spelling in spellings.split()
}

_WEEKDAYS = frozenset(("mon", "tue", "wed", "thu", "fri", "sat", "sun"))

# Events of the day that come once; "with meals" and the like do not say how many times.
_ONCE_A_DAY = frozenset(
    (
        *("MORN", "MORN.early", "MORN.late", "NOON", "AFT", "AFT.early", "AFT.late", "EVE"),
        *("EVE.early", "EVE.late", "NIGHT", "PHS", "HS", "WAKE", "CM", "CD", "CV"),
        *("ACM", "ACD", "ACV", "PCM", "PCD", "PCV"),
    )
)


def read_schedule(timing: object, since: date | None = None) -> Schedule | None:
    """The schedule of a FHIR `Timing`; None when it says none that can be read.

    `since`: from when an end without a beginning is measured: the day the order was written.

    `repeat` wins over `code`; where only the code says how often, the count and the bounds of
    `repeat` still hold. `event` is looked at last.
    """
    timing = as_dict(timing)
    repeat = as_dict(timing.get("repeat"))
    limits = _limits(repeat, since)
    if limits is None:
        return None
    how_often = _by_repeat(repeat) or _by_code(timing.get("code"))
    if how_often is None and limits.doses != 1:
        return _by_events(timing.get("event"))
    return limits.applied_to(how_often or Schedule(once=True))


# --- how long ---------------------------------------------------------------------------------


class _Limits(NamedTuple):
    """The number of doses and the length of time of `Timing.repeat`."""

    doses: int | None
    bounds: Duration | None

    def applied_to(self, schedule: Schedule) -> Schedule:
        if self.doses == 1 or schedule.once:
            return Schedule(count=1, once=True)
        return replace(schedule, count=self.doses, bounds=self.bounds)


def _limits(repeat: Json, since: date | None) -> _Limits | None:
    """None: there is a limit, but which cannot be read; "no end" would be wrong."""
    count = whole(repeat.get("countMax")) or whole(repeat.get("count"))
    if count is not None and not 0 < count <= _MOST_DOSES:
        return None
    bounds = _bounds(repeat, since)
    if bounds is None and _bounded(repeat, since):
        return None
    return _Limits(count, bounds)


def _bounds(repeat: Json, since: date | None) -> Duration | None:
    """How long the course lasts; the longer end of a range, both days of a period included, which
    is measured from its own start if it has one."""
    longest = _duration(repeat.get("boundsDuration"))
    longest = longest or _duration(as_dict(repeat.get("boundsRange")).get("high"))
    if longest is not None:
        return longest
    start, end = period(repeat.get("boundsPeriod"))
    first = start.day if start else since
    return days_through(first, end.last_day) if first and end else None


def days_through(first: date, last: date) -> Duration | None:
    """From one day through another; None where the last is before the first."""
    days = (last - first).days + 1
    return Duration(Decimal(days), Unit.DAY) if days > 0 else None


def _bounded(repeat: Json, since: date | None) -> bool:
    """Does it name an end that cannot be read? A period or range may have one side only."""
    end = as_dict(repeat.get("boundsPeriod")).get("end")
    start = as_dict(repeat.get("boundsPeriod")).get("start")
    if end is not None and (start is not None or since is not None):
        return True
    high = as_dict(repeat.get("boundsRange")).get("high")
    return bool(as_dict(repeat.get("boundsDuration"))) or high is not None


def _duration(value: object) -> Duration | None:
    value = as_dict(value)
    number = decimal(value.get("value"))
    unit = _unit(value.get("code")) or _unit(value.get("unit"))
    if number is None or unit is None or number <= 0:
        return None
    length = Duration(number, unit)
    return length if length.days <= 100 * _LONGEST_INTERVAL_DAYS else None


def _unit(words: object) -> Unit | None:
    words = text(words)
    return _UNITS.get(words.casefold()) if words else None


# --- how often: repeat ------------------------------------------------------------------------


def _by_repeat(repeat: Json) -> Schedule | None:
    named = {
        day.casefold() for day in as_list(repeat.get("dayOfWeek"))[:50] if isinstance(day, str)
    }
    weekdays = len(named & _WEEKDAYS)
    given = _given(repeat)
    if weekdays == 0:
        return given
    return _on_weekdays(repeat, given, weekdays)


def _given(repeat: Json) -> Schedule | None:
    """Frequency per period, with the ends of their ranges."""
    unit = _unit(repeat.get("periodUnit"))
    every = decimal(repeat.get("period"))
    if every is None and "period" not in repeat and unit is not None and _says_how_many(repeat):
        every = Decimal(1)  # "3 per week" without the 1
    if every is None and unit is None and not _says_frequency(repeat):
        times = _times_a_day(repeat)
        return _checked(times, Decimal(1), Unit.DAY) if times else None
    if every is None or unit is None:
        return None
    fewest, most = _frequencies(repeat, unit)
    if fewest is None or most is None:
        return None
    return _ranged(fewest, most, every, _period_max(repeat, every), unit)


def _says_frequency(repeat: Json) -> bool:
    return repeat.get("frequency") is not None or repeat.get("frequencyMax") is not None


def _says_how_many(repeat: Json) -> bool:
    return _says_frequency(repeat) or _times_a_day(repeat) is not None


def _frequencies(repeat: Json, unit: Unit) -> tuple[Decimal | None, Decimal | None]:
    """Fewest and most doses in a period; one where nothing is said."""
    if not _says_frequency(repeat):
        default = (_times_a_day(repeat) if unit is Unit.DAY else None) or Decimal(1)
        return default, default
    low, high = decimal(repeat.get("frequency")), decimal(repeat.get("frequencyMax"))
    fewest = low if low is not None else high
    most = high if high is not None else low
    if fewest is None or most is None or not 0 < fewest <= most:
        return None, None
    return fewest, most


def _period_max(repeat: Json, every: Decimal) -> Decimal:
    """The longer end of the period; the period itself where there is no range."""
    longest = decimal(repeat.get("periodMax"))
    return every if longest is None else longest


def _ranged(
    fewest: Decimal, most: Decimal, every: Decimal, longest: Decimal, unit: Unit
) -> Schedule | None:
    """Shortest interval first: most doses in the shorter period; then the longest interval."""
    if longest < every:
        return None
    schedule = _checked(most, every, unit)
    if schedule is None:
        return None
    stretched = longest * most / fewest
    return schedule if stretched == every else replace(schedule, period_max=stretched)


def _checked(frequency: Decimal, every: Decimal, unit: Unit) -> Schedule | None:
    """A schedule that can exist: no period of 0, no ten years between doses."""
    if not (0 < frequency <= _MOST_PER_PERIOD and every > 0):
        return None
    if every * DAYS[unit] > _LONGEST_INTERVAL_DAYS:
        return None
    return Schedule(frequency=frequency, period=every, unit=unit)


def _times_a_day(repeat: Json) -> Decimal | None:
    """How many times of the day are named."""
    times = {time for time in as_list(repeat.get("timeOfDay"))[:100] if text(time)}
    if times:
        return Decimal(len(times))
    moments = {when for when in as_list(repeat.get("when"))[:100] if text(when)}
    if moments and moments <= _ONCE_A_DAY:
        return Decimal(len(moments))
    return None


def _on_weekdays(repeat: Json, given: Schedule | None, weekdays: int) -> Schedule | None:
    """Days of the week: that many a week, whether the period says day, week or nothing."""
    if given is None:
        if repeat.get("period") is not None or repeat.get("periodUnit") is not None:
            return None
        if _says_frequency(repeat):
            fewest, most = _frequencies(repeat, Unit.DAY)
            agrees = fewest == most and most in (1, weekdays)
            return _checked(Decimal(weekdays), Decimal(1), Unit.WEEK) if agrees else None
        return _checked(Decimal(weekdays), Decimal(1), Unit.WEEK)
    if given.period_max is not None:
        return given
    return _weekly(given, weekdays)


def _weekly(given: Schedule, weekdays: int) -> Schedule | None:
    every_days = given.period * DAYS[given.unit]
    if every_days == 1:  # each of those days, `frequency` times
        return _checked(given.frequency * weekdays, Decimal(1), Unit.WEEK)
    if every_days % 7 == 0:
        if given.frequency not in (1, weekdays):
            return None  # two numbers that do not agree
        return _checked(Decimal(weekdays), every_days / 7, Unit.WEEK)
    if given.unit in (Unit.MONTH, Unit.YEAR):
        return given  # monthly, on a Monday
    return None


# --- how often: code --------------------------------------------------------------------------


def _every(frequency: int, every: int, unit: Unit) -> Schedule:
    return Schedule(frequency=Decimal(frequency), period=Decimal(every), unit=unit)


# HL7 v3 GTSAbbreviation, and the words people put into a coded timing. Words with two meanings
# (biweekly, bimonthly, q1m) are left out.
_PHRASES = {
    phrase: _every(frequency, every, Unit(unit))
    for phrases, frequency, every, unit in (
        ("qd|qday|od|daily|once daily|once a day|once per day|every day|each day", 1, 1, "d"),
        ("am|pm|qam|qpm|hs|qhs|bed|nightly|every morning|every evening|at bedtime", 1, 1, "d"),
        ("bid|bd|twice daily|twice a day|two times a day|two times daily", 2, 1, "d"),
        ("tid|tds|three times daily|three times a day", 3, 1, "d"),
        ("qid|qds|four times daily|four times a day", 4, 1, "d"),
        ("qod|every other day|alternate days|on alternate days|every second day", 1, 2, "d"),
        ("wk|qwk|qw|weekly|once weekly|once a week|once per week|every week", 1, 1, "wk"),
        ("biw|twice weekly|twice a week|two times a week|two times weekly", 2, 1, "wk"),
        ("tiw|three times weekly|three times a week|three times per week", 3, 1, "wk"),
        ("every other week|fortnightly|every fortnight|every second week|qow", 1, 2, "wk"),
        ("mo|qmo|monthly|once monthly|once a month|once per month|every month", 1, 1, "mo"),
        ("every other month|every second month", 1, 2, "mo"),
        ("quarterly|three monthly|3 monthly", 1, 3, "mo"),
        ("yearly|annually|once a year|every year", 1, 1, "a"),
    )
    for phrase in phrases.split("|")
}
_SINGLE = frozenset(("once", "stat", "one time", "single dose", "x1", "once only"))
_NUMBERS = {
    word: number
    for number, word in enumerate(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
        start=1,
    )
}

_Q_CODE = re.compile(r"q ?([0-9]{1,3}) ?(h|hr|hrs|d|day|days|w|wk|wks|week|weeks|mo|month|months)")
_EVERY = re.compile(r"every ([0-9]{1,3}|[a-z]{3,6})[ -](hour|day|week|month|year)s?")
_TIMES = re.compile(r"([0-9]{1,2}|[a-z]{3,6}) times (?:a |per |each |every )?(day|week|month|year)")


def _by_code(concept: object) -> Schedule | None:
    """What the codings and the text of `Timing.code` say, if they agree."""
    concept = as_dict(concept)
    phrases: list[str | None] = [text(concept.get("text"))]
    phrases += [coding.code for coding in codings(concept)[:_MOST_CODINGS]]
    phrases += [text(item.get("display")) for item in dicts(concept.get("coding"))[:_MOST_CODINGS]]
    said = {schedule for phrase in phrases if phrase and (schedule := _by_phrase(phrase))}
    return said.pop() if len(said) == 1 else None


def _by_phrase(phrase: str) -> Schedule | None:
    if len(phrase) > _LONGEST_PHRASE:
        return None
    words = " ".join(phrase.casefold().replace(".", "").replace("_", " ").split())
    if words in _SINGLE:
        return Schedule(once=True)
    return _PHRASES.get(words) or _by_pattern(words)


def _by_pattern(words: str) -> Schedule | None:
    match = _Q_CODE.fullmatch(words)
    if match:
        unit = Unit.WEEK if match[2] == "w" else _UNITS[match[2]]
        return _checked(Decimal(1), Decimal(match[1]), unit)
    match = _EVERY.fullmatch(words)
    if match:
        number = _number(match[1])
        return _checked(Decimal(1), Decimal(number), _UNITS[match[2]]) if number else None
    match = _TIMES.fullmatch(words)
    if match:
        number = _number(match[1])
        return _checked(Decimal(number), Decimal(1), _UNITS[match[2]]) if number else None
    return None


def _number(word: str) -> int | None:
    return int(word) if word.isdecimal() else _NUMBERS.get(word)


# --- how often: events ------------------------------------------------------------------------


def _by_events(events: object) -> Schedule | None:
    """A list of times: one is a single dose, several are a course."""
    times = {when for event in as_list(events)[:_MOST_EVENTS] if (when := moment(event))}
    if not times:
        return None
    moments = sorted({when.earliest for when in times})
    if len(moments) == 1:
        return Schedule(count=1, once=True)
    weekly = _weekly_pattern([when.day for when in sorted(times)])
    if weekly is not None:
        return replace(_every(weekly, 1, Unit.WEEK), count=len(moments))
    span = moments[-1] - moments[0]
    every = Decimal(span // timedelta(seconds=1)) / 86400 / (len(moments) - 1)
    schedule = _checked(Decimal(1), every, Unit.DAY)
    return None if schedule is None else replace(schedule, count=len(moments))


def _weekly_pattern(days: list[date]) -> int | None:
    """Monday, Wednesday, Friday, and again: 3. None for days that do not repeat by the week."""
    for size in range(2, 7):
        pairs = list(zip(days, days[size:], strict=False))
        if pairs and all((later - earlier).days == 7 for earlier, later in pairs):
            return size
    return None
