"""Which results, neurological findings and lengths of bowel do the Observations report?

A number counts only with a unit that is known; a text counts only where it can be read in one
way. What was reported and cannot be used stays visible as an unreadable result: it is neither
low nor normal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from fhir_mappers import elements as el
from fhir_mappers import words
from fhir_mappers.conditions import Meaning, meanings_of
from fhir_mappers.elements import Json
from fhir_mappers.terminology import Code, settle, value_sets
from regimen import labs
from regimen.facts import (
    Activity,
    Analyte,
    Certainty,
    Comparator,
    Concept,
    DiseaseExtent,
    Finding,
    Flag,
    LabResult,
    Length,
    RecordRef,
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A length of resected ileum; `length` None: recorded in a way that gives no length."""

    record: RecordRef
    length: Length | None
    as_reported: str
    part_of: tuple[str, ...]  # "Procedure/7"
    elsewhere: bool  # measured on another part of the bowel
    moment: str


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything the Observations of a record say."""

    labs: tuple[LabResult, ...]
    findings: tuple[Finding, ...]
    lengths: tuple[Measurement, ...]
    extents: tuple[DiseaseExtent, ...]


def read_observations(resources: Sequence[Json], as_of: date) -> Observed:
    readings = [r for r in _readings(resources) if r.counts(as_of)]
    lengths = [(r, of) for r in readings if (of := r.length_of)]
    return Observed(
        labs=tuple(lab for r in readings if (lab := _lab(r))),
        findings=tuple(_findings(readings)),
        lengths=tuple(_measurement(r) for r, of in lengths if "ileum-resected-length" in of),
        extents=tuple(_extents(r for r, of in lengths if "ileum-disease-extent" in of)),
    )


# --- what is read: an observation, a component, a member ----------------------------------------

# A result that does not say its status is taken as not yet final: it counts, and settles nothing.
_PRELIMINARY = frozenset({"preliminary", ""})
_ACCEPTED = frozenset({"final", "amended", "corrected"}) | _PRELIMINARY


@dataclass(frozen=True, slots=True)
class _Reading:
    """One value and the codes that say what it is. `source` is the resource it is cited as."""

    element: Json
    source: Json
    status: str
    on: date | None
    moment: str  # sorts by effective time, then by issue; what has no time comes first
    codes: tuple[Code, ...]

    def counts(self, as_of: date) -> bool:
        """Accepted by its status, and not from the future (a day of grace for time zones)."""
        in_time = self.on is None or self.on <= as_of + timedelta(days=1)
        return self.status in _ACCEPTED and in_time

    @property
    def length_of(self) -> list[str]:
        """By our own codes: the ileum that was resected, that is diseased. Mostly neither."""
        return [code.code for code in self.codes if code.fact == "ileum-length"]

    @property
    def preliminary(self) -> bool:
        return self.status in _PRELIMINARY

    def ref(self, label: str) -> RecordRef:
        return RecordRef(el.resource_ref(self.source), self.on, label)


def _readings(resources: Sequence[Json]) -> Iterator[_Reading]:
    panels = _panels(resources)
    for resource in resources:
        panel = panels.get(el.resource_ref(resource), {}) if panels else {}
        yield from _of_resource(resource, resource, panel)
        if "contained" in resource and _status(resource) in _ACCEPTED:
            for member in _contained_members(resource):
                yield from _of_resource(member, resource, resource)


def _contained_members(resource: Json) -> Iterator[Json]:
    for member in el.dicts(resource.get("contained")):
        if member.get("resourceType") == "Observation" and not el.has_unknown_modifier(member):
            yield member


def _status(resource: Json) -> str:
    return (el.text(resource.get("status")) or "").lower()


def _panels(resources: Sequence[Json]) -> dict[str, Json]:
    """Member reference → the panel that names it; of several the first in a fixed order."""
    found: dict[str, Json] = {}
    for panel in sorted((r for r in resources if r.get("hasMember")), key=el.resource_ref):
        for member in el.dicts(panel.get("hasMember")):
            named = el.reference_id(member.get("reference"))
            if named is not None and named[0]:
                found.setdefault("/".join(named), panel)
    return found


def _of_resource(resource: Json, source: Json, panel: Json) -> Iterator[_Reading]:
    """The observation itself and its components. A member without a time has its panel's."""
    effective, issued = _times(resource)
    if effective is None and issued is None:
        effective, issued = _times(panel)
    when = effective or issued
    on = when.day if when else None
    moment = " ".join(time.key if time else "" for time in (when, issued))
    status = _status(resource) or _status(panel)
    for element in (resource, *el.dicts(resource.get("component"))):
        codes = settle(value_sets().matches_concept(el.as_dict(element.get("code"))))
        yield _Reading(element, source, status, on, moment, codes)


def _times(resource: Json) -> tuple[el.Moment | None, el.Moment | None]:
    return _effective(resource), el.moment(resource.get("issued"))


def _effective(resource: Json) -> el.Moment | None:
    for name in ("effectiveDateTime", "effectiveInstant"):
        found = el.moment(resource.get(name))
        if found:
            return found
    start, end = el.period(resource.get("effectivePeriod"))
    if end or start:
        return end or start
    timing = el.as_dict(resource.get("effectiveTiming"))
    events = [moment for event in el.as_list(timing.get("event")) if (moment := el.moment(event))]
    return max(events, key=lambda moment: moment.key, default=None)


# --- laboratory results -------------------------------------------------------------------------


class _Test(NamedTuple):
    analyte: Analyte
    units: frozenset[str]


def _test(analyte: Analyte, *units: str) -> _Test:
    return _Test(analyte, frozenset(units))


_BY_SET: dict[str, _Test] = {
    "lab-b12-total": _test(
        Analyte.B12_TOTAL, "pg/mL", "ng/L", "pmol/L", "ug/L", "ng/mL", "ng/dL", "nmol/L"
    ),
    "lab-holotranscobalamin": _test(Analyte.B12_ACTIVE, "pmol/L", "nmol/L"),
    "lab-mma": _test(Analyte.MMA, "umol/L", "nmol/L"),
    "lab-homocysteine": _test(Analyte.HOMOCYSTEINE, "umol/L", "nmol/L"),
    "lab-intrinsic-factor-ab": _test(Analyte.IF_ANTIBODY),
    "lab-haemoglobin": _test(Analyte.HAEMOGLOBIN, "g/dL", "g/L", "mmol/L"),
    "lab-mcv": _test(Analyte.MCV, "fL"),
    "lab-potassium": _test(Analyte.POTASSIUM, "mmol/L", "meq/L"),
}
# Sets that hold several tests; the code says which.
_BY_ATTRIBUTE: dict[str, _Test] = {
    "egfr": _test(Analyte.EGFR, "mL/min/{1.73_m2}"),
    "platelets": _test(Analyte.PLATELETS, "10*9/L"),
}

# What no patient has: a slip of units, or of the decimal point. From the first number to below the
# second, in the unit the cut-offs are in; wide enough for any disease and for B12 on injections.
_Range = tuple[Decimal, Decimal]


def _from(low: str, high: str) -> _Range:
    return Decimal(low), Decimal(high)


_PLAUSIBLE: dict[tuple[Analyte, str], _Range] = {
    (Analyte.B12_TOTAL, "ng/L"): _from("10", "100000"),
    (Analyte.B12_TOTAL, "pmol/L"): _from("7", "73800"),
    (Analyte.B12_ACTIVE, "pmol/L"): _from("1", "10000"),
    (Analyte.MMA, "umol/L"): _from("0.01", "100"),
    (Analyte.HOMOCYSTEINE, "umol/L"): _from("1", "1000"),
    (Analyte.HAEMOGLOBIN, "g/L"): _from("20", "300"),
    (Analyte.MCV, "fL"): _from("40", "200"),
    (Analyte.POTASSIUM, "mmol/L"): _from("1", "15"),
    (Analyte.EGFR, "mL/min"): _from("1", "300"),
    (Analyte.PLATELETS, "10*9/L"): _from("1", "5000"),
}
_ANY_NUMBER = _from("1e-6", "1e6")


def _lab(reading: _Reading) -> LabResult | None:
    found = _which_test(reading.codes)
    if found is None or reading.element.get("dataAbsentReason") is not None:
        return None
    test, code = found
    flag = _flag(reading.element)
    if test.analyte is Analyte.IF_ANTIBODY:
        flag = flag or _ordinal(reading.element)
        number = _antibody_number(reading.element)
    else:
        number = _number(reading.element, test)
    if number is None and flag is None:
        return None
    if number is _IMPLAUSIBLE:
        flag = None  # it was given for that number
    number = number or _Number()
    return LabResult(
        analyte=test.analyte,
        record=reading.ref(code.label),
        on=reading.on,
        value=number.value,
        unit=number.unit,
        comparator=number.comparator,
        flag=flag,
        low=number.low,
        high=number.high,
        preliminary=reading.preliminary,
        unreadable=number.unreadable,
        moment=reading.moment,
    )


# The sets of tests, as results and as requests: some codes are both.
_RESULTS = ("lab-", "sr-")


def is_used(code: Code) -> bool:
    """Can an Observation with this code become a fact? A haematocrit, or a creatinine, is none."""
    return _which_test([code]) is not None or not code.value_set.startswith(_RESULTS)


def _which_test(codes: Iterable[Code]) -> tuple[_Test, Code] | None:
    for code in codes:
        test = _BY_SET.get(code.value_set)
        if test is None and code.value_set.startswith("lab-"):
            test = _BY_ATTRIBUTE.get(str(code.attributes.get("analyte", "")))
        if test is not None:
            return test, code
    return None


@dataclass(frozen=True, slots=True)
class _Number:
    """A value as it was reported, or why it cannot be used."""

    value: Decimal | None = None
    unit: str | None = None
    comparator: Comparator = Comparator.EQUAL
    low: Decimal | None = None
    high: Decimal | None = None
    unreadable: str = ""


_UNREADABLE_VALUE = _Number(unreadable="value")
_AMBIGUOUS = _Number(unreadable="ambiguous")
_IMPLAUSIBLE = _Number(unreadable="implausible")
# Bounded at every step: no text takes longer than its length.
_WRITTEN = re.compile(
    r"([<>]=?)?[ ]{0,5}([0-9]{1,15}(?:\.[0-9]{1,15})?)[ ]{0,5}([A-Za-zµμ\[{%].{0,50})?", re.ASCII
)
_LONGEST_WRITTEN = 80
# "1.200" is a thousand and two hundred in half of Europe; nothing groups digits after a zero.
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}\.[0-9]{3}", re.ASCII)


def _number(element: Json, test: _Test) -> _Number | None:
    """The value of a quantitative test. None: there is none, which is not zero."""
    if "valueQuantity" in element:
        return _of_quantity(element, test)
    written = _written(element)
    if written is not None:
        return _of_text(written, test)
    if el.decimal(element.get("valueInteger")) is not None:
        return _Number(el.decimal(element.get("valueInteger")), unreadable="unit")
    others = ("valueRange", "valueRatio", "valueSampledData", "valueInteger", "valueBoolean")
    return _UNREADABLE_VALUE if any(element.get(key) is not None for key in others) else None


def _of_quantity(element: Json, test: _Test) -> _Number | None:
    given = element.get("valueQuantity")
    if not isinstance(given, dict):
        return None if given is None else _UNREADABLE_VALUE
    if given.get("value") is None:
        return None  # only a unit, or only an extension
    read = el.quantity(given)
    if read is None:
        return _UNREADABLE_VALUE
    low, high = _range(element, given)
    unit = _one_spelling(read.unit if read.unit in test.units else None)
    if not _plausible(read.value, unit, test.analyte):
        return _IMPLAUSIBLE
    return _Number(
        read.value,
        unit,
        read.comparator,
        low,
        high,
        unreadable="" if unit else "unit",
    )


def _one_spelling(unit: str | None) -> str | None:
    return "mmol/L" if unit == "meq/L" else unit  # of potassium they are the same


def _plausible(value: Decimal, unit: str | None, analyte: Analyte) -> bool:
    known = labs.UNITS.get(analyte, {}).get(unit or "")
    if known is None:
        low, high = _ANY_NUMBER
        return low <= value < high
    canonical, factor = known
    low, high = _PLAUSIBLE[analyte, canonical]
    return low <= value * factor < high


def _written(element: Json) -> str | None:
    """A value in words: a string, or the text of a concept."""
    plain = el.text(element.get("valueString"))
    if plain is not None:
        return plain
    concept = el.as_dict(element.get("valueCodeableConcept"))
    return el.text(concept.get("text")) or next(iter(words.texts_of(concept)), None)


def _of_text(written: str, test: _Test) -> _Number:
    """ "<150 pg/mL" in exactly that form; a decimal comma, a range, a sentence are not read."""
    match = _WRITTEN.fullmatch(written) if len(written) <= _LONGEST_WRITTEN else None
    if match is None:
        return _UNREADABLE_VALUE
    if _THOUSANDS.fullmatch(match[2]):
        return _AMBIGUOUS
    value, unit = Decimal(match[2]), el.unit_named(match[3])
    unit = _one_spelling(unit if unit in test.units else None)
    if not _plausible(value, unit, test.analyte):
        return _IMPLAUSIBLE
    comparator = Comparator(match[1]) if match[1] else Comparator.EQUAL
    return _Number(value, unit, comparator, unreadable="" if unit else "unit")


def _antibody_number(element: Json) -> _Number | None:
    """Every laboratory has its own units here: the number is kept only beside its own limits."""
    given = el.as_dict(element.get("valueQuantity"))
    read = el.quantity(given)
    if read is None:
        return None
    low, high = _range(element, given)
    return _Number(read.value, read.unit, read.comparator, low, high)


def _range(element: Json, given: Json) -> tuple[Decimal | None, Decimal | None]:
    """The laboratory's limits, where they are one pair and in the unit of the value."""
    ranges = [r for r in el.dicts(element.get("referenceRange")) if r.get("low") or r.get("high")]
    if len(ranges) != 1:
        return None, None
    low, high = (el.as_dict(ranges[0].get(side)) for side in ("low", "high"))
    return _limit(low, given), _limit(high, given)


def _limit(limit: Json, given: Json) -> Decimal | None:
    return el.decimal(limit.get("value")) if limit and _same_unit(limit, given) else None


def _same_unit(limit: Json, given: Json) -> bool:
    alike = limit.get("unit") == given.get("unit") and limit.get("code") == given.get("code")
    if alike and limit.get("system") == given.get("system"):  # as nearly all are written
        return _written_unit(limit) is not None
    unit = _unit_key(limit)
    return unit is not None and unit == _unit_key(given)


def _unit_key(quantity: Json) -> str | None:
    written = _written_unit(quantity)
    return el.canonical_unit(quantity) or (written.casefold() if written else None)


def _written_unit(quantity: Json) -> str | None:
    return el.text(quantity.get("unit")) or el.text(quantity.get("code"))


_FLAGS = {
    "LL": Flag.CRITICALLY_LOW,
    "L": Flag.LOW,
    "N": Flag.NORMAL,
    "H": Flag.HIGH,
    "HH": Flag.HIGH,
    "POS": Flag.POSITIVE,
    "NEG": Flag.NEGATIVE,
}
_FLAG_WORDS = {
    "low": Flag.LOW,
    "normal": Flag.NORMAL,
    "high": Flag.HIGH,
    "positive": Flag.POSITIVE,
    "negative": Flag.NEGATIVE,
}


# Older records leave the system out. A laboratory's own "N" may mean anything, "not done" included.
_FLAG_SYSTEMS = frozenset(
    {
        "",
        "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation",
        "http://hl7.org/fhir/v3/ObservationInterpretation",
        "urn:oid:2.16.840.1.113883.5.83",
        "http://terminology.hl7.org/CodeSystem/v2-0078",
        "http://hl7.org/fhir/v2/0078",
        "urn:oid:2.16.840.1.113883.12.78",
    }
)


def _is_flag(coding: el.Coding) -> bool:
    return coding.code in _FLAGS and (coding.system or "").rstrip("/") in _FLAG_SYSTEMS


def _flag(element: Json) -> Flag | None:
    """The laboratory's interpretation; two that contradict each other are none."""
    found: set[Flag] = set()
    for concept in el.dicts(element.get("interpretation")):
        coded = {_FLAGS[c.code] for c in el.codings(concept) if _is_flag(c)}
        if not coded:
            texts = (text.lower() for text in words.texts_of(concept))
            coded = {_FLAG_WORDS[text] for text in texts if text in _FLAG_WORDS}
        found |= coded
    return found.pop() if len(found) == 1 else None


_ORDINALS = {"answer-yes": Flag.POSITIVE, "answer-no": Flag.NEGATIVE}


def _ordinal(element: Json) -> Flag | None:
    """A value that is "positive" or "negative" and nothing more, by its code or its words."""
    concept = element.get("valueCodeableConcept")
    coded = {_ORDINALS[name] for name in value_sets().sets_of(concept) & _ORDINALS.keys()}
    plain = el.text(element.get("valueString"))
    found = coded | {
        _FLAG_WORDS[text.lower()]
        for text in (*words.texts_of(concept), plain or "")
        if text.lower() in ("positive", "negative")
    }
    return found.pop() if len(found) == 1 else None


# --- findings -----------------------------------------------------------------------------------

_AS_OBSERVATION = frozenset(
    {
        Concept.NEURO_SPECIFIC,
        Concept.NEURO_FINDING,
        Concept.NEURO_OTHER_CAUSE,
        Concept.NITROUS_OXIDE_MISUSE,
        Concept.SYMPTOM,
        Concept.PREGNANCY,
    }
)
_YES = frozenset({"yes", "present", "positive", "true", "y", "observed"})
_NO = frozenset({"no", "absent", "negative", "none", "false", "n", "not present", "not observed"})


def _findings(readings: Iterable[_Reading]) -> Iterator[Finding]:
    """Of every question the newest answer counts: a sign that has gone is no sign."""
    newest: dict[tuple[str, ...], tuple[str, list[Finding]]] = {}
    for reading in readings:
        answer = _answer(reading)
        if answer is None:
            continue
        question = tuple(sorted({f"{code.value_set}|{code.code}" for code in reading.codes}))
        question = question or (f"{el.resource_ref(reading.source)}",)
        before, kept = newest.get(question, ("", []))
        if reading.moment > before:
            newest[question] = (reading.moment, answer)
        elif reading.moment == before:
            newest[question] = (before, [*kept, *answer])
    for _, found in newest.values():
        yield from found


def _answer(reading: _Reading) -> list[Finding] | None:
    """What one observation answers: findings, none (it was looked for), or None: no question."""
    element = reading.element
    if "valueCodeableConcept" not in element and _only_a_result(reading.codes):
        return None
    if any(code.value_set == "pregnancy-status-observation" for code in reading.codes):
        return _pregnancy(reading)
    asked = _observable(element.get("code"))
    valued = _observable(element.get("valueCodeableConcept"))
    about_somebody_else = words.named(words.DOUBTED, words.texts_of(element.get("code")))
    if valued and about_somebody_else:
        return None  # a relative's, or what was screened for
    if valued:
        return [_finding(reading, meaning, Certainty.CONFIRMED) for meaning in valued]
    if not asked:
        return None
    certainty = _asserted(element)
    return [_finding(reading, m, certainty) for m in asked] if certainty else []


def _only_a_result(codes: Iterable[Code]) -> bool:
    """Does the code ask for a laboratory value, or for nothing we know? Most observations do."""
    return all(code.value_set.startswith(_RESULTS) for code in codes)


def _observable(concept: object) -> list[Meaning]:
    return [m for m in meanings_of(concept) if m.concept in _AS_OBSERVATION]


def _asserted(element: Json) -> Certainty | None:
    """Is the thing that was looked for there? None: no, or it could not be told."""
    if element.get("dataAbsentReason") is not None:
        return None
    boolean = el.flag(element.get("valueBoolean"))
    if boolean is not None:
        return Certainty.CONFIRMED if boolean else None
    said = _yes_or_no(element)
    if said is not None:
        return Certainty.CONFIRMED if said else None
    numeric = any(key in element for key in ("valueQuantity", "valueInteger", "valueRange"))
    return None if numeric else Certainty.UNCONFIRMED


def _yes_or_no(element: Json) -> bool | None:
    concept = element.get("valueCodeableConcept")
    texts = {text.lower() for text in words.texts_of(concept)}
    plain = el.text(element.get("valueString"))
    texts |= {plain.lower()} if plain else set()
    coded = value_sets().sets_of(concept)
    no = bool(texts & _NO) or "answer-no" in coded or any(words.DENIED.search(t) for t in texts)
    yes = bool(texts & _YES) or "answer-yes" in coded
    return None if yes == no else yes


_PREGNANT = frozenset({"answer-pregnant", "answer-yes"})
_NOT_PREGNANT = frozenset({"answer-not-pregnant", "answer-no"})


def _pregnancy(reading: _Reading) -> list[Finding] | None:
    """Pregnant, not pregnant (no finding), or None: not told."""
    value = reading.element.get("valueCodeableConcept")
    boolean = el.flag(reading.element.get("valueBoolean"))
    texts = {text.lower() for text in words.texts_of(value)}
    texts |= {(el.text(reading.element.get("valueString")) or "").lower()}
    coded = value_sets().sets_of(value)
    if boolean is False or texts & {"not pregnant", "no"} or coded & _NOT_PREGNANT:
        return []
    meant = any(m.concept is Concept.PREGNANCY for m in meanings_of(value))
    if meant or boolean or texts & {"pregnant", "yes"} or coded & _PREGNANT:
        meaning = Meaning(Concept.PREGNANCY, "Pregnancy status")
        return [_finding(reading, meaning, Certainty.CONFIRMED)]
    return None


def _finding(reading: _Reading, meaning: Meaning, certainty: Certainty) -> Finding:
    """An observation says what was so on its day, not whether it still is."""
    if reading.preliminary:
        certainty = Certainty.UNCONFIRMED
    return Finding(
        concept=meaning.concept,
        record=reading.ref(meaning.label),
        onset=None,
        recorded=reading.on,
        certainty=certainty,
        activity=Activity.NOT_STATED,
        domains=meaning.domains,
        stands_alone=meaning.stands_alone,
        needs_cause=meaning.needs_cause,
    )


# --- lengths of bowel ---------------------------------------------------------------------------

_IN_CM = {
    "cm": Decimal(1),
    "mm": Decimal("0.1"),
    "m": Decimal(100),
    "[in_i]": Decimal("2.54"),
}
_UNIT_WORDS = {"[in_i]": "in"}
_LONGEST_BOWEL = Decimal(1000)

_BOUNDS: dict[Comparator, tuple[str, Callable[[Decimal], Length]]] = {
    Comparator.EQUAL: ("", lambda v: Length(v, v)),
    Comparator.GREATER: ("more than ", lambda v: Length(v, None, low_open=True)),
    Comparator.GREATER_OR_EQUAL: ("at least ", Length),
    Comparator.LESS: ("less than ", lambda v: Length(Decimal(0), v, high_open=True)),
    Comparator.LESS_OR_EQUAL: ("at most ", lambda v: Length(Decimal(0), v)),
}


def _length(element: Json) -> tuple[Length | None, str]:
    """A length in cm and the words of the record for it; no unit, no length."""
    read = el.quantity(element.get("valueQuantity"))
    if read is None or read.unit not in _IN_CM or element.get("dataAbsentReason") is not None:
        return None, ""
    in_cm = read.value * _IN_CM[read.unit]
    if not 0 < in_cm <= _LONGEST_BOWEL:
        return None, ""
    bound, interval = _BOUNDS[read.comparator]
    unit = _UNIT_WORDS.get(read.unit, read.unit)
    return interval(in_cm), f"{bound}{plain_number(read.value)} {unit}"


def plain_number(value: Decimal) -> str:
    """25, not 25.0 or 2.5E+1."""
    written = f"{value:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def _measurement(reading: _Reading) -> Measurement:
    length, as_reported = _length(reading.element)
    sites = sites_of(reading.source)
    if reading.preliminary or sites.unspecific:
        length, as_reported = None, ""  # not final, or perhaps not ileum: not a length yet
    return Measurement(
        record=reading.ref("Length of ileum resected"),
        length=length,
        as_reported=as_reported,
        part_of=tuple(sorted(set(_part_of(reading.source)))),
        elsewhere=sites.elsewhere,
        moment=reading.moment,
    )


def _part_of(resource: Json) -> Iterator[str]:
    for reference in el.dicts(resource.get("partOf")):
        named = el.reference_id(reference.get("reference"))
        if named is not None:
            yield "/".join(part for part in named if part)


class Sites(NamedTuple):
    """Where in the bowel: certainly not the ileum, or a small bowel that may be."""

    elsewhere: bool
    unspecific: bool


def sites_of(resource: Json) -> Sites:
    """The body site of a procedure or an observation. None said: neither."""
    concepts = el.dicts(resource.get("bodySite"))
    texts = [text for concept in concepts for text in words.texts_of(concept)]
    coded = {name for concept in concepts for name in value_sets().sets_of(concept)}
    if "site-ileum" in coded or words.named(words.ILEUM, texts):
        return Sites(elsewhere=False, unspecific=False)
    elsewhere = "site-bowel-not-ileum" in coded
    elsewhere = elsewhere or words.named(words.ELSEWHERE_IN_BOWEL, texts)
    small = "site-small-bowel" in coded or words.named(words.SMALL_BOWEL, texts)
    return Sites(elsewhere=elsewhere, unspecific=small and not elsewhere)


def _extents(readings: Iterable[_Reading]) -> Iterator[DiseaseExtent]:
    """The newest extent: disease spreads and recedes."""
    newest, kept = "", list[DiseaseExtent]()
    for reading in readings:
        length, as_reported = _length(reading.element)
        sites = sites_of(reading.source)
        if length is None or reading.preliminary or sites.elsewhere or sites.unspecific:
            continue
        extent = DiseaseExtent(reading.ref("Ileum affected by disease"), length, as_reported)
        if reading.moment > newest:
            newest, kept = reading.moment, [extent]
        elif reading.moment == newest:
            kept.append(extent)
    yield from kept
