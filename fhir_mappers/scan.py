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

# Only the elements that tell a resource apart; the decoder skips all others.


class _Coding(msgspec.Struct):
    system: str | None = None
    code: str | None = None
    display: str | None = None


class _Concept(msgspec.Struct):
    coding: list[_Coding | None] | None = None
    text: str | None = None


class _Reference(msgspec.Struct):
    reference: str | None = None


class _CodeableReference(msgspec.Struct):
    concept: _Concept | None = None
    reference: _Reference | None = None


class _Part(msgspec.Struct, rename="camel"):
    """A component, an ingredient, a condition of a relative: what of them carries a code."""

    code: _Concept | None = None
    value_codeable_concept: _Concept | None = None
    item_codeable_concept: _Concept | None = None


class _Entry(msgspec.Struct, rename="camel"):
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
    contained: list[_Entry | None] | None = None


_SCAN = msgspec.json.Decoder(_Entry)


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
    return Scanned(entry.resource_type, decode(raw) if _relevant(entry) else None)


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
    sets = value_sets()
    return any(
        sets.matches(coding.system or "", coding.code)
        for concept in concepts
        if concept is not None
        for coding in concept.coding or ()
        if coding is not None and coding.code
    )


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


def _always(_: _Entry) -> bool:
    return True


def _by_code(entry: _Entry) -> bool:
    return _matches([entry.code])


def _condition(entry: _Entry) -> bool:
    texts = list(_texts(entry.code))
    return _by_code(entry) or any(words.said(phrase, texts) for phrase in words.CAUTIONS)


def _observation(entry: _Entry) -> bool:
    if entry.has_member or _matches([entry.code, entry.value_codeable_concept]):
        return True
    return _matches(_parts(entry.component))


def _medication(entry: _Entry) -> bool:
    both = entry.medication or _CodeableReference()
    if entry.medication_reference is not None or both.reference is not None:
        return True
    concepts = [entry.medication_codeable_concept, both.concept, entry.code]
    concepts += _parts(entry.ingredient)
    if _matches(concepts):
        return True
    return any(words.said(words.DRUGS, _texts(concept), unless=None) for concept in concepts)


def _family(entry: _Entry) -> bool:
    return _matches(_parts(entry.condition))


def _procedure(entry: _Entry) -> bool:
    # A measured length may belong to an operation whose code we do not know. If that was not
    # done, or was elsewhere in the bowel, the length must not count: so these are read too.
    if _by_code(entry) or entry.status != "completed":
        return True
    return words.said(words.BOWEL, _texts(entry.code), unless=None)


_RELEVANCE: dict[str, Callable[[_Entry], bool]] = {
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


def _relevant(entry: _Entry) -> bool:
    decides = _RELEVANCE.get(entry.resource_type or "")
    return decides is not None and decides(entry)
