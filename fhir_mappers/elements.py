"""What does this piece of FHIR JSON say, if it says anything that can be read?

Real records are not valid FHIR. Every reader here takes what it can use and treats the rest as
absent: an element of the wrong type is not there, an object where an array belongs is an array
of one, nulls inside arrays are skipped. Nothing here raises on any JSON value.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from regimen.facts import Comparator

#: FHIR JSON. Numbers are int or Decimal, as they were written, and leave as they came.
Json = dict[str, Any]

MAX_ID = 256  # longest id that is echoed; FHIR allows 64, real systems send some 190
MAX_TEXT = 500  # longest text that is looked at
MAX_EXPONENT = 30  # numbers outside 1e-30..1e30 are not measurements


# --- shapes -----------------------------------------------------------------------------------


def as_list(value: object) -> list[Any]:
    """An array without its nulls; anything else that is there is an array of one."""
    if value is None:
        return []
    if isinstance(value, list):
        return [item for item in value if item is not None]
    return [value]


def as_dict(value: object) -> Json:
    """An object, or an empty one."""
    return value if isinstance(value, dict) else {}


def dicts(value: object) -> list[Json]:
    """The objects of an array (or of an object where an array belongs)."""
    if isinstance(value, list):
        return [item for item in value if isinstance(item, dict)]
    return [value] if isinstance(value, dict) else []


def text(value: object) -> str | None:
    """A text with something in it, trimmed."""
    if not isinstance(value, str):
        return None
    return value.strip() or None


def flag(value: object) -> bool | None:
    """A boolean; the text "true" is not one."""
    return value if isinstance(value, bool) else None


def decimal(value: object) -> Decimal | None:
    """A JSON number, exactly. A boolean, a text or an inexact float is not one."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    if isinstance(value, int):
        return Decimal(value) if value.bit_length() <= 100 else None
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):  # NaN, Infinity
        return None
    if abs(exponent) > MAX_EXPONENT or abs(value.adjusted()) > MAX_EXPONENT:
        return None
    return value


def whole(value: object) -> int | None:
    """A JSON number without a fraction: 6, 6.0."""
    number = decimal(value)
    if number is None or number != number.to_integral_value():
        return None
    return int(number)


# --- concepts ---------------------------------------------------------------------------------


class Coding(NamedTuple):
    system: str
    code: str
    display: str


def codings(concept: object) -> list[Coding]:
    """The codings of a CodeableConcept that have a code, in their order; absent parts are ""."""
    found = []
    for item in dicts(as_dict(concept).get("coding")):
        code = text(item.get("code"))
        if code is not None and len(code) <= MAX_TEXT:
            display = (text(item.get("display")) or "")[:MAX_TEXT]
            found.append(Coding(text(item.get("system")) or "", code, display))
    return found


def concept_text(concept: object) -> str:
    """Everything a CodeableConcept says in words: its text, then its displays; bounded."""
    concept = as_dict(concept)
    words = [text(concept.get("text"))]
    words += [text(item.get("display")) for item in dicts(concept.get("coding"))[:50]]
    return " | ".join(word[:MAX_TEXT] for word in words if word)[:MAX_TEXT]


# --- time -------------------------------------------------------------------------------------

_TIME = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,30}))?)?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?",
    re.ASCII,
)
_LONGEST_TIME = 64
_INSTANT = timedelta(microseconds=1)
_LAST_OF_SECOND = timedelta(seconds=1) - _INSTANT
_LAST_OF_MINUTE = timedelta(minutes=1) - _INSTANT


class Moment(NamedTuple):
    """A FHIR date, dateTime or instant, as the stretch of time it can mean.

    `earliest` and `latest` are in UTC, both included. `day` is the first day it can mean, as it
    is written (in its own time zone). A time without a zone is taken as UTC.
    """

    earliest: datetime
    latest: datetime
    day: date

    @property
    def key(self) -> str:
        """Sorts moments by their beginning."""
        return self.earliest.isoformat(timespec="microseconds")

    @property
    def last_day(self) -> date:
        """The last day it can mean: "2024-05" to 31 May."""
        return self.day if self.latest - self.earliest < timedelta(days=1) else self.latest.date()


def moment(value: object) -> Moment | None:
    """Reads "2024", "2024-05", "2024-05-01" and times of a day; seconds and zone are optional.

    None for what is no text, too long, or no time that exists (24:00, 30 February).
    """
    if not isinstance(value, str) or len(value) > _LONGEST_TIME:
        return None
    match = _TIME.fullmatch(value.strip())
    if match is None:
        return None
    try:
        return _time_of_day(match) if match[4] else _days(match)
    except (ValueError, OverflowError):  # no such day or hour; year 0 or 10000
        return None


def _days(match: re.Match[str]) -> Moment:
    year, month, day = int(match[1]), match[2], match[3]
    first = datetime(year, int(month or 1), int(day or 1), tzinfo=UTC)
    if day:
        latest = datetime(year, first.month, first.day, 23, 59, 59, 999999, tzinfo=UTC)
    elif month:
        last = (first + timedelta(days=31)).replace(day=1) if first.month < 12 else None
        end_of_year = datetime(year, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
        latest = end_of_year if last is None else last - _INSTANT
    else:
        latest = datetime(year, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    return Moment(first, latest, first.date())


def _time_of_day(match: re.Match[str]) -> Moment:
    words, second, zone = match[0], match[6], match[8]
    if second == "60":  # a leap second is the one before it
        words = words.replace(":60", ":59", 1)
    if zone and (int(zone[1:3] or 0) > 14 or int(zone[4:] or 0) > 59):
        raise ValueError("no such time zone")
    written = datetime.fromisoformat(words)
    first = written.astimezone(UTC) if zone else written.replace(tzinfo=UTC)
    if match[7]:
        return Moment(first, first, written.date())
    width = _LAST_OF_MINUTE if second is None else _LAST_OF_SECOND
    return Moment(first, first + width, written.date())


def date_of(value: object) -> date | None:
    """The first day a date or dateTime can mean: "2024-05" is 1 May 2024."""
    found = moment(value)
    return found.day if found else None


class Period(NamedTuple):
    start: Moment | None
    end: Moment | None


def period(value: object) -> Period:
    """A FHIR Period; a side that is absent or unreadable is None."""
    value = as_dict(value)
    return Period(moment(value.get("start")), moment(value.get("end")))


def moment_in(resource: Json, name: str) -> Moment | None:
    """The time in a choice element: `moment_in(r, "effective")` reads effectiveDateTime,
    effectiveInstant, effectiveDate or effectivePeriod. A period is the stretch it covers."""
    for kind in ("DateTime", "Instant", "Date"):
        found = moment(resource.get(name + kind))
        if found:
            return found
    start, end = period(resource.get(name + "Period"))
    if start and end and end.latest >= start.earliest:
        return Moment(start.earliest, end.latest, start.day)
    return start or end


# --- references -------------------------------------------------------------------------------

_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}", re.ASCII)


def reference_id(reference: object) -> tuple[str, str] | None:
    """("Patient", "1") of a relative or absolute reference, of any version.

    "urn:uuid:…" and "#contained" have no type: ("", "urn:uuid:…"), ("", "#contained").
    """
    words = text(reference)
    if words is None or len(words) > 2048:
        return None
    if words.startswith(("urn:uuid:", "urn:oid:")) or (words[0] == "#" and len(words) > 1):
        return ("", words)
    parts = words.split("/")
    if len(parts) >= 4 and parts[-2] == "_history":
        parts = parts[:-2]
    if len(parts) < 2 or not parts[-1] or len(parts[-1]) > MAX_ID:
        return None
    if not _TYPE.fullmatch(parts[-2]):
        return None
    return (parts[-2], parts[-1])


def resource_ref(resource: Json) -> str:
    """ "Condition/42"; the type alone where there is no id that can be echoed."""
    kind = text(resource.get("resourceType")) or "Resource"
    identifier = text(resource.get("id"))
    if identifier is None or len(identifier) > MAX_ID:
        return kind[:64]
    return f"{kind[:64]}/{identifier}"


def subject_is(resource: Json, patient_id: str) -> bool:
    """Is this resource about that patient, as far as it says?

    One that names no subject is taken as the patient's. One that names somebody else, or names
    somebody in a way that cannot be compared (an identifier, a contained person), is not.
    """
    if resource.get("resourceType") == "Patient":
        own = text(resource.get("id"))
        return own is None or own == patient_id
    subject, patient = resource.get("subject"), resource.get("patient")
    as_usual = f"Patient/{patient_id}"
    if patient is None and isinstance(subject, dict) and subject.get("reference") == as_usual:
        return True
    return all(_names(one, patient_id) for one in (*as_list(subject), *as_list(patient)))


def _names(subject: object, patient_id: str) -> bool:
    if isinstance(subject, str):
        found = reference_id(subject)
        return found is None or found == ("Patient", patient_id)
    if not isinstance(subject, dict) or not subject:
        return True  # of a type that says nothing: as absent
    reference = text(subject.get("reference"))
    if reference is not None:
        return reference_id(reference) == ("Patient", patient_id)
    says_who = ("identifier", "display", "type")
    return not any(subject.get(key) for key in says_who)


def contained(resource: Json, reference: str) -> Json | None:
    """The contained resource that "#id" names."""
    for item in dicts(resource.get("contained")):
        if item.get("id") in (reference[1:], reference):
            return item
    return None


# --- security labels --------------------------------------------------------------------------

# HL7 v3 Confidentiality: R restricted, V very restricted; break-glass as a label of its own.
_RESTRICTING = frozenset({"R", "V", "BTG"})
# HL7 v3 ActCode holds the kinds of sensitive matter (42CFRPart2, HIV, PSY) and how to guard it:
# whatever carries one of its labels is guarded.
_SENSITIVITY = frozenset(
    {
        "http://terminology.hl7.org/CodeSystem/v3-ActCode",
        "http://hl7.org/fhir/v3/ActCode",
        "urn:oid:2.16.840.1.113883.5.4",
    }
)


def is_restricted(resource: Json) -> bool:
    """Does `meta.security` say that what is in it may not be passed on freely?"""
    labels = dicts(as_dict(resource.get("meta")).get("security"))
    return bool(labels) and any(
        text(label.get("code")) in _RESTRICTING or text(label.get("system")) in _SENSITIVITY
        for label in labels
    )


# --- modifiers --------------------------------------------------------------------------------

_DEEPEST = 8


def may_be_modified(content: bytes) -> bool:
    """False: JSON in which `has_unknown_modifier` will find nothing, told without decoding it."""
    words = (b"modifierExtension", b"implicitRules", b"\\")  # a name can be written in escapes
    return any(word in content for word in words)


def has_unknown_modifier(resource: Json) -> bool:
    """Does it carry something that may change what it means?

    We know no modifier extension and no implicit rules, so any of them means: do not use it
    (FHIR: Extensibility). Extensions of a contained resource change only that resource.
    """
    return resource.get("implicitRules") is not None or _carries_modifier(resource, _DEEPEST)


def _carries_modifier(node: Json, levels: int) -> bool:
    """Does the element, or one in it? What is inside extensions or contained is left out."""
    if "modifierExtension" in node and as_list(node["modifierExtension"]):
        return True
    if levels == 1:
        return False
    for key, value in node.items():
        if isinstance(value, str) or key in ("contained", "extension"):
            continue  # most of a resource is text, and done with here
        if isinstance(value, dict):
            if _carries_modifier(value, levels - 1):
                return True
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict) and _carries_modifier(item, levels - 1):
                    return True
    return False


# --- quantities -------------------------------------------------------------------------------

UCUM = "http://unitsofmeasure.org"
_UCUM_SYSTEMS = frozenset(
    {UCUM, UCUM + "/", "https://unitsofmeasure.org", "urn:oid:2.16.840.1.113883.6.8"}
)
_LONGEST_UNIT = 60

# One table for the parts of a unit, on either side of the slash; keys without case and spaces.
_PARTS = {
    spelling: part
    for part, spellings in {
        "pg": "pg picogram picograms",
        "ng": "ng nanogram nanograms",
        "ug": "ug mcg mcgs microgram micrograms microg µg mikrogramm",
        "mg": "mg mgs milligram milligrams milligramm",
        "g": "g gm gms gram grams gramm",
        "pmol": "pmol pmols picomol picomole picomoles",
        "nmol": "nmol nmols nanomol nanomole nanomoles",
        "umol": "umol umols mcmol mcmols micromol micromole micromoles",
        "mmol": "mmol mmols millimol millimole millimoles",
        "meq": "meq meqs milliequivalent milliequivalents",
        "mL": "ml mls cc milliliter milliliters millilitre millilitres",
        "dL": "dl dls 100ml deciliter deciliters decilitre decilitres",
        "L": "l ltr liter liters litre litres 1000ml",
        "fL": "fl fls femtoliter femtoliters femtolitre femtolitres",
        "[iU]": "[iu] iu ius i.u. {iu} internationalunit internationalunits",
        "cm": "cm cms centimeter centimeters centimetre centimetres",
        "mm": "mm mms millimeter millimeters millimetre millimetres",
        "m": "meter meters metre metres",
        "[in_i]": "[in_i] [in_us] in in. inch inches",
    }.items()
    for spelling in spellings.split()
}

_WHOLE = {
    spelling: unit
    for unit, spellings in {
        "10*9/L": "10*9/l 10^9/l 10e9/l 10e+9/l x10*9/l x10^9/l x10e9/l 109/l x109/l "
        "10*3/ul 10^3/ul 10e3/ul x10*3/ul x10^3/ul x10e3/ul 103/ul x103/ul "
        "10*3/mm3 10^3/mm3 x10^3/mm3 k/ul k/mm3 k/cumm thou/ul thousand/ul 1000/ul",
    }.items()
    for spelling in spellings.split()
}

# Units of which both sides are known but only these pairs mean something to the protocol.
_KNOWN = frozenset(
    {
        *("pg/mL", "ng/L", "pmol/L", "nmol/L", "umol/L", "mmol/L", "meq/L", "ug/L", "ng/mL"),
        *("ng/dL", "ug/dL", "mg/dL", "mg/L", "g/L", "g/dL", "mg/mL", "ug/mL", "ug/dL"),
        *("pg", "ng", "ug", "mg", "g", "mL", "L", "dL", "fL", "[iU]", "cm", "mm", "m", "[in_i]"),
    }
)

# Case decides where the table without case would mistake one unit for another.
_BY_CASE: dict[str, str | None] = {
    "m": "m",
    "M": None,  # molar, mega, metre?
    "Mg": None,  # megagram, or a careless milligram?
    "Ml": None,
    "Mm": None,
    "Pg": None,
    "Mmol/L": None,
}

_SAME = (
    frozenset({"pg/mL", "ng/L"}),
    frozenset({"ug/L", "ng/mL"}),
    frozenset({"meq/L", "mmol/L"}),
)

_EGFR = re.compile(r"ml/min(?:ute)?/1[.,]73(?:m2|sqm|m\*2|squarem|m\*\*2)?(?:bsa)?")


class Quantity(NamedTuple):
    value: Decimal
    comparator: Comparator
    unit: str | None


def quantity(value: object) -> Quantity | None:
    """A Quantity with its unit in canonical UCUM; unit None: not given, or not known.

    None without a number, or with a comparator that we do not know.
    """
    value = as_dict(value)
    number = decimal(value.get("value"))
    if number is None:
        return None
    sign = value.get("comparator")
    try:
        comparator = Comparator.EQUAL if sign is None else Comparator(sign)
    except ValueError:
        return None
    return Quantity(number, comparator, canonical_unit(value))


def canonical_unit(value: object) -> str | None:
    """The UCUM unit of a Quantity, by its code, else by its text; never guessed.

    A code and a text that are both known and mean different units contradict each other: None.
    """
    value = as_dict(value)
    if value.get("code") == value.get("unit"):  # as most are written
        return unit_named(value.get("unit"))
    system = text(value.get("system"))
    coded = None
    if system is None or system in _UCUM_SYSTEMS:
        coded = unit_named(value.get("code"))
    written = unit_named(value.get("unit"))
    if coded is None or written is None or coded == written:
        return coded or written
    return coded if frozenset({coded, written}) in _SAME else None


def unit_named(words: object) -> str | None:
    """The canonical UCUM unit for one spelling: "mcg" is ug, "pg / ml" is pg/mL."""
    words = text(words)
    if words is None or len(words) > _LONGEST_UNIT:
        return None
    return _unit_spelled(words)


@lru_cache(maxsize=1024)  # a chart says the same few units thousands of times
def _unit_spelled(words: str) -> str | None:
    if words in _BY_CASE:
        return _BY_CASE[words]
    key = _squeezed(words)
    if key in _WHOLE:
        return _WHOLE[key]
    if key.startswith("ml/min"):
        bare = key.translate(_BRACKETS)
        return "mL/min/{1.73_m2}" if _EGFR.fullmatch(bare) else None
    unit = "/".join(_PARTS.get(part, "?") for part in key.split("/"))
    return unit if unit in _KNOWN else None


_BRACKETS = str.maketrans("", "", "{}[]_^()")
_LOOKALIKES = str.maketrans({"µ": "u", "μ": "u", "²": "2", "³": "3", "⁹": "9", "×": "x", "∕": "/"})


def _squeezed(words: str) -> str:
    """Without case, spaces and letters that only look different."""
    spaced = " ".join(words.translate(_LOOKALIKES).casefold().split())
    return spaced.replace(" per ", "/").replace(" ", "").removesuffix("^")
