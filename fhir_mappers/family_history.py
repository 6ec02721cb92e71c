"""Does Leber optic neuropathy run in the family?

A relative's disease is never the patient's: these findings are kept apart from the patient's.
"""

from __future__ import annotations

from collections.abc import Iterator

from fhir_mappers import elements as el
from fhir_mappers.conditions import meanings_of
from fhir_mappers.elements import Json
from regimen.facts import Activity, Concept, Finding, RecordRef

_LEBER = frozenset({Concept.LEBER, Concept.LEBER_POSSIBLE})


def read_family_history(resource: Json) -> tuple[Finding, ...]:
    if (el.text(resource.get("status")) or "").lower() == "entered-in-error":
        return ()
    on = el.date_of(resource.get("date"))
    reference = el.resource_ref(resource)
    return tuple(
        Finding(concept, RecordRef(reference, on, label), activity=Activity.NOT_STATED)
        for concept, label in _diseases(resource)
    )


def _diseases(resource: Json) -> Iterator[tuple[Concept, str]]:
    seen = set()
    for condition in el.dicts(resource.get("condition")):
        for meaning in meanings_of(condition.get("code")):
            if meaning.concept in _LEBER and meaning.concept not in seen:
                seen.add(meaning.concept)
                yield meaning.concept, meaning.label
