"""Which few of the many resources of a record can matter to the protocol?

A record holds thousands of entries and a handful that count. Of each, only what tells it
apart is decoded (type and codings); those whose codes are in a value set are then decoded in
full. An entry of odd shape is decoded in full too: the mappers read leniently, this does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec

from fhir_mappers import words
from fhir_mappers.terminology import value_sets
from regimen.facts import Subject

Json = dict[str, Any]

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
    """A resource as far as it takes to tell whether it can matter: see `is_relevant`."""

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


class Scanned(NamedTuple):
    """The type of a resource, and all of it if it can matter."""

    kind: str
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
    return Scanned(entry.resource_type, decode(raw) if is_relevant(entry) else None)


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
    return Scanned(kind, resource if kind in _RELEVANCE else None)


# --- what can matter --------------------------------------------------------------------------


def _matches(concepts: Iterable[_Concept | None]) -> bool:
    # Asked of every resource of a record, so in plain loops: they cost half of what `any` does.
    matches = value_sets().matches
    for concept in concepts:
        if concept is None or not concept.coding:
            continue
        for coding in concept.coding:
            if coding is not None and coding.code and matches(coding.system or "", coding.code):
                return True
    return False


def _texts(concept: _Concept | None) -> Iterator[str]:
    if concept is None:
        return
    if concept.text:
        yield concept.text
    for coding in concept.coding or ():
        if coding is not None and coding.display:
            yield coding.display


def _parts(parts: list[_Part | None] | None) -> Iterator[_Concept | None]:
    for part in parts or ():
        if part is not None:
            yield part.code
            yield part.value_codeable_concept
            yield part.item_codeable_concept


def _always(_: Entry) -> bool:
    return True


def _by_code(entry: Entry) -> bool:
    return _matches([entry.code])


def _condition(entry: Entry) -> bool:
    texts = list(_texts(entry.code))
    return _by_code(entry) or any(words.said(phrase, texts) for phrase in words.CAUTIONS)


def _observation(entry: Entry) -> bool:
    if entry.has_member or _matches((entry.code, entry.value_codeable_concept)):
        return True
    return bool(entry.component) and _matches(_parts(entry.component))


_NOTHING = _CodeableReference()


def _medication(entry: Entry) -> bool:
    both = entry.medication or _NOTHING
    if entry.medication_reference is not None or both.reference is not None:
        return True
    concepts = [entry.medication_codeable_concept, both.concept, entry.code]
    concepts += _parts(entry.ingredient)
    if _matches(concepts):
        return True
    return any(words.said(words.DRUGS, _texts(concept), unless=None) for concept in concepts)


def _family(entry: Entry) -> bool:
    return _matches(_parts(entry.condition))


def _procedure(entry: Entry) -> bool:
    # A measured length may belong to an operation whose code we do not know. If that was not
    # done, or was elsewhere in the bowel, the length must not count: so these are read too.
    if _by_code(entry) or entry.status != "completed":
        return True
    return words.said(words.BOWEL, _texts(entry.code), unless=None)


_RELEVANCE: dict[str, Callable[[Entry], bool]] = {
    Subject.PATIENT.value: _always,
    Subject.CONDITIONS.value: _condition,
    Subject.OBSERVATIONS.value: _observation,
    Subject.PROCEDURES.value: _procedure,
    Subject.ORDERS.value: _medication,
    Subject.STATEMENTS.value: _medication,
    Subject.ADMINISTRATIONS.value: _medication,
    Subject.DISPENSES.value: _medication,
    "Medication": _medication,  # what a medication_reference of the same answer names
    Subject.ALLERGIES.value: _always,
    Subject.FAMILY_HISTORY.value: _family,
    Subject.REQUESTS.value: _by_code,
    "OperationOutcome": _always,  # says what is missing from an answer
}


def is_relevant(entry: Entry) -> bool:
    """Can this resource matter to the protocol? If so it has to be read in full."""
    decides = _RELEVANCE.get(entry.resource_type or "")
    return decides is not None and decides(entry)
