"""Which parts of the record does the service ask a client for?

One query for each resource type. Discovery publishes the templates, the fetcher fills them in,
and the prefetch reader knows by them what is missing. Only what every client understands:
one read or type-level search each, no modifiers, no chaining, no parameter twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from regimen.facts import Subject


class Need(StrEnum):
    """What the advice is worth when a query stays unanswered."""

    REQUIRED = "required"  # whether there is a deficiency at all
    DECIDES = "decides"  # its absence can change what is advised
    SUPPORTS = "supports"  # it rounds the picture off


@dataclass(frozen=True, slots=True)
class Query:
    """A prefetch key and its template, in the terms of CDS Hooks."""

    key: str
    template: str
    subject: Subject
    need: Need

    @property
    def resource_type(self) -> str:
        return self.subject.value


def _search(key: str, subject: Subject, need: Need, suffix: str = "") -> Query:
    template = f"{subject.value}?patient={{{{context.patientId}}}}{suffix}"
    return Query(key, template, subject, need)


QUERIES: tuple[Query, ...] = (
    Query("patient", "Patient/{{context.patientId}}", Subject.PATIENT, Need.DECIDES),
    _search("conditions", Subject.CONDITIONS, Need.REQUIRED),
    _search("observations", Subject.OBSERVATIONS, Need.REQUIRED, "&_sort=-date"),
    _search("procedures", Subject.PROCEDURES, Need.DECIDES),
    _search("medicationRequests", Subject.ORDERS, Need.DECIDES),
    _search("medicationAdministrations", Subject.ADMINISTRATIONS, Need.DECIDES),
    _search("allergies", Subject.ALLERGIES, Need.DECIDES),
    _search("medicationStatements", Subject.STATEMENTS, Need.SUPPORTS),
    _search("medicationDispenses", Subject.DISPENSES, Need.SUPPORTS),
    _search("familyHistory", Subject.FAMILY_HISTORY, Need.SUPPORTS),
    _search("serviceRequests", Subject.REQUESTS, Need.SUPPORTS),
)

BY_KEY: dict[str, Query] = {query.key: query for query in QUERIES}
BY_TYPE: dict[str, Query] = {query.resource_type: query for query in QUERIES}


def prefetch_templates() -> dict[str, str]:
    """Prefetch key → template, as discovery publishes them."""
    return {query.key: query.template for query in QUERIES}
