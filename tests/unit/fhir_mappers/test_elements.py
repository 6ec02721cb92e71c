"""Pieces of FHIR JSON, well-formed and not: what is read, and what is as absent."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_mappers import elements as el
from regimen.facts import Comparator

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(deadline=None)  # the first example loads what the others use
@given(JSON_VALUES)
def test_no_reader_raises_on_any_json_value(value: object) -> None:
    for reader in (
        *(el.as_list, el.as_dict, el.dicts, el.text, el.flag, el.decimal, el.whole, el.codings),
        *(el.concept_text, el.moment, el.date_of, el.period, el.reference_id, el.quantity),
        *(el.canonical_unit, el.unit_named),
    ):
        reader(value)
    resource = {"resourceType": value, "id": value, "subject": value, "patient": value}
    resource |= {"effectivePeriod": value, "x": value, "contained": value}
    el.resource_ref(resource)
    el.subject_is(resource, "1")
    el.moment_in(resource, "effective")
    el.has_unknown_modifier(resource)
    el.contained(resource, "#a")


@pytest.mark.parametrize(
    ("value", "read"),
    [(None, []), ([1, None, 2], [1, 2]), ({"a": 1}, [{"a": 1}]), ("x", ["x"]), ([], [])],
)
def test_an_array_is_read_without_nulls_and_an_object_is_an_array_of_one(
    value: object, read: list[object]
) -> None:
    assert el.as_list(value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (5, Decimal(5)),
        (Decimal("20.10"), Decimal("20.10")),
        (True, None),
        ("5", None),
        (7.2, None),
        (None, None),
        (Decimal("NaN"), None),
        (Decimal("Infinity"), None),
        (Decimal("1E+31"), None),
        (Decimal("1E-400"), None),
        (Decimal("1E+999999"), None),
        (10**40, None),
        (Decimal("0E+500"), None),
    ],
)
def test_a_number_is_exact_and_bounded(value: object, read: Decimal | None) -> None:
    assert el.decimal(value) == read


@pytest.mark.parametrize(("value", "read"), [(Decimal("6.0"), 6), (6, 6), (Decimal("6.5"), None)])
def test_a_whole_number_may_be_written_as_a_decimal(value: object, read: int | None) -> None:
    assert el.whole(value) == read


def _utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("written", "earliest", "latest"),
    [
        ("2024", _utc(2024, 1, 1), _utc(2024, 12, 31, 23, 59, 59, 999999)),
        ("2024-02", _utc(2024, 2, 1), _utc(2024, 2, 29, 23, 59, 59, 999999)),
        ("2024-12", _utc(2024, 12, 1), _utc(2024, 12, 31, 23, 59, 59, 999999)),
        ("2024-05-01", _utc(2024, 5, 1), _utc(2024, 5, 1, 23, 59, 59, 999999)),
        ("2024-05-01T10:00", _utc(2024, 5, 1, 10), _utc(2024, 5, 1, 10, 0, 59, 999999)),
        ("2024-05-01T10:00:00Z", _utc(2024, 5, 1, 10), _utc(2024, 5, 1, 10, 0, 0, 999999)),
        (
            "2024-05-01T10:00:00.5+02:00",
            _utc(2024, 5, 1, 8, 0, 0, 500000),
            _utc(2024, 5, 1, 8, 0, 0, 500000),
        ),
        (
            "2024-05-01T23:59:60Z",
            _utc(2024, 5, 1, 23, 59, 59),
            _utc(2024, 5, 1, 23, 59, 59, 999999),
        ),
        ("9999-12", _utc(9999, 12, 1), _utc(9999, 12, 31, 23, 59, 59, 999999)),
    ],
)
def test_a_time_is_the_stretch_it_can_mean(
    written: str, earliest: datetime, latest: datetime
) -> None:
    found = el.moment(written)
    assert found is not None
    assert (found.earliest, found.latest) == (earliest, latest)


@pytest.mark.parametrize(
    "written",
    [
        *("2024-05-01T24:00:00Z", "2024-02-30", "2024-13", "0000", "24", "2024-5-1", "05/01/2024"),
        *("2024-05-01 10:00:00Z", "2024-05-01T10:00:00z", "2024-05-01T10:00:00+15:00", "", "٢٠٢٤"),
        *("2024-05-01T10:00:61Z", "0001-01-01T00:00:00+14:00", "2024-05-01T10Z", "2024" * 99999),
        *(2024, None, True, {}, ["2024"]),
    ],
)
def test_what_is_no_time_that_exists_is_absent(written: object) -> None:
    assert el.moment(written) is None


def test_the_day_is_the_one_written_and_the_first_one_possible() -> None:
    assert el.date_of("2024-05-01T23:30:00-05:00") == date(2024, 5, 1)
    assert el.date_of("2024-05") == date(2024, 5, 1)
    month = el.moment("2024-05")
    assert month is not None
    assert month.last_day == date(2024, 5, 31)


def test_a_choice_of_times_is_read_in_any_of_its_forms() -> None:
    found = el.moment_in(
        {"effectivePeriod": {"start": "2024-01-01", "end": "2024-01-09"}}, "effective"
    )
    assert found is not None
    assert (found.day, found.last_day) == (date(2024, 1, 1), date(2024, 1, 9))
    assert el.moment_in({"effectiveInstant": "2024-01-01T00:00:00Z"}, "effective") is not None
    assert el.moment_in({"effectiveDateTime": "no"}, "effective") is None


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ("Patient/1", ("Patient", "1")),
        ("https://host/fhir/Patient/1/_history/2", ("Patient", "1")),
        ("Patient/1/_history/2", ("Patient", "1")),
        (f"MedicationRequest/{'e' * 194}", ("MedicationRequest", "e" * 194)),
        ("urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",) * 2,
        ("#med", ("", "#med")),
        ("#", None),
        ("1", None),
        ("Patient/", None),
        ("patient?identifier=x", None),
        (None, None),
        ({"reference": "Patient/1"}, None),
    ],
)
def test_a_reference_names_type_and_id(reference: object, named: object) -> None:
    expected = ("", named) if isinstance(named, str) else named
    assert el.reference_id(reference) == expected


@pytest.mark.fault("D07")
@pytest.mark.parametrize(
    ("resource", "own"),
    [
        ({}, True),
        ({"subject": {"reference": "Patient/1"}}, True),
        ({"subject": {"reference": "https://host/fhir/Patient/1"}}, True),
        ({"subject": [{"reference": "Patient/1"}]}, True),
        ({"patient": {"reference": "Patient/1/_history/3"}}, True),
        ({"subject": {}}, True),
        ({"subject": 7}, True),
        ({"resourceType": "Patient", "id": "1"}, True),
        ({"subject": {"reference": "Patient/2"}}, False),
        ({"subject": {"reference": "https://host/fhir/Patient/2"}}, False),
        ({"subject": {"reference": "#p"}}, False),
        ({"subject": {"reference": "urn:uuid:1"}}, False),
        ({"subject": {"reference": "Group/1"}}, False),
        ({"subject": {"identifier": {"value": "1"}}}, False),
        ({"subject": {"display": "someone"}}, False),
        ({"subject": "Patient/2"}, False),
        ({"subject": {"reference": "Patient/1"}, "patient": {"reference": "Patient/2"}}, False),
        ({"resourceType": "Patient", "id": "2"}, False),
    ],
)
def test_d07_a_resource_of_another_subject_is_told_apart(resource: el.Json, own: bool) -> None:
    assert el.subject_is(resource, "1") is own


@pytest.mark.fault("D40")
@pytest.mark.parametrize(
    ("resource", "odd"),
    [
        ({"implicitRules": "http://x"}, True),
        ({"modifierExtension": [{"url": "x"}]}, True),
        ({"modifierExtension": {"url": "x"}}, True),
        ({"dosageInstruction": [{"modifierExtension": [{"url": "x"}]}]}, True),
        ({"modifierExtension": []}, False),
        ({"extension": [{"url": "x"}]}, False),
        ({"contained": [{"modifierExtension": [{"url": "x"}]}]}, False),
    ],
)
def test_d40_unknown_modifiers_are_noticed(resource: el.Json, odd: bool) -> None:
    assert el.has_unknown_modifier(resource) is odd


UCUM = "http://unitsofmeasure.org"


@pytest.mark.fault("D16")
@pytest.mark.parametrize(
    ("quantity", "unit"),
    [
        ({"unit": "pg/mL"}, "pg/mL"),
        ({"unit": "PG/ML"}, "pg/mL"),
        ({"unit": "pg / mL"}, "pg/mL"),
        ({"unit": "picograms per millilitre"}, "pg/mL"),
        ({"unit": "ng/l"}, "ng/L"),
        ({"unit": "pmol/L", "code": "pmol/L", "system": UCUM}, "pmol/L"),
        ({"unit": "µmol/L"}, "umol/L"),
        ({"unit": "μg"}, "ug"),
        ({"unit": "mcg"}, "ug"),
        ({"unit": "Micrograms"}, "ug"),
        ({"unit": "MG"}, "mg"),
        ({"unit": "g/dl"}, "g/dL"),
        ({"unit": "fl"}, "fL"),
        ({"unit": "mEq/L"}, "meq/L"),
        ({"unit": "ml/min/1.73m²"}, "mL/min/{1.73_m2}"),
        ({"unit": "mL/min/1.73 m2"}, "mL/min/{1.73_m2}"),
        ({"code": "mL/min/{1.73_m2}", "system": UCUM}, "mL/min/{1.73_m2}"),
        ({"unit": "mL/min"}, None),
        ({"unit": "x10^9/L"}, "10*9/L"),
        ({"unit": "10*3/uL"}, "10*9/L"),
        ({"unit": "inches"}, "[in_i]"),
        ({"unit": "IU"}, "[iU]"),
        ({"code": "[iU]", "system": UCUM}, "[iU]"),
        ({"unit": "m"}, "m"),
        ({"unit": "M"}, None),
        ({"unit": "Mg"}, None),
        ({"unit": "mg/pg"}, None),
        ({"unit": "tablet"}, None),
        ({"unit": "u" * 10_000}, None),
        ({"unit": 5}, None),
        ({}, None),
        ({"code": "mg", "system": "http://local"}, None),
        ({"code": "x", "system": "http://local", "unit": "mg"}, "mg"),
        ({"code": "ug", "unit": "mcg", "system": UCUM}, "ug"),
        ({"code": "pg/mL", "unit": "ng/L", "system": UCUM}, "pg/mL"),
        ({"code": "mg", "unit": "mcg", "system": UCUM}, None),
        ({"code": "pmol/L", "unit": "pg/mL", "system": UCUM}, None),
    ],
)
def test_d16_a_unit_is_known_in_any_spelling_and_never_guessed(
    quantity: el.Json, unit: str | None
) -> None:
    assert el.canonical_unit(quantity) == unit


@pytest.mark.fault("D17")
@pytest.mark.parametrize(
    ("quantity", "read"),
    [
        ({"value": 5, "unit": "mg"}, (Decimal(5), Comparator.EQUAL, "mg")),
        ({"value": 5, "comparator": "<"}, (Decimal(5), Comparator.LESS, None)),
        ({"value": 5, "comparator": "ad"}, None),
        ({"value": 5, "comparator": {}}, None),
        ({"value": "5", "unit": "mg"}, None),
        ({"unit": "mg"}, None),
    ],
)
def test_d17_a_quantity_is_read_only_when_unambiguous(quantity: el.Json, read: object) -> None:
    assert el.quantity(quantity) == read


def test_the_words_of_a_concept_are_bounded() -> None:
    concept = {"text": "x" * 9999, "coding": [{"display": "y" * 9999}] * 99}
    assert len(el.concept_text(concept)) == el.MAX_TEXT


def test_a_code_that_is_a_number_is_absent() -> None:
    concept = {"coding": [{"code": 78421000}, {"code": "1", "system": "s"}, None, "x"]}
    assert el.codings(concept) == [("s", "1", "")]
