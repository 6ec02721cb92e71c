"""Which few of the many resources of a record can matter to the protocol?

A record holds thousands of entries and a handful that count. Of each, only what tells it
apart is decoded (type and codings); those whose codes are in a value set are then decoded in
full. An entry of odd shape is decoded in full too: the mappers read leniently, this does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import NamedTuple

import msgspec

from fhir_mappers import elements as el
from fhir_mappers import words
from fhir_mappers.elements import Json
from fhir_mappers.observations import is_used
from fhir_mappers.terminology import value_sets
from regimen.facts import Subject

# Only the elements that tell a resource apart; the decoder skips all others. What it makes has no
# cycles, so the garbage collector need not look at it.


class _Coding(msgspec.Struct, gc=False):
    system: str | None = None
    code: str | None = None
    display: str | None = None


class _Concept(msgspec.Struct, gc=False):
    coding: list[_Coding | None] | None = None
    text: str | None = None


class _Reference(msgspec.Struct, gc=False):
    reference: str | None = None


class _CodeableReference(msgspec.Struct, gc=False):
    concept: _Concept | None = None
    reference: _Reference | None = None


class _Part(msgspec.Struct, rename="camel", gc=False):
    """A component, an ingredient, a condition of a relative: what of them carries a code."""

    code: _Concept | None = None
    value_codeable_concept: _Concept | None = None
    item_codeable_concept: _Concept | None = None


class Entry(msgspec.Struct, rename="camel", gc=False):
    """A resource as far as it takes to tell whether it can matter: see `relevance`."""

    resource_type: str | None = None
    status: str | None = None
    code: _Concept | None = None
    value_codeable_concept: _Concept | None = None
    medication_codeable_concept: _Concept | None = None
    medication_reference: _Reference | None = None
    medication: _CodeableReference | None = None  # R5
    component: list[_Part | None] | None = None
    ingredient: list[_Part | None] | None = None
    condition: list[_Part | None] | None = None
    has_member: list[_Reference | None] | None = None
    contained: list[Entry | None] | None = None


_SCAN = msgspec.json.Decoder(Entry)


def _exact(number: str) -> Decimal | str:
    """A decimal as it is written. One that no decimal can hold stays a text: it is no number."""
    try:
        return Decimal(number)
    except InvalidOperation:
        return number


_FULL = msgspec.json.Decoder(float_hook=_exact)


class Unreadable(Exception):
    """This entry is not a resource, or no JSON that can be decoded. Says nothing of its content."""


class Relevance(Enum):
    """Can a resource matter to the protocol, and by what?

    `read`: it can, so it has to be read in full. `recognised`: does a value set have a code of
    it? None: if so, then one of its medicine, which is elsewhere.
    """

    NONE = False, False
    UNUSED = False, True  # such as a haematocrit: we know the code, and no rule asks for it
    BY_CODE = True, True
    REFERS = True, None  # only to its medicine
    OTHERWISE = True, False  # for its words, its members, or the kind of resource it is

    def __init__(self, read: bool, recognised: bool | None) -> None:
        self.read = read
        self.recognised = recognised


class Scanned(NamedTuple):
    """The type of a resource, and all of it if it can matter."""

    kind: str
    relevance: Relevance
    resource: Json | None


def scan(raw: bytes | msgspec.Raw) -> Scanned:
    """Looks at one resource as it was sent. Raises Unreadable."""
    try:
        entry = _SCAN.decode(raw)
    except msgspec.ValidationError:
        return _of_odd_shape(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise Unreadable from None
    if not entry.resource_type:
        raise Unreadable
    found = relevance(entry)
    return Scanned(entry.resource_type, found, decode(raw) if found.read else None)


def decode(raw: bytes | msgspec.Raw) -> Json:
    """The JSON object in full, its decimals exact. Raises Unreadable."""
    try:
        resource = _FULL.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise Unreadable from None
    if not isinstance(resource, dict):
        raise Unreadable
    return resource


def _of_odd_shape(raw: bytes | msgspec.Raw) -> Scanned:
    resource = decode(raw)
    kind = resource.get("resourceType")
    if not isinstance(kind, str) or not kind:
        raise Unreadable
    if kind not in _RELEVANCE:
        return Scanned(kind, Relevance.NONE, None)
    return Scanned(kind, _odd_relevance(resource), resource)


def _odd_relevance(resource: Json) -> Relevance:
    """Of a resource that is read whatever it says: its main codes, as leniently as mappers read."""
    concepts = map(resource.get, ("code", "medicationCodeableConcept", "valueCodeableConcept"))
    codes = (coding for concept in concepts for coding in el.codings(concept))
    if any(value_sets().matches(coding.system, coding.code) for coding in codes):
        return Relevance.BY_CODE
    return Relevance.REFERS if "medicationReference" in resource else Relevance.OTHERWISE


# --- what can matter --------------------------------------------------------------------------


def _coded(concept: _Concept | None) -> bool:
    """Has one of its codings a meaning of its own?"""
    # Asked of every resource of a record, so in a plain loop: it costs half of what `any` does.
    if concept is None or not concept.coding:
        return False
    tells = value_sets().tells
    for coding in concept.coding:
        if coding is not None and coding.code and tells(coding.system or "", coding.code):
            return True
    return False


def _any_coded(concepts: Iterable[_Concept | None]) -> bool:
    return any(map(_coded, concepts))


def _texts(concept: _Concept | None) -> list[str]:
    if concept is None:
        return []
    texts = [coding.display for coding in concept.coding or () if coding is not None]
    return [text for text in (concept.text, *texts) if text]


def _parts(parts: list[_Part | None] | None) -> Iterator[_Concept | None]:
    for part in parts or ():
        if part is not None:
            yield part.code
            yield part.value_codeable_concept
            yield part.item_codeable_concept


def _parts_of(contained: Iterable[Entry | None]) -> Iterator[_Concept | None]:
    for resource in contained:
        if resource is not None:
            yield resource.code
            yield from _parts(resource.ingredient)


def _always(_: Entry) -> Relevance:
    return Relevance.OTHERWISE


def _by_code(entry: Entry) -> Relevance:
    return Relevance.BY_CODE if _coded(entry.code) else Relevance.NONE


def _allergy(entry: Entry) -> Relevance:
    # Read in words too, and each may be a danger.
    return Relevance.BY_CODE if _coded(entry.code) else Relevance.OTHERWISE


def _condition(entry: Entry) -> Relevance:
    if _coded(entry.code):
        return Relevance.BY_CODE
    texts = _texts(entry.code)
    if not words.may_say(words.CAUTION_STEMS, texts):
        return Relevance.NONE
    said = any(words.said(phrase, texts) for phrase in words.CAUTIONS)
    return Relevance.OTHERWISE if said else Relevance.NONE


def _observation(entry: Entry) -> Relevance:
    known = _coded(entry.code)
    if known and (entry.contained or _is_used(entry.code)):
        return Relevance.BY_CODE
    if entry.value_codeable_concept is not None and _coded(entry.value_codeable_concept):
        return Relevance.BY_CODE
    if entry.component and _any_coded(_parts(entry.component)):
        return Relevance.BY_CODE
    if entry.has_member:
        return Relevance.OTHERWISE
    return Relevance.UNUSED if known else Relevance.NONE


def _is_used(concept: _Concept | None) -> bool:
    codings = concept.coding or () if concept is not None else ()
    return any(
        is_used(code)
        for coding in codings
        if coding is not None
        for code in value_sets().matches(coding.system, coding.code)
    )


_NOTHING = _CodeableReference()


def _medication(entry: Entry) -> Relevance:
    both = entry.medication or _NOTHING
    concepts = [entry.medication_codeable_concept, both.concept, entry.code]
    if entry.ingredient:
        concepts += _parts(entry.ingredient)
    if _any_coded(concepts) or (entry.contained and _any_coded(_parts_of(entry.contained))):
        return Relevance.BY_CODE
    if entry.medication_reference is not None or both.reference is not None:
        return Relevance.OTHERWISE if entry.contained else Relevance.REFERS
    texts = [text for concept in concepts if concept is not None for text in _texts(concept)]
    named = words.may_say(words.DRUG_STEMS, texts) and words.named(words.DRUGS, texts)
    return Relevance.OTHERWISE if named else Relevance.NONE


def _family(entry: Entry) -> Relevance:
    return Relevance.BY_CODE if _any_coded(_parts(entry.condition)) else Relevance.NONE


def _procedure(entry: Entry) -> Relevance:
    if _coded(entry.code):
        return Relevance.BY_CODE
    # A measured length may belong to an operation whose code we do not know. If that was not
    # done, or was elsewhere in the bowel, the length must not count: so these are read too.
    if entry.status != "completed":
        return Relevance.OTHERWISE
    texts = _texts(entry.code)
    named = words.may_say(words.BOWEL_STEMS, texts) and words.named(words.BOWEL, texts)
    return Relevance.OTHERWISE if named else Relevance.NONE


_RELEVANCE: dict[str, Callable[[Entry], Relevance]] = {
    Subject.PATIENT.value: _always,
    Subject.CONDITIONS.value: _condition,
    Subject.OBSERVATIONS.value: _observation,
    Subject.PROCEDURES.value: _procedure,
    Subject.ORDERS.value: _medication,
    Subject.STATEMENTS.value: _medication,
    Subject.ADMINISTRATIONS.value: _medication,
    Subject.DISPENSES.value: _medication,
    "Medication": _medication,  # what a medication_reference of the same answer names
    Subject.ALLERGIES.value: _allergy,
    Subject.FAMILY_HISTORY.value: _family,
    Subject.REQUESTS.value: _by_code,
    "OperationOutcome": _always,  # says what is missing from an answer
}

#: The resources that a record speaks in codes by.
CODED = frozenset(kind for kind, decides in _RELEVANCE.items() if decides is not _always)


def relevance(entry: Entry) -> Relevance:
    """Can this resource matter to the protocol? If so it has to be read in full."""
    decides = _RELEVANCE.get(entry.resource_type or "")
    return decides(entry) if decides is not None else Relevance.NONE
