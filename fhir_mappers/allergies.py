"""Is the patient allergic to a cobalamin, to cobalt, or to what preserves an injection?

Here a text counts as much as a code: a missed allergy is worse than one too many. An allergy
that was refuted or has resolved is none; one of unknown status is one.
"""

from __future__ import annotations

from collections.abc import Iterator

from fhir_mappers import elements as el
from fhir_mappers import words
from fhir_mappers.conditions import status_words
from fhir_mappers.elements import Json
from fhir_mappers.terminology import settle, value_sets
from regimen.facts import Allergen, Allergy, RecordRef

_NOT_ONE = frozenset({"refuted", "entered-in-error", "inactive", "resolved"})

_PHRASES = (
    (Allergen.COBALAMIN, words.COBALAMIN),
    (Allergen.COBALT, words.COBALT),
    (Allergen.PRESERVATIVE, words.PRESERVATIVE),
)
_LABELS = {
    Allergen.COBALAMIN: "Allergy to vitamin B12",
    Allergen.COBALT: "Allergy to cobalt",
    Allergen.PRESERVATIVE: "Allergy to an injection preservative",
}


def read_allergy(resource: Json) -> tuple[Allergy, ...]:
    statuses = ("verificationStatus", "clinicalStatus", "status")  # the last: before R4
    said = {word for name in statuses for word in status_words(resource.get(name))}
    if said & _NOT_ONE:
        return ()
    named = {*_by_code(resource), *_by_text(resource)}
    severe = _severe(resource)
    return tuple(
        Allergy(allergen, _record(resource, allergen), severe)
        for allergen in Allergen
        if allergen in named
    )


def _record(resource: Json, allergen: Allergen) -> RecordRef:
    onset = el.date_of(resource.get("onsetDateTime"))
    on = onset or el.date_of(resource.get("recordedDate"))
    return RecordRef(el.resource_ref(resource), on, _LABELS[allergen])


def _concepts(resource: Json) -> Iterator[object]:
    yield resource.get("code")
    yield resource.get("substance")  # DSTU2
    for reaction in el.dicts(resource.get("reaction")):
        yield reaction.get("substance")


def _by_code(resource: Json) -> Iterator[Allergen]:
    """Codes of the substance. "Any drug" or "metals" count only with a text that names it."""
    for concept in _concepts(resource):
        for code in settle(value_sets().matches_concept(el.as_dict(concept))):
            if code.value_set == "cobalamin-allergy" or code.fact == "cobalamin":
                yield Allergen.COBALAMIN
            elif code.attributes.get("allergen") == "cobalt":
                yield Allergen.COBALT


def _by_text(resource: Json) -> set[Allergen]:
    texts = [text for concept in _concepts(resource) for text in words.texts_of(concept)]
    texts = [text for text in texts if not words.NO_KNOWN.search(text)]
    return {allergen for allergen, phrase in _PHRASES if words.named(phrase, texts)}


def _severe(resource: Json) -> bool:
    if (el.text(resource.get("criticality")) or "").lower() in ("high", "crith"):
        return True
    for reaction in el.dicts(resource.get("reaction")):
        if (el.text(reaction.get("severity")) or "").lower() == "severe":
            return True
        manifestations = el.dicts(reaction.get("manifestation"))
        texts = [text for m in manifestations for text in words.texts_of(m)]
        if words.said(words.ANAPHYLAXIS, texts):
            return True
    return False
