"""Does every query keep to what all clients understand (CDS Hooks prefetch)?"""

from __future__ import annotations

import re

import pytest

from fhir_mappers.queries import BY_KEY, BY_TYPE, QUERIES, Need, Query, prefetch_templates
from regimen.facts import Subject

READ_OR_SEARCH = re.compile(
    r"Patient/\{\{context\.patientId\}\}"
    r"|[A-Z][A-Za-z]+\?patient=\{\{context\.patientId\}\}(?:&_sort=-date)?"
)
NOT_UNDERSTOOD = ("_include", "_revinclude", "_has", "_count", "_maxresults", ":", ",", "sort:")


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.key)
def test_a_query_is_one_read_or_one_type_level_search(query: Query) -> None:
    assert READ_OR_SEARCH.fullmatch(query.template)
    assert query.template.startswith(query.resource_type)
    assert not any(form in query.template for form in NOT_UNDERSTOOD)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.key)
def test_no_parameter_occurs_twice(query: Query) -> None:
    _, _, parameters = query.template.partition("?")
    names = [parameter.partition("=")[0] for parameter in parameters.split("&")]
    assert len(names) == len(set(names))


def test_only_a_token_that_every_request_has() -> None:
    tokens = {token for q in QUERIES for token in re.findall(r"\{\{(.*?)\}\}", q.template)}
    assert tokens == {"context.patientId"}


def test_each_part_of_the_record_is_asked_for_once() -> None:
    assert sorted(q.subject.value for q in QUERIES) == sorted(s.value for s in Subject)
    assert len(BY_KEY) == len(BY_TYPE) == len(QUERIES)


def test_without_conditions_and_observations_there_is_no_safe_advice() -> None:
    required = {q.resource_type for q in QUERIES if q.need is Need.REQUIRED}
    assert required == {"Condition", "Observation"}


def test_discovery_publishes_the_templates() -> None:
    templates = prefetch_templates()
    assert templates["patient"] == "Patient/{{context.patientId}}"
    assert templates["observations"] == "Observation?patient={{context.patientId}}&_sort=-date"
    assert len(templates) == len(QUERIES)
