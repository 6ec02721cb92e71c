"""Is what a client delivered, and what it did not, understood for what it is?"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from cds_service.prefetch import FAILED, Prefetched, State, WrongPatient, read_prefetch
from fhir_mappers.queries import QUERIES
from regimen.facts import Gap, GapKind, Subject

PATIENT = {"resourceType": "Patient", "id": "p"}
NOTHING = {"resourceType": "Bundle", "type": "searchset", "total": 0}
OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "fatal"}]}


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(value if isinstance(value, bytes) else json.dumps(value).encode())


def read(prefetch: dict[str, Any] | None) -> Prefetched:
    values = None if prefetch is None else {key: raw(value) for key, value in prefetch.items()}
    return read_prefetch(values, "p")


def result(number: int = 1, code: str = "2132-9", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "subject": {"reference": "Patient/p"},
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        **more,
    }


def condition() -> dict[str, Any]:
    coding = {"system": "http://snomed.info/sct", "code": "190634004"}
    return {"resourceType": "Condition", "id": "c", "code": {"coding": [coding]}}


def bundle(*resources: Any, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "entry": [{"resource": r} for r in resources], **more}


def outcome(severity: str) -> dict[str, Any]:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": severity}]}


def gap_kinds(found: Prefetched, subject: Subject = Subject.OBSERVATIONS) -> set[GapKind]:
    return {gap.kind for gap in found.gaps if gap.subject is subject}


STATES = {
    "D01 absent": ({}, State.ABSENT, {GapKind.NOT_SUPPLIED}),
    "D02 null": ({"observations": None}, State.EMPTY, set()),
    "D02 empty Bundle": ({"observations": NOTHING}, State.EMPTY, set()),
    "D02 null entry": ({"observations": {**NOTHING, "entry": None}}, State.EMPTY, set()),
    "D02 {}": ({"observations": {}}, State.ABSENT, {GapKind.NOT_SUPPLIED}),
    "D02 []": ({"observations": []}, State.ABSENT, {GapKind.NOT_SUPPLIED}),
    "D02 empty text": ({"observations": ""}, State.ABSENT, {GapKind.NOT_SUPPLIED}),
    "D02 html": ({"observations": "<html>"}, State.ABSENT, {GapKind.NOT_SUPPLIED}),
    "D02 number": ({"observations": 5}, State.ABSENT, {GapKind.NOT_SUPPLIED}),
    "D02 entry is a text": (
        {"observations": {**NOTHING, "entry": "x"}},
        State.ABSENT,
        {GapKind.NOT_SUPPLIED},
    ),
    "given": ({"observations": bundle(result())}, State.GIVEN, set()),
    "J13 entry is an object": (
        {"observations": {"resourceType": "Bundle", "entry": {"resource": result()}}},
        State.GIVEN,
        set(),
    ),
    "D03 OperationOutcome": ({"observations": OUTCOME}, State.FAILED, {GapKind.SERVER_ERROR}),
    "D04 information": (
        {"observations": bundle(outcome("information"))},
        State.EMPTY,
        set(),
    ),
    "D04 error alone": (
        {"observations": bundle(outcome("error"))},
        State.FAILED,
        {GapKind.SERVER_ERROR},
    ),
    "D04 warning and data": (
        {"observations": bundle(result(), outcome("warning"))},
        State.GIVEN,
        set(),
    ),
    "D04 error and data": (
        {"observations": bundle(result(), outcome("error"))},
        State.PARTIAL,
        {GapKind.SERVER_ERROR},
    ),
    "D05 next page": (
        {"observations": bundle(result(), link=[{"relation": "next", "url": "http://x/2"}])},
        State.PARTIAL,
        {GapKind.TRUNCATED},
    ),
    "self link": (
        {"observations": bundle(result(), link=[{"relation": "self", "url": "http://x"}])},
        State.GIVEN,
        set(),
    ),
    "D08 literal token": (
        {"observations": bundle(result(id="{{context.patientId}}"))},
        State.FAILED,
        {GapKind.SERVER_ERROR},
    ),
    "one unreadable entry": (
        {"observations": bundle(result(), "x")},
        State.PARTIAL,
        {GapKind.UNREADABLE},
    ),
    "D40 modifier extension": (
        {"observations": bundle(result(modifierExtension=[{"url": "x"}]))},
        State.PARTIAL,
        {GapKind.UNREADABLE},
    ),
    "D40 implicit rules": (
        {"observations": bundle(result(implicitRules="http://x"))},
        State.PARTIAL,
        {GapKind.UNREADABLE},
    ),
    "D01 renamed key": ({"labs-user": bundle(result())}, State.GIVEN, set()),
    "renamed and empty": ({"labs-user": None}, State.ABSENT, {GapKind.NOT_SUPPLIED}),
    "renamed, ours nonsense": (
        {"observations": "", "labs": bundle(result())},
        State.GIVEN,
        set(),
    ),
    "one of two failed": (
        {"observations": OUTCOME, "labs": bundle(result())},
        State.PARTIAL,
        {GapKind.SERVER_ERROR},
    ),
    "irrelevant data is data": (
        {"observations": bundle(result(code="8867-4"))},
        State.GIVEN,
        set(),
    ),
}


@pytest.mark.fault("J13", "D01", "D02", "D03", "D04", "D05", "D08", "D40")
@pytest.mark.parametrize(("prefetch", "state", "gaps"), STATES.values(), ids=STATES.keys())
def test_what_a_value_means(prefetch: dict[str, Any], state: State, gaps: set[GapKind]) -> None:
    found = read(prefetch)
    assert found.states["observations"] is state
    assert gap_kinds(found) == gaps


def test_without_prefetch_everything_is_a_gap() -> None:
    found = read(None)
    assert {gap.subject for gap in found.gaps} == set(Subject)
    assert {gap.kind for gap in found.gaps} == {GapKind.NOT_SUPPLIED}
    assert found.unanswered == QUERIES


def test_a_failed_query_is_not_to_be_repeated() -> None:
    assert "observations" not in {q.key for q in read({"observations": OUTCOME}).unanswered}
    assert read_prefetch({"observations": FAILED}, "p").states["observations"] is State.FAILED


@pytest.mark.fault("D06")
def test_d06_another_patient_is_refused_and_not_named() -> None:
    for key in ("patient", "renamed"):
        with pytest.raises(WrongPatient) as raised:
            read({key: {**PATIENT, "id": "somebody"}})
        assert "somebody" not in repr(raised.value)
    with pytest.raises(WrongPatient):
        read({"patient": bundle({**PATIENT, "id": "somebody"})})


def test_a_patient_added_to_another_answer_is_dropped_if_not_ours() -> None:
    relative = {"resource": {**PATIENT, "id": "mother"}, "search": {"mode": "include"}}
    found = read({"conditions": {"resourceType": "Bundle", "entry": [relative]}})
    assert "Patient" not in found.resources
    assert Gap(Subject.PATIENT, GapKind.OTHER_PATIENT) in found.gaps


@pytest.mark.fault("D07")
@pytest.mark.parametrize(
    "subject",
    [
        {"reference": "Patient/q"},
        {"reference": "https://ehr.example/fhir/Patient/q"},
        {"reference": "#patient"},
        {"identifier": {"value": "q"}},
    ],
    ids=["relative", "absolute", "contained", "identifier"],
)
def test_d07_records_of_another_subject_are_dropped(subject: dict[str, Any]) -> None:
    found = read({"observations": bundle(result(1), result(2, subject=subject))})
    assert [r["id"] for r in found.resources["Observation"]] == ["o1"]
    assert gap_kinds(found) == {GapKind.OTHER_PATIENT}


@pytest.mark.fault("D07", "F20")
def test_records_of_others_alone_are_no_answer_about_the_patient() -> None:
    strangers = bundle(result(1, subject={"reference": "Patient/q"}))
    found = read({"observations": strangers, "conditions": bundle()})
    assert found.states["observations"] is State.PARTIAL
    assert found.states["conditions"] is State.EMPTY
    wrong = {(gap.subject, gap.kind) for gap in found.gaps if gap.kind != GapKind.NOT_SUPPLIED}
    assert wrong == {
        (Subject.OBSERVATIONS, GapKind.OTHER_PATIENT),
        (Subject.OBSERVATIONS, GapKind.SERVER_ERROR),
    }


@pytest.mark.fault("J03")
@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "1" + "0" * 9000])
def test_a_number_too_long_to_be_one_costs_that_resource_alone(number: str) -> None:
    odd = result(2, valueQuantity={"value": "number", "unit": "g/L"})
    text = json.dumps(bundle(result(1), odd, result(3))).replace('"number"', number)
    found = read_prefetch({"observations": msgspec.Raw(text.encode())}, "p")
    assert [r["id"] for r in found.resources["Observation"]] == ["o1", "o3"]
    assert Gap(Subject.OBSERVATIONS, GapKind.UNREADABLE, 1) in found.gaps
    assert found.states["observations"] is State.PARTIAL


def test_several_keys_serve_one_type_and_duplicates_are_one() -> None:
    found = read({"labs": bundle(result(1), result(2)), "vitals": bundle(result(2), result(3))})
    assert sorted(r["id"] for r in found.resources["Observation"]) == ["o1", "o2", "o3"]


@pytest.mark.fault("D19")
@pytest.mark.parametrize("order", [1, -1])
def test_d19_of_two_versions_the_later_one_counts(order: int) -> None:
    versions = [
        result(status="final", meta={"lastUpdated": "2026-01-01T00:00:00Z"}),
        result(status="entered-in-error", meta={"lastUpdated": "2026-02-01T00:00:00Z"}),
    ]
    found = read({"observations": bundle(*versions[::order])})
    assert [r["status"] for r in found.resources["Observation"]] == ["entered-in-error"]


def test_one_bad_entry_does_not_hide_the_others() -> None:
    bad: list[Any] = ["x", 5, [], {}, {"resourceType": 7}]
    found = read({"observations": bundle(*bad, result())})
    assert [r["id"] for r in found.resources["Observation"]] == ["o1"]
    assert Gap(Subject.OBSERVATIONS, GapKind.UNREADABLE, 5) in found.gaps


def test_a_combined_answer_under_one_name_serves_each_type() -> None:
    found = read({"everything": bundle(PATIENT, condition(), result())})
    assert found.states["patient"] is State.GIVEN
    assert found.states["conditions"] is State.GIVEN
    assert found.states["observations"] is State.GIVEN
    assert found.states["procedures"] is State.ABSENT


def test_an_added_resource_does_not_answer_for_its_type() -> None:
    entries = [{"resource": condition()}, {"resource": result(), "search": {"mode": "include"}}]
    found = read({"problems": {"resourceType": "Bundle", "entry": entries}})
    assert found.states["conditions"] is State.GIVEN
    assert found.states["observations"] is State.ABSENT
    assert [r["id"] for r in found.resources["Observation"]] == ["o1"]


def test_keys_that_a_site_has_swapped_are_known_by_their_content() -> None:
    found = read({"observations": bundle(condition())})
    assert found.states["conditions"] is State.GIVEN
    assert found.states["observations"] is State.ABSENT


def page(*resources: Any, following: str | None = None) -> msgspec.Raw:
    link = [{"relation": "next", "url": following}] if following else []
    return raw(bundle(*resources, link=link))


def test_further_pages_complete_an_answer() -> None:
    first = {"observations": page(result(1), following="http://x/2")}
    assert read_prefetch(first, "p").next_pages == {"observations": "http://x/2"}
    found = read_prefetch(first, "p", {"observations": [page(result(2))]})
    assert found.states["observations"] is State.GIVEN
    assert len(found.resources["Observation"]) == 2
    assert found.next_pages == {}


@pytest.mark.fault("F09")
@pytest.mark.parametrize("second", [FAILED, msgspec.Raw(b'"<html>"')], ids=["failed", "html"])
def test_f09_a_further_page_that_failed_leaves_the_answer_incomplete(second: msgspec.Raw) -> None:
    first = {"observations": page(result(1), following="http://x/2")}
    found = read_prefetch(first, "p", {"observations": [second]})
    assert found.states["observations"] is State.PARTIAL
    assert GapKind.TRUNCATED in gap_kinds(found)
    assert [r["id"] for r in found.resources["Observation"]] == ["o1"]


@pytest.mark.fault("J04")
def test_j04_a_value_too_deep_to_read_is_not_read_as_empty() -> None:
    deep = b'{"resourceType":"Bundle","entry":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}"
    found = read({"observations": deep})
    assert found.states["observations"] is State.ABSENT


def order(number: int, **medicine: Any) -> dict[str, Any]:
    return {"resourceType": "MedicationRequest", "id": f"m{number}", **medicine}


LOCAL = {"coding": [{"system": "urn:site:drugs", "code": "4711"}]}
INCLUDED = {
    "resource": {"resourceType": "Medication", "id": "x", "code": LOCAL},
    "search": {"mode": "include"},
}


@pytest.mark.parametrize("single", [False, True], ids=["in one go", "entry by entry"])
def test_what_the_value_sets_know_is_counted_by_type(single):
    """In the pass that reads the record; an entry of odd shape has all read one by one."""
    results = bundle(result(1), result(2, "8867-4"), result(3, "8867-4"), condition())
    orders = bundle(order(1, medicationCodeableConcept=LOCAL))
    orders["entry"].append(INCLUDED)
    if single:
        orders["entry"] = [*orders["entry"], {"resource": "x"}]
        results["entry"].append({"resource": "x"})
    found = read({"patient": PATIENT, "observations": results, "medication-requests": orders})
    assert found.recognised == {
        ("Observation", True): 1,
        ("Observation", False): 2,
        ("Condition", True): 1,
        ("MedicationRequest", False): 1,
        ("Medication", False): 1,
    }


def test_what_only_refers_to_its_medicine_and_words_of_a_client_are_not_counted():
    referring = order(1, medicationReference={"reference": "Medication/1"})
    odd = {"resourceType": "canary", "code": LOCAL}
    found = read({"medication-requests": bundle(referring, odd, PATIENT, outcome("warning"))})
    assert not found.recognised
