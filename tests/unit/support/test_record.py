"""Is what the harness sends the record it means to send?"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from tests.support.hook_request import order_select, shifted
from tests.support.record import RecordBuilder, build_record, quantity
from tests.support.timing import repeat
from tests.support.vignette import Expected, Vignette, VignetteError, all_vignettes

TEMPLATES = {
    "patient": "Patient/{{context.patientId}}",
    "results": "Observation?patient={{context.patientId}}&category=laboratory",
    "allergies": "AllergyIntolerance?patient={{context.patientId}}",
}
BASE = Vignette(
    id="X1",
    title="the base patient",
    as_of=date(2026, 6, 15),
    expected=Expected(),
    path=Path("vignette.toml"),
    orders=({"what": "hydroxocobalamin injection"},),
)


def test_the_base_patient_is_a_woman_of_54_with_four_results() -> None:
    patient, *results = build_record(BASE)
    assert (patient["gender"], patient["birthDate"]) == ("female", "1972-03-02")
    assert [(r["valueQuantity"]["value"], r["effectiveDateTime"][:10]) for r in results] == [
        (value, "2026-06-10") for value in (118, 96, 4.2, 90)
    ]


@pytest.mark.parametrize("vignette", all_vignettes(), ids=lambda vignette: vignette.id)
def test_every_resource_of_a_vignette_is_valid_r4(vignette: Vignette) -> None:
    drafts = order_select(vignette, {})["context"]["draftOrders"]["entry"]
    for resource in [*build_record(vignette), *(entry["resource"] for entry in drafts)]:
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("120 pg/mL", {"value": 120, "unit": "pg/mL", "code": "pg/mL"}),
        ("< 150 pg/mL", {"value": 150, "comparator": "<", "unit": "pg/mL", "code": "pg/mL"}),
        ("1000 microgram", {"value": 1000, "unit": "microgram", "code": "ug"}),
        ("20.1 cm", {"value": 20.1, "unit": "cm", "code": "cm"}),
    ],
)
def test_a_quantity_is_read_from_words(words: str, expected: dict[str, Any]) -> None:
    assert quantity(words) == expected | {"system": "http://unitsofmeasure.org"}


def test_a_quantity_without_a_unit_has_none() -> None:
    assert quantity("120") == {"value": 120}


def test_what_is_no_quantity_is_refused() -> None:
    with pytest.raises(VignetteError):
        quantity("about 120 pg/mL")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("once", {"count": 1}),
        ("daily", {"frequency": 1, "period": 1, "periodUnit": "d"}),
        ("3 a week", {"frequency": 3, "period": 1, "periodUnit": "wk"}),
        ("3 per 7 days", {"frequency": 3, "period": 7, "periodUnit": "d"}),
        ("every 12 hours", {"frequency": 1, "period": 12, "periodUnit": "h"}),
        ("every 2-3 months", {"frequency": 1, "period": 2, "periodMax": 3, "periodUnit": "mo"}),
        ("daily, 10 doses", {"frequency": 1, "period": 1, "periodUnit": "d", "count": 10}),
    ],
)
def test_a_schedule_is_read_from_words(words: str, expected: dict[str, Any]) -> None:
    assert repeat(words) == expected


def test_a_schedule_may_be_bounded() -> None:
    bounds = {"value": 2, "unit": "week", "system": "http://unitsofmeasure.org", "code": "wk"}
    assert repeat("3 a week for 2 weeks")["boundsDuration"] == bounds


@pytest.mark.parametrize("words", ["now and then", "every full moon", "3 a week for ever"])
def test_what_is_no_schedule_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="not a schedule"):
        repeat(words)


def test_a_measured_resection_is_tied_to_its_operation() -> None:
    builder = RecordBuilder("p1", date(2026, 6, 15))
    builder.procedure({"what": "ileal resection", "length": "25 cm"})
    operation, length = builder.resources
    assert length["partOf"] == [{"reference": f"Procedure/{operation['id']}"}]
    assert length["valueQuantity"]["value"] == 25


def test_the_prefetch_is_what_a_client_would_find() -> None:
    prefetch = order_select(BASE, TEMPLATES)["prefetch"]
    assert prefetch["patient"]["id"] == "vignette-x1"
    assert prefetch["results"]["total"] == 4
    assert "entry" not in prefetch["allergies"]


def test_all_dates_move_together_and_nothing_else_does() -> None:
    value = {"on": "2026-06-15", "at": ["2026-06-15T09:15:00Z"], "id": "2026-06-15-x", "n": 1}
    moved = {"on": "2026-06-25", "at": ["2026-06-25T09:15:00Z"], "id": "2026-06-15-x", "n": 1}
    assert shifted(value, timedelta(days=10)) == moved
