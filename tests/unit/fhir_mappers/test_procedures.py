"""Is each operation counted once, and each length with its operation?"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest

from fhir_mappers.observations import read_observations
from fhir_mappers.procedures import Operated, read_procedures
from regimen.facts import Answer, Certainty, Concept, Length, Resection, Route

AS_OF = date(2026, 6, 15)
SCT, PCS = "http://snomed.info/sct", "http://www.cms.gov/Medicare/Coding/ICD10"
HCPCS = "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"
RECORD = "urn:oid:2.25.147698014147394229799976552687274634453"
ILEECTOMY, TOTAL_ILEECTOMY, HEMICOLECTOMY = "51346007", "37593003", "359571009"
SMALL_BOWEL, BILIOPANCREATIC, JEJUNOILEAL = "107938000", "24883002", "59657005"
SLEEVE_BYPASS, REVERSAL = "708983005", "447892004"

Json = dict[str, Any]


def operation(
    name: str, code: str = ILEECTOMY, on: str | None = "2024-03-01", system: str = SCT, **more: Any
) -> Json:
    return {
        "resourceType": "Procedure",
        "id": name,
        "status": "completed",
        "code": {"coding": [{"system": system, "code": code}]},
        **({"performedDateTime": on} if on else {}),
        **more,
    }


def length(
    name: str, cm: int, of: str | None = None, on: str | None = "2024-03-01", **more: Any
) -> Json:
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"coding": [{"system": RECORD, "code": "ileum-resected-length"}]},
        "valueQuantity": {"value": cm, "unit": "cm"},
        **({"effectiveDateTime": on} if on else {}),
        **({"partOf": [{"reference": f"Procedure/{of}"}]} if of else {}),
        **more,
    }


def read(*resources: Json) -> Operated:
    """The same whatever the order."""
    every = list(permutations(resources)) if len(resources) < 5 else [resources]
    found = [_read(order) for order in every]
    assert all(set(other.resections) == set(found[0].resections) for other in found)
    assert all(set(other.findings) == set(found[0].findings) for other in found)
    return found[0]


def _read(resources: tuple[Json, ...]) -> Operated:
    procedures = [r for r in resources if r["resourceType"] == "Procedure"]
    observations = [r for r in resources if r["resourceType"] == "Observation"]
    lengths = read_observations(observations, AS_OF).lengths
    return read_procedures(procedures, lengths, AS_OF)


def lengths_of(found: Operated) -> list[Decimal | None]:
    exact = [r.length.exact if r.length else None for r in found.resections]
    return sorted(exact, key=lambda cm: (cm is None, cm))


def concepts_of(found: Operated) -> list[Concept]:
    return sorted(f.concept for f in found.findings)


RESECTIONS: dict[str, tuple[list[Json], list[int | None]]] = {
    "with its length": ([operation("a"), length("l", 25, of="a")], [25]),
    "without a length": ([operation("a")], [None]),
    "two operations": (
        [
            operation("a", on="2019"),
            operation("b", on="2023"),
            length("l", 12, of="a", on="2019"),
            length("m", 10, of="b", on="2023"),
        ],
        [10, 12],
    ),
    "one of two measured": (
        [operation("a", on="2019"), operation("b", on="2023"), length("l", 12, of="a")],
        [12, None],
    ),
    "corrected": (
        [
            operation("a"),
            length("l", 25, of="a", on="2024-03-01"),
            length("m", 15, of="a", on="2024-03-09"),
        ],
        [15],
    ),
    "corrected on the day": (
        [
            operation("a"),
            length("l", 25, of="a", issued="2024-03-01T08:00:00Z"),
            length("m", 15, of="a", issued="2024-03-02T08:00:00Z", status="corrected"),
        ],
        [15],
    ),
    "two at once": ([operation("a"), length("l", 25, of="a"), length("m", 15, of="a")], [None]),
    "D19 mistaken length": (
        [operation("a"), length("l", 25, of="a", status="entered-in-error")],
        [None],
    ),
    "D29 recorded twice": (
        [operation("a"), operation("b"), length("l", 25, of="a"), length("m", 25, of="b")],
        [25],
    ),
    "D29 once without length": ([operation("a"), operation("b"), length("l", 25, of="a")], [25]),
    "two pieces of one day": (
        [operation("a"), operation("b"), length("l", 12, of="a"), length("m", 10, of="b")],
        [10, 12],
    ),
    "a length of an unknown operation": ([length("l", 25, of="gone")], [25]),
    "a length alone": ([length("l", 25)], [25]),
    "unlinked, same day": (
        [operation("a"), operation("b", on="2019-01-01"), length("l", 25)],
        [25, None],
    ),
    "unlinked, only one left": ([operation("a"), length("l", 25, on="2024-05-01")], [25]),
    "unlinked, two left": (
        [operation("a"), operation("b", on="2019"), length("l", 25, on="2024-05-01")],
        [25, None, None],
    ),
    "unlinked, before the operation": (
        [operation("a"), length("l", 25, on="2020-01-01")],
        [25, None],
    ),
    "unlinked, repeats the linked one": (
        [operation("a"), length("l", 25, of="a"), length("m", 25)],
        [25],
    ),
    "unlinked, recorded twice": ([length("l", 25), length("m", 25)], [25]),
    "unlinked, undated twice": ([length("l", 25, on=None), length("m", 25, on=None)], [25]),
    "unlinked, different days": ([length("l", 12), length("m", 10, on="2019-01-01")], [10, 12]),
    "D25 not done": ([operation("a", status="not-done")], []),
    "D25 not done, with a length": (
        [operation("a", status="not-done"), length("l", 25, of="a")],
        [],
    ),
    "D25 mistaken, with a length": (
        [operation("a", status="entered-in-error"), length("l", 25, of="a")],
        [],
    ),
    "D25 of unknown code, not done": (
        [operation("a", code="1", status="not-done"), length("l", 25, of="a")],
        [],
    ),
    "D25 planned": ([operation("a", on="2026-09-01"), length("l", 25, of="a")], []),
    "D25 unknown status": (
        [operation("a", status="unknown"), length("l", 25, of="a")],
        [],
    ),
    "jejunum": ([operation("a", bodySite=[{"text": "jejunum"}]), length("l", 25, of="a")], []),
    "length of jejunum": (
        [operation("a"), length("l", 25, of="a", bodySite={"text": "jejunum"})],
        [None],
    ),
    "length of small bowel": (
        [operation("a"), length("l", 25, of="a", bodySite={"text": "small bowel"})],
        [None],
    ),
    "hemicolectomy, measured": ([operation("a", HEMICOLECTOMY), length("l", 8, of="a")], [8]),
    "hemicolectomy, not measured": ([operation("a", HEMICOLECTOMY)], []),
    "biopsy": ([operation("a", "0DBB8ZX", system=PCS)], []),
    "colectomy elsewhere": ([operation("a", "73761001")], []),
}


@pytest.mark.fault("D19", "D25", "D29")
@pytest.mark.parametrize(("resources", "cm"), RESECTIONS.values(), ids=RESECTIONS.keys())
def test_lengths_of_resected_ileum(resources: list[Json], cm: list[int | None]) -> None:
    assert lengths_of(read(*resources)) == cm


@pytest.mark.parametrize("code", [ILEECTOMY, TOTAL_ILEECTOMY])
def test_a_complete_resection_needs_no_length(code: str) -> None:
    (found,) = read(operation("a", code)).resections
    assert found.complete is (code == TOTAL_ILEECTOMY)


def test_a_resection_is_cited_as_its_operation() -> None:
    (found,) = read(operation("a"), length("l", 25, of="a")).resections
    assert (found.record.reference, found.record.on) == ("Procedure/a", date(2024, 3, 1))
    assert (found.record.label, found.as_reported) == ("Ileectomy", "25 cm")


def test_one_length_on_several_days_may_be_one_resection_or_two() -> None:
    (found,) = read(length("l", 15), length("m", 15, on="2019-01-01")).resections
    assert found.length == Length(Decimal(15), Decimal(30))
    assert found.length.longer_than(Decimal(20)) is Answer.UNKNOWN


def test_more_than_20_cm_stays_so_when_it_was_recorded_twice() -> None:
    (found,) = read(length("l", 25), length("m", 25, on="2019-01-01")).resections
    assert isinstance(found, Resection)
    assert found.length is not None
    assert found.length.longer_than(Decimal(20)) is Answer.YES


FINDINGS: dict[str, tuple[list[Json], list[Concept]]] = {
    "hemicolectomy": ([operation("a", HEMICOLECTOMY)], [Concept.ILEAL_LOSS_POSSIBLE]),
    "hemicolectomy, measured": ([operation("a", HEMICOLECTOMY), length("l", 8, of="a")], []),
    "hemicolectomy with ileectomy": ([operation("a", HEMICOLECTOMY), operation("b")], []),
    "small bowel": ([operation("a", SMALL_BOWEL)], [Concept.ILEAL_LOSS_POSSIBLE]),
    "D25 unknown status": ([operation("a", status="unknown")], [Concept.ILEAL_LOSS_POSSIBLE]),
    "D25 unknown status, measured": (
        [operation("a", status="unknown"), length("l", 25, of="a")],
        [Concept.ILEAL_LOSS_POSSIBLE],
    ),
    "D25 unknown status and code, measured": (
        [operation("a", "1", status="unknown"), length("l", 25, of="a")],
        [Concept.ILEAL_LOSS_POSSIBLE],
    ),
    "biliopancreatic": ([operation("a", BILIOPANCREATIC)], [Concept.BARIATRIC_ILEAL]),
    "biliopancreatic, perhaps": (
        [operation("a", BILIOPANCREATIC, status="unknown")],
        [Concept.BARIATRIC_UNSPECIFIED],
    ),
    "jejunoileal": ([operation("a", JEJUNOILEAL)], [Concept.BARIATRIC_ILEAL]),
    "bypass of ileum": ([operation("a", "173958005")], [Concept.ILEAL_LOSS_POSSIBLE]),
    "gastric bypass": ([operation("a", SLEEVE_BYPASS)], [Concept.BARIATRIC_NON_ILEAL]),
    "reversed later": (
        [operation("a", BILIOPANCREATIC), operation("r", REVERSAL, on="2025-01-01")],
        [],
    ),
    "reversed the same day": ([operation("a", BILIOPANCREATIC), operation("r", REVERSAL)], []),
    "reversed before": (
        [operation("a", BILIOPANCREATIC), operation("r", REVERSAL, on="2020-01-01")],
        [Concept.BARIATRIC_ILEAL],
    ),
    "reversed at an unknown time": (
        [operation("a", BILIOPANCREATIC), operation("r", REVERSAL, on=None)],
        [Concept.BARIATRIC_UNSPECIFIED],
    ),
    "reversed in the same year": (
        [operation("a", BILIOPANCREATIC), operation("r", REVERSAL, on="2024")],
        [Concept.BARIATRIC_UNSPECIFIED],
    ),
    "reversal not done": (
        [operation("a", BILIOPANCREATIC), operation("r", REVERSAL, status="not-done")],
        [Concept.BARIATRIC_ILEAL],
    ),
    "total gastrectomy": ([operation("a", "26452005")], [Concept.GASTRECTOMY_TOTAL]),
    "D25 in progress": ([operation("a", BILIOPANCREATIC, status="in-progress")], []),
    "D25 stopped": ([operation("a", BILIOPANCREATIC, status="stopped")], []),
}


@pytest.mark.fault("D25")
@pytest.mark.parametrize(("resources", "concepts"), FINDINGS.values(), ids=FINDINGS.keys())
def test_what_operations_mean(resources: list[Json], concepts: list[Concept]) -> None:
    assert concepts_of(read(*resources)) == concepts


def test_what_was_perhaps_done_is_unconfirmed() -> None:
    (found,) = read(operation("a", BILIOPANCREATIC, status="unknown")).findings
    assert found.certainty is Certainty.UNCONFIRMED


PERFORMED = {
    "period": ({"performedPeriod": {"start": "2024-03-01", "end": "2024-03-02"}}, "2024-03-01"),
    "R5": ({"occurrenceDateTime": "2024-03-01"}, "2024-03-01"),
    "text": ({"performedString": "in spring"}, None),
    "J15 impossible": ({"performedDateTime": "2024-02-30"}, None),
}


@pytest.mark.fault("J15", "D25")
@pytest.mark.parametrize(("element", "on"), PERFORMED.values(), ids=PERFORMED.keys())
def test_d25_when_it_was_done(element: Json, on: str | None) -> None:
    (found,) = read(operation("a", on=None, **element)).resections
    assert found.record.on == (date.fromisoformat(on) if on else None)


def test_an_injection_recorded_as_a_procedure_is_a_dose_of_unknown_size() -> None:
    given = _read((operation("a", "308752009"), operation("b", "J3420", system=HCPCS))).doses
    assert [(d.route, d.dose_ug) for d in given] == [
        (Route.INTRAMUSCULAR, None),
        (Route.PARENTERAL, None),
    ]
    assert _read((operation("a", "170826002"),)).doses == ()


def test_an_operation_coded_twice_is_one_finding() -> None:
    twice = operation("a", "26452005")
    twice["code"]["coding"].append({"system": PCS, "code": "0DT60ZZ"})
    assert concepts_of(read(twice)) == [Concept.GASTRECTOMY_TOTAL]


@pytest.mark.fault("D20")
def test_one_operation_dated_to_the_day_and_to_the_month_may_be_one_or_two() -> None:
    found = read(
        operation("a", on="2024-03-12"),
        length("l", 15, of="a"),
        operation("b", on="2024-03"),
        length("m", 15, of="b"),
    )
    (resection,) = found.resections
    assert resection.length is not None
    assert resection.length.longer_than(Decimal(20)) is Answer.UNKNOWN
    assert resection.length.longer_than(Decimal(14)) is Answer.YES
    assert resection.length.longer_than(Decimal(30)) is Answer.NO


def test_two_operations_of_one_length_in_two_months_are_two() -> None:
    found = read(
        operation("a", on="2024-03-12"),
        length("l", 15, of="a"),
        operation("b", on="2024-04"),
        length("m", 15, of="b"),
    )
    assert lengths_of(found) == [15, 15]
