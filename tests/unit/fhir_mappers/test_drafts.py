"""Which drafts are picked, which are ours, and which are not used."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fhir_mappers.drafts import Session, read_session
from fhir_mappers.elements import Json
from regimen.facts import Ingredient

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def concept(code: str) -> Json:
    return {"coding": [{"system": RXNORM, "code": code}]}


def draft(identifier: str | None = "m1", code: str = "317106", **more: Any) -> Json:
    resource = {
        "resourceType": "MedicationRequest",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": "Patient/1"},
        "medicationCodeableConcept": concept(code),
    }
    return resource | ({"id": identifier} if identifier is not None else {}) | more


def bundle(*resources: Json) -> Json:
    return {"resourceType": "Bundle", "entry": [{"resource": one} for one in resources]}


def session(*resources: Json, pick: str = "MedicationRequest/m1") -> Session:
    return read_session(bundle(*resources), [pick], "1")


LONG = "e" * 194
ODD = "a‑b_c.d é~"


@pytest.mark.parametrize(
    ("identifier", "selection"),
    [
        ("m1", "MedicationRequest/m1"),
        ("m1", "https://host/fhir/MedicationRequest/m1"),
        ("m1", "MedicationRequest/m1/_history/1"),
        ("m1", "m1"),
        (LONG, f"MedicationRequest/{LONG}"),
        (ODD, f"MedicationRequest/{ODD}"),
        ("a/b", "MedicationRequest/a/b"),
    ],
)
def test_a_selection_finds_its_draft(identifier: str, selection: str) -> None:
    found = session(draft(identifier), pick=selection)
    assert found.ours_selected
    assert found.orders[0].record.reference == f"MedicationRequest/{identifier}"
    assert found.draft(f"MedicationRequest/{identifier}") is not None


@pytest.mark.parametrize("selection", ["urn:uuid:1", "https://host/fhir/MedicationRequest/m1"])
def test_a_selection_may_be_the_url_of_the_entry(selection: str) -> None:
    drafts = {"entry": [{"fullUrl": selection, "resource": draft(None)}]}
    found = read_session(drafts, [selection], "1")
    assert found.ours_selected
    assert found.drafts[0].reference == selection


@pytest.mark.fault("D09")
@pytest.mark.parametrize(
    "selections",
    [[], ["MedicationRequest/other"], ["ServiceRequest/m1"], ["#m1"], [None, 5, {}], "x", None],
)
def test_d09_a_selection_that_finds_nothing_picks_nothing(selections: Any) -> None:
    found = read_session(bundle(draft()), selections, "1")
    assert not found.ours_selected
    assert [order.selected for order in found.orders] == [False]


def test_a_dangling_selection_beside_a_good_one_is_ignored_and_a_double_one_counts_once() -> None:
    picks = ["MedicationRequest/x", "MedicationRequest/m1", "MedicationRequest/m1"]
    assert [order.selected for order in read_session(bundle(draft()), picks, "1").orders] == [True]


@pytest.mark.parametrize(
    "draft_orders",
    [
        *(None, {}, [], "x", {"entry": None}, {"entry": []}, {"entry": [None, 3, {}]}),
        {"entry": [{"resource": None}]},
        {"entry": [{"resource": {"resourceType": "MedicationOrder", "id": "m1"}}]},
        {"entry": [{"resource": {"resourceType": 5, "id": "m1"}}]},
        {"entry": [{"resource": {"id": "m1"}}]},
    ],
)
def test_drafts_of_odd_shape_or_of_another_version_are_no_orders(draft_orders: object) -> None:
    assert read_session(draft_orders, ["MedicationRequest/m1"], "1") == Session()


@pytest.mark.fault("D11")
def test_d11_an_entry_that_is_an_object_and_a_bundle_without_type_are_read() -> None:
    drafts = {"entry": {"resource": draft()}}
    assert read_session(drafts, ["MedicationRequest/m1"], "1").ours_selected


@pytest.mark.fault("D07", "D40")
@pytest.mark.parametrize(
    ("more", "left"),
    [
        ({"subject": {"reference": "Patient/2"}}, Session(elsewhere=True)),
        ({"patient": {"reference": "Patient/2"}}, Session(elsewhere=True)),
        ({"modifierExtension": [{"url": "x"}]}, Session()),
        ({"implicitRules": "http://x"}, Session()),
    ],
    ids=["D07 subject", "D07 patient", "D40 modifierExtension", "D40 implicitRules"],
)
def test_a_draft_that_may_not_be_used_is_left_out(more: Json, left: Session) -> None:
    """And that a selected one is about somebody else is said, or it would read as all clear."""
    assert session(draft(**more)) == left


@pytest.mark.fault("D12")
def test_d12_a_draft_entered_in_error_is_no_order() -> None:
    found = session(draft(status="entered-in-error"))
    assert not found.ours_selected
    assert found.orders == ()


@pytest.mark.fault("D09")
def test_d09_a_medication_beside_the_drafts_is_found() -> None:
    drug = {"resourceType": "Medication", "id": "x", "code": concept("317106")}
    by_reference = draft(medicationReference={"reference": "Medication/x"})
    del by_reference["medicationCodeableConcept"]
    assert session(by_reference, drug).ours_selected
    by_url = by_reference | {"medicationReference": {"reference": "urn:uuid:7"}}
    drafts = {"entry": [{"resource": by_url}, {"fullUrl": "urn:uuid:7", "resource": drug}]}
    assert read_session(drafts, ["MedicationRequest/m1"], "1").ours_selected


def test_orders_of_ours_other_medicines_and_requests_are_kept_apart() -> None:
    service = {"resourceType": "ServiceRequest", "id": "s1", "subject": {"reference": "Patient/1"}}
    found = session(draft(), draft("m2", "4511"), draft("m3", "6809"), draft("m4", "723"), service)
    assert [order.ingredient for order in found.orders] == [
        Ingredient.HYDROXOCOBALAMIN,
        Ingredient.FOLIC_ACID,
    ]
    assert [order.ingredient for order in found.others] == [Ingredient.METFORMIN]
    assert [one.reference for one in found.requests] == ["ServiceRequest/s1"]
    assert len(found.drafts) == 4


def test_a_picked_amoxicillin_or_antidote_is_none_of_ours() -> None:
    assert not session(draft(code="723")).ours_selected
    assert not session(draft(code="700496")).ours_selected


@pytest.mark.fault("D34")
def test_d34_two_drafts_are_two_orders_and_the_same_draft_twice_is_one() -> None:
    assert len(session(draft(), draft("m2")).orders) == 2
    assert len(session(draft(), draft()).orders) == 1


def test_the_draft_is_kept_as_it_was_sent() -> None:
    sent = draft(category={"text": "odd"}, extension=[{"url": "x", "valueString": "y"}])
    assert session(sent).drafts[0].resource is sent


def test_a_thousand_drafts_are_read_quickly() -> None:
    many = [draft(f"m{n}") for n in range(1000)]
    began = time.perf_counter()
    found = session(*many, pick="MedicationRequest/m999")
    assert time.perf_counter() - began < 2
    assert [order.record.reference for order in found.orders if order.selected] == [
        "MedicationRequest/m999"
    ]
