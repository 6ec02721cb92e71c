"""Which medicine, how much, which way and when: orders, statements and doses (D09 to D15)."""

from __future__ import annotations

import time
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_mappers.elements import Json
from fhir_mappers.medications import (
    read_administration,
    read_dispense,
    read_orders,
    read_statements,
)
from regimen.facts import DoseLine, Ingredient, Order, OrderStatus, Route

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
SNOMED = "http://snomed.info/sct"
ATC = "http://www.whocc.no/atc"
UCUM = "http://unitsofmeasure.org"

HYDROXO_INJECTION = (RXNORM, "317106")
CYANO_INJECTION = (RXNORM, "309594")
CYANO_TABLET = (RXNORM, "309593")  # 1 mg
CYANO_SUBLINGUAL = (RXNORM, "237779")
CYANO = (RXNORM, "11248")
HYDROXO = (RXNORM, "5514")
FOLIC = (RXNORM, "4511")


def concept(*codes: tuple[str, str], text: str | None = None) -> Json:
    found: Json = {"coding": [{"system": system, "code": code} for system, code in codes]}
    return found if text is None else found | {"text": text}


def request(medication: Json | None = None, **more: Any) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": medication or concept(HYDROXO_INJECTION),
    } | more


def dosed(medication: Json, **dosage: Any) -> DoseLine:
    (order,) = read_orders(request(medication, dosageInstruction=[dosage]))
    return order.line


def ingredients(resource: Json, **more: Any) -> list[Ingredient]:
    return [order.ingredient for order in read_orders(resource, **more)]


# --- which medicine ---------------------------------------------------------------------------


@pytest.mark.fault("D09")
@pytest.mark.parametrize(
    ("medication", "ingredient"),
    [
        (concept((RXNORM, "5514")), Ingredient.HYDROXOCOBALAMIN),
        (concept(HYDROXO_INJECTION), Ingredient.HYDROXOCOBALAMIN),
        (concept(("urn:oid:2.16.840.1.113883.6.88", "317106")), Ingredient.HYDROXOCOBALAMIN),
        (concept((SNOMED, "409258004")), Ingredient.HYDROXOCOBALAMIN),
        (concept((ATC, "B03BA03")), Ingredient.HYDROXOCOBALAMIN),
        (concept((ATC, "B03BA03"), (ATC, "B03BA")), Ingredient.HYDROXOCOBALAMIN),
        (concept(("urn:local", "77"), ("urn:gpi", "8"), CYANO), Ingredient.CYANOCOBALAMIN),
        (concept((RXNORM, "309594"), (RXNORM, "2598453"), CYANO), Ingredient.CYANOCOBALAMIN),
        (concept((RXNORM, "309595")), Ingredient.CYANOCOBALAMIN),
        (concept((ATC, "B03BA01")), Ingredient.CYANOCOBALAMIN),
        (concept((ATC, "B03BA")), Ingredient.OTHER_COBALAMIN),
        (concept((RXNORM, "29421")), Ingredient.OTHER_COBALAMIN),
        (concept(FOLIC), Ingredient.FOLIC_ACID),
        (concept((RXNORM, "1592257")), Ingredient.FOLIC_ACID),
        (concept((RXNORM, "6809")), Ingredient.METFORMIN),
        (concept((RXNORM, "7646")), Ingredient.ACID_SUPPRESSANT),
        (concept((ATC, "A02BC05")), Ingredient.ACID_SUPPRESSANT),
        (concept((RXNORM, "4278")), Ingredient.ACID_SUPPRESSANT),
        (concept((RXNORM, "7486")), Ingredient.NITROUS_OXIDE),
        ({"text": "Methotrexate 2.5 mg tablets"}, Ingredient.ANTIFOLATE),
        ({"text": "COLCHICINE 500 microgram"}, Ingredient.COLCHICINE),
        ({"text": "chloramphenicol"}, Ingredient.CHLORAMPHENICOL),
    ],
)
def test_d09_a_medicine_is_known_by_any_of_its_codes(
    medication: Json, ingredient: Ingredient
) -> None:
    assert ingredients(request(medication)) == [ingredient]


@pytest.mark.fault("D09")
@pytest.mark.parametrize(
    "medication",
    [
        {"text": "Vitamin B12 injection"},
        {"text": "hydroxocobalamin 1 mg IM"},
        {"text": "folic acid 5 mg"},
        {"coding": [{"code": "317106"}]},
        {"coding": [{"display": "hydroxocobalamin", "system": RXNORM}]},
        {"coding": [{"code": 317106, "system": RXNORM}]},
        concept(("urn:local", "317106")),
        concept((RXNORM, "723")),  # amoxicillin
        concept((RXNORM, "6313")),  # folinic acid
        concept((ATC, "V09XX01")),  # a diagnostic, whatever else is said of it
        concept(CYANO, (ATC, "V09XX01")),
        {"coding": []},
    ],
)
def test_d09_a_text_or_an_unknown_code_is_no_medicine_of_ours(medication: Json) -> None:
    assert ingredients(request(medication)) == []


@pytest.mark.fault("D09")
def test_d09_a_medication_is_found_contained_beside_or_by_its_url() -> None:
    drug = {"resourceType": "Medication", "id": "x", "code": concept(HYDROXO_INJECTION)}
    by_reference = request()
    del by_reference["medicationCodeableConcept"]

    def refer(to: str, **more: Any) -> Json:
        return by_reference | {"medicationReference": {"reference": to}} | more

    beside = {"Medication/x": drug, "urn:uuid:1": drug}.get
    hydroxo = [Ingredient.HYDROXOCOBALAMIN]
    assert ingredients(refer("#x", contained=[drug])) == hydroxo
    assert ingredients(refer("#x", contained=drug)) == hydroxo
    assert ingredients(refer("Medication/x"), resolve=beside) == hydroxo
    assert (
        ingredients(refer("https://host/fhir/Medication/x/_history/1"), resolve=beside) == hydroxo
    )
    assert ingredients(refer("urn:uuid:1"), resolve=beside) == hydroxo
    assert ingredients(refer("Medication/elsewhere"), resolve=beside) == []
    assert (
        ingredients(by_reference | {"medicationReference": {"display": "hydroxocobalamin"}}) == []
    )
    odd = drug | {"modifierExtension": [{"url": "x"}]}
    assert ingredients(refer("#x", contained=[odd])) == []


@pytest.mark.fault("D10")
def test_d10_of_concept_and_reference_the_concept_counts() -> None:
    drug = {"resourceType": "Medication", "id": "x", "code": concept(HYDROXO_INJECTION)}
    both = {"medicationReference": {"reference": "#x"}, "contained": [drug]}
    assert ingredients(request(concept(CYANO), **both)) == [Ingredient.CYANOCOBALAMIN]
    assert ingredients(request({"text": "amoxicillin"}, **both)) == []
    assert ingredients(request({"coding": []}, **both)) == [Ingredient.HYDROXOCOBALAMIN]


def test_an_r5_request_says_its_medicine_in_another_place() -> None:
    r5 = request()
    r5["medication"] = {"concept": r5.pop("medicationCodeableConcept")}
    assert ingredients(r5) == [Ingredient.HYDROXOCOBALAMIN]


def test_the_cyanide_antidote_is_told_apart() -> None:
    (order,) = read_orders(request(concept((RXNORM, "700496"))))
    assert (order.ingredient, order.antidote) == (Ingredient.HYDROXOCOBALAMIN, True)


@pytest.mark.fault("D13")
@pytest.mark.parametrize(
    ("medication", "found"),
    [
        (concept((ATC, "B03BA51")), [Ingredient.CYANOCOBALAMIN]),
        (concept((ATC, "B03BA53")), [Ingredient.HYDROXOCOBALAMIN]),
        (concept((ATC, "B03BB51")), [Ingredient.FOLIC_ACID]),
        (concept(CYANO, FOLIC), [Ingredient.CYANOCOBALAMIN, Ingredient.FOLIC_ACID]),
        (concept(CYANO, text="folic acid / pyridoxine / vitamin B12"), [Ingredient.CYANOCOBALAMIN]),
        (concept(CYANO, text="Multivitamin tablet"), [Ingredient.CYANOCOBALAMIN]),
    ],
)
def test_d13_a_combination_is_known_by_code_or_by_its_name(
    medication: Json, found: list[Ingredient]
) -> None:
    orders = read_orders(request(medication))
    assert [order.ingredient for order in orders] == found
    assert all(order.combination for order in orders)


GROUP = {"system": ATC, "code": "B03B", "display": "Vitamin B12 and folic acid"}


@pytest.mark.fault("D13")
@pytest.mark.parametrize(
    "medication",
    [
        concept(CYANO, text="Vitamin B12 1000 mcg tablet"),
        {"coding": [GROUP, *concept(CYANO)["coding"]], "text": "vitamin B12"},
        concept(FOLIC, text="Folic acid 5 mg tablets"),
    ],
    ids=["B12", "B12 with the name of its ATC group", "folic acid"],
)
def test_d13_one_vitamin_is_no_combination(medication: Json) -> None:
    assert [order.combination for order in read_orders(request(medication))] == [False]


def _of_ingredients(*items: Json) -> Order:
    drug = {"resourceType": "Medication", "id": "x", "ingredient": list(items)}
    resource = request(medicationReference={"reference": "#x"}, contained=[drug])
    del resource["medicationCodeableConcept"]
    return read_orders(resource)[0]


@pytest.mark.fault("D13")
def test_d13_active_ingredients_are_counted_and_carriers_are_not() -> None:
    b12: Json = {"itemCodeableConcept": concept(CYANO)}
    other = {"itemCodeableConcept": {"text": "pyridoxine"}}
    assert _of_ingredients(b12, other).combination
    assert not _of_ingredients(b12, other | {"isActive": False}).combination
    assert not _of_ingredients(
        b12, {"itemCodeableConcept": {"text": "Water for injections"}}
    ).combination
    assert not _of_ingredients(b12, b12).combination


@pytest.mark.fault("D38")
def test_d38_a_circle_of_references_ends() -> None:
    drug: Json = {"resourceType": "Medication", "id": "x"}
    drug["ingredient"] = [{"itemReference": {"reference": "#x"}}]
    drug["code"] = concept(CYANO)
    resource = request({}, medicationReference={"reference": "#x"}, contained=[drug] * 10_000)
    resource["medicationCodeableConcept"] = {}
    assert ingredients(resource) == [Ingredient.CYANOCOBALAMIN]


# --- dose -------------------------------------------------------------------------------------


@pytest.mark.fault("D14")
@pytest.mark.parametrize(
    "quantity",
    [
        {"value": 1, "unit": "mg", "system": UCUM, "code": "mg"},
        {"value": Decimal("1.0"), "unit": "MG"},
        {"value": 1000, "unit": "microgram", "system": UCUM, "code": "ug"},
        {"value": 1000, "unit": "mcg"},
        {"value": 1000, "unit": "µg"},
        {"value": 1000, "unit": "μg"},
        {"value": Decimal("0.001"), "unit": "g"},
        {"value": 1_000_000, "unit": "ng"},
        {"value": 1, "unit": "mL"},
        {"value": 1, "code": "mL", "system": UCUM},
    ],
)
def test_d14_one_dose_in_any_unit(quantity: Json) -> None:
    line = dosed(concept(HYDROXO_INJECTION), doseAndRate=[{"doseQuantity": quantity}])
    assert line.dose_ug == 1000


@pytest.mark.fault("D11", "D14")
@pytest.mark.parametrize(
    "dosage",
    [
        {"doseAndRate": {"doseQuantity": {"value": 1, "unit": "mg"}}},
        {"doseAndRate": [None, {"doseQuantity": {"value": 1, "unit": "mg"}}]},
        {"doseQuantity": {"value": 1, "unit": "mg"}},
        {
            "doseAndRate": [
                {
                    "doseRange": {
                        "low": {"value": 500, "unit": "ug"},
                        "high": {"value": 1000, "unit": "ug"},
                    }
                }
            ]
        },
        {
            "doseAndRate": [
                {"doseRange": {"low": {"value": 1, "unit": "ug"}, "high": {"value": 1000}}}
            ]
        },
    ],
)
def test_d11_d14_one_dose_in_any_place(dosage: Json) -> None:
    assert dosed(concept(HYDROXO_INJECTION), **dosage).dose_ug == 1000


@pytest.mark.fault("D14")
@pytest.mark.parametrize(
    ("medication", "quantity", "dose"),
    [
        (concept(CYANO_TABLET), {"value": 2, "unit": "tablet"}, 2000),
        (concept(CYANO_TABLET), {"value": 1, "code": "{pill}", "system": UCUM}, 1000),
        (concept(CYANO_TABLET), {"value": 1, "unit": "tablet(s)"}, 1000),
        (concept(CYANO_TABLET), {"value": 1}, 1000),
        (concept((RXNORM, "861113")), {"value": 1, "unit": "actuation"}, 500),
        (concept(CYANO, text="cyanocobalamin 1000 microgram/mL"), {"value": 1, "unit": "mL"}, 1000),
        (concept(CYANO, text="cyanocobalamin 1 mg/mL inj"), {"value": 2, "unit": "mL"}, 2000),
        (concept(CYANO, text="vitamin B12 10 mg/2 mL"), {"value": 1, "unit": "mL"}, 5000),
    ],
)
def test_d14_a_number_of_units_counts_by_the_strength_of_the_product(
    medication: Json, quantity: Json, dose: int
) -> None:
    assert dosed(medication, doseAndRate=[{"doseQuantity": quantity}]).dose_ug == dose


@pytest.mark.fault("D14")
@pytest.mark.parametrize(
    ("medication", "quantity"),
    [
        (concept(HYDROXO_INJECTION), {"value": 1000}),
        (concept(HYDROXO_INJECTION), {"value": 1, "unit": "ampoule"}),
        (concept(HYDROXO_INJECTION), {"value": 1000, "unit": "IU"}),
        (concept(HYDROXO_INJECTION), {"value": 1000, "unit": "furlong"}),
        (concept(HYDROXO_INJECTION), {"value": "1", "unit": "mg"}),
        (concept(HYDROXO_INJECTION), {"value": 0, "unit": "mg"}),
        (concept(HYDROXO_INJECTION), {"value": -1, "unit": "mg"}),
        (concept(HYDROXO_INJECTION), {"value": 1, "unit": "mg", "comparator": "<"}),
        (concept(HYDROXO_INJECTION), {"value": 1000, "unit": "mcg", "code": "mg", "system": UCUM}),
        (concept(CYANO_TABLET), {"value": 1000}),
        (concept(CYANO), {"value": 1, "unit": "mL"}),
        (concept(CYANO), {"value": 1, "unit": "tablet"}),
        (concept(CYANO, text="1.000 microgram/mL"), {"value": 1, "unit": "mL"}),
        (concept(CYANO, text="1,000 microgram/mL"), {"value": 1, "unit": "mL"}),
        (concept(HYDROXO_INJECTION), {"unit": "mg"}),
        (concept(HYDROXO_INJECTION), {}),
    ],
)
def test_d14_a_dose_that_cannot_be_computed_is_unknown(medication: Json, quantity: Json) -> None:
    assert dosed(medication, doseAndRate=[{"doseQuantity": quantity}]).dose_ug is None


@pytest.mark.fault("D14")
def test_d14_of_several_doses_the_greatest_counts() -> None:
    """ "ordered" 1 mg and "calculated" 1000 mg: one of the two may be a slip, and is seen."""
    rates = [{"doseQuantity": {"value": n, "unit": "mg"}} for n in (1, 1000)]
    for in_order in (rates, rates[::-1]):
        assert dosed(concept(HYDROXO_INJECTION), doseAndRate=in_order).dose_ug == 1_000_000
    both = {"doseAndRate": rates[:1], "doseQuantity": {"value": 1000, "unit": "mg"}}
    assert dosed(concept(HYDROXO_INJECTION), **both).dose_ug == 1_000_000


@pytest.mark.fault("D14")
def test_d14_the_strength_may_stand_in_the_ingredient() -> None:
    strength = {"numerator": {"value": 1, "unit": "mg"}, "denominator": {"value": 1, "unit": "mL"}}
    drug = {"resourceType": "Medication", "id": "x"}
    drug["ingredient"] = [{"itemCodeableConcept": concept(CYANO), "strength": strength}]  # type: ignore[assignment]
    resource = request(medicationReference={"reference": "#x"}, contained=[drug])
    del resource["medicationCodeableConcept"]
    resource["dosageInstruction"] = {"doseAndRate": {"doseQuantity": {"value": 1, "unit": "mL"}}}
    assert read_orders(resource)[0].dose_ug == 1000


# --- route ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "read"),
    [
        (concept((SNOMED, "78421000")), Route.INTRAMUSCULAR),
        (
            concept(("http://terminology.hl7.org/CodeSystem/v3-RouteOfAdministration", "IM")),
            Route.INTRAMUSCULAR,
        ),
        (concept(("http://terminology.hl7.org/CodeSystem/v2-0162", "IM")), Route.INTRAMUSCULAR),
        (concept((SNOMED, "34206005")), Route.SUBCUTANEOUS),
        (concept((SNOMED, "47625008")), Route.INTRAVENOUS),
        (concept((SNOMED, "26643006")), Route.ORAL),
        (concept((SNOMED, "37839007")), Route.SUBLINGUAL),
        (concept((SNOMED, "46713006")), Route.NASAL),
        ({"text": "I.M."}, Route.INTRAMUSCULAR),
        ({"text": "intramuscular injection"}, Route.INTRAMUSCULAR),
        ({"text": "Subcut"}, Route.SUBCUTANEOUS),
        ({"text": "IV infusion over 15 min"}, Route.INTRAVENOUS),
        ({"text": "by mouth"}, Route.ORAL),
        ({"text": "IM or SC"}, Route.PARENTERAL),
        (
            {"coding": [{"system": "urn:local", "code": "6", "display": "Intravenous push"}]},
            Route.INTRAVENOUS,
        ),
        ({"text": "IV or PO"}, Route.PARENTERAL),  # says nothing: the product does
        ({"text": "x" * 10_000}, Route.PARENTERAL),
        (None, Route.PARENTERAL),
    ],
)
def test_the_route_is_read_by_code_then_by_exact_words(route: Json | None, read: Route) -> None:
    assert dosed(concept(HYDROXO_INJECTION), route=route).route is read


@pytest.mark.parametrize(
    ("medication", "route"),
    [
        (concept((RXNORM, "5514")), Route.PARENTERAL),
        (concept(CYANO), Route.PARENTERAL),
        (concept(CYANO, text="Vitamin B12 tablet"), Route.ORAL),
        (concept(CYANO, text="Vitamin B12 sublingual lozenge"), Route.SUBLINGUAL),
        (concept(CYANO_TABLET), Route.ORAL),
        (concept((RXNORM, "237779")), Route.SUBLINGUAL),
        (concept((RXNORM, "861113")), Route.NASAL),
        (concept((RXNORM, "29421")), Route.UNKNOWN),
        (concept(FOLIC), Route.UNKNOWN),
    ],
)
def test_without_a_route_the_product_says_it(medication: Json, route: Route) -> None:
    assert read_orders(request(medication))[0].route is route


# --- the order --------------------------------------------------------------------------------


@pytest.mark.fault("D09")
@pytest.mark.parametrize(
    ("code", "form", "route"),
    [
        (CYANO, concept((SNOMED, "385055001")), Route.ORAL),  # a tablet
        (CYANO, concept((SNOMED, "421026006")), Route.ORAL),
        (CYANO, concept((SNOMED, "385049006")), Route.ORAL),  # a capsule
        (CYANO, concept((SNOMED, "385157007")), Route.NASAL),
        (CYANO, concept((SNOMED, "385219001")), Route.PARENTERAL),
        (CYANO, concept(("urn:local", "TAB"), (SNOMED, "385055001")), Route.ORAL),
        (CYANO, concept((SNOMED, "385055001"), text="solution for injection"), Route.ORAL),
        (CYANO, {"text": "Tablet"}, Route.ORAL),
        # A form that is not known, or two that contradict each other: perhaps tablets.
        (CYANO, concept(("urn:local", "TAB")), Route.UNKNOWN),
        (CYANO, concept(("urn:local", "385055001")), Route.UNKNOWN),
        (CYANO, {"text": "comprim\u00e9"}, Route.UNKNOWN),
        (CYANO, concept((SNOMED, "385055001"), (SNOMED, "385219001")), Route.UNKNOWN),
        (CYANO_TABLET, concept((SNOMED, "385219001")), Route.UNKNOWN),
        # The code of the product says more than its form.
        (CYANO_SUBLINGUAL, concept((SNOMED, "385055001")), Route.SUBLINGUAL),
        (CYANO_TABLET, concept(("urn:local", "TAB")), Route.ORAL),
        (CYANO, None, Route.PARENTERAL),  # picked as a substance
        (HYDROXO, concept(("urn:local", "AMP")), Route.PARENTERAL),  # there is no other form of it
    ],
)
@pytest.mark.parametrize("key", ["form", "doseForm"])
def test_without_a_route_the_form_of_the_product_says_it(
    code: tuple[str, str], form: Json | None, route: Route, key: str
) -> None:
    drug = {"resourceType": "Medication", "id": "x", "code": concept(code), key: form}
    inside = request(medicationReference={"reference": "#x"}, contained=[drug])
    beside = request(medicationReference={"reference": "Medication/x"})
    inside.pop("medicationCodeableConcept")
    beside.pop("medicationCodeableConcept")
    (order,) = read_orders(inside)
    assert order.route is route
    (order,) = read_orders(beside, resolve={"Medication/x": drug}.get)
    assert order.route is route


@pytest.mark.fault("D12")
@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"status": "draft"}, OrderStatus.DRAFT),
        ({"status": "active"}, OrderStatus.ACTIVE),
        ({"status": "on-hold"}, OrderStatus.ON_HOLD),
        ({"status": "completed"}, OrderStatus.COMPLETED),
        ({"status": "stopped"}, OrderStatus.STOPPED),
        ({"status": "cancelled"}, OrderStatus.STOPPED),
        ({"status": "ended"}, OrderStatus.STOPPED),
        ({"status": "active", "doNotPerform": True}, OrderStatus.STOPPED),
        ({"status": "active", "intent": "plan"}, OrderStatus.UNKNOWN),
        ({"status": "stopped", "intent": "plan"}, OrderStatus.STOPPED),
        ({"status": None}, OrderStatus.UNKNOWN),
        ({"status": ["active"]}, OrderStatus.UNKNOWN),
        ({"status": "unknown"}, OrderStatus.UNKNOWN),
    ],
)
def test_d12_statuses_of_the_record(more: Json, status: OrderStatus) -> None:
    assert [order.status for order in read_orders(request(**more))] == [status]


@pytest.mark.fault("D12")
def test_d12_an_order_entered_in_error_is_not_there() -> None:
    assert read_orders(request(status="entered-in-error")) == ()
    assert read_orders(request(status="entered-in-error"), in_session=True) == ()


@pytest.mark.fault("D11")
def test_d11_a_draft_without_status_or_intent_is_a_draft() -> None:
    draft = request(category={"text": "x"}, reasonCode={"text": "y"})
    del draft["status"], draft["intent"]
    (order,) = read_orders(draft, in_session=True, selected=True)
    assert (order.status, order.in_session, order.selected) == (OrderStatus.DRAFT, True, True)
    (planned,) = read_orders(request(status="draft", intent="plan"), in_session=True)
    assert planned.status is OrderStatus.DRAFT


def test_an_order_without_details_has_one_empty_line() -> None:
    (order,) = read_orders(request())
    assert order.lines == (DoseLine(route=Route.PARENTERAL),)
    assert order.record.reference == "MedicationRequest/m1"
    assert order.record.label == "hydroxocobalamin 1 MG/ML Injectable Solution"


@pytest.mark.fault("D15")
def test_d15_two_instructions_are_two_lines_in_their_sequence() -> None:
    def line(sequence: int, period: int) -> Json:
        repeat = {"frequency": 1, "period": period, "periodUnit": "mo"}
        return {"sequence": sequence, "timing": {"repeat": repeat}}

    (order,) = read_orders(request(dosageInstruction=[line(2, 3), line(1, 1)]))
    assert [one.schedule.period for one in order.lines if one.schedule] == [1, 3]


def _timed(**repeat: Any) -> list[Json]:
    return [{"timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "mo"} | repeat}}]


@pytest.mark.parametrize(
    ("more", "start", "end"),
    [
        ({"authoredOn": "2026-01-01"}, date(2026, 1, 1), None),
        (
            {
                "dosageInstruction": _timed(
                    boundsPeriod={"start": "2026-02-01", "end": "2026-07-31"}
                )
            },
            date(2026, 2, 1),
            date(2026, 7, 31),
        ),
        (
            {
                "authoredOn": "2026-01-01T23:30:00-05:00",
                "dosageInstruction": _timed(boundsDuration={"value": 14, "code": "d"}),
            },
            date(2026, 1, 1),
            date(2026, 1, 14),
        ),
        (
            {
                "authoredOn": "2026-01-15",
                "dosageInstruction": _timed(boundsDuration={"value": 6, "code": "mo"}),
            },
            date(2026, 1, 15),
            date(2026, 7, 14),
        ),
        (
            {
                "authoredOn": "2028-02-29",
                "dosageInstruction": _timed(boundsDuration={"value": 1, "code": "a"}),
            },
            date(2028, 2, 29),
            date(2029, 2, 27),
        ),
        (
            {
                "authoredOn": "9999-06-01",
                "dosageInstruction": _timed(boundsDuration={"value": 1, "code": "a"}),
            },
            date(9999, 6, 1),
            None,
        ),
        (
            {"dispenseRequest": {"validityPeriod": {"end": "2026-12-31"}}},
            None,
            None,  # no end of the treatment
        ),
        ({"authoredOn": "24:00"}, None, None),
    ],
)
def test_start_and_end_of_an_order(more: Json, start: date | None, end: date | None) -> None:
    (order,) = read_orders(request(**more))
    assert (order.start, order.record.on, order.end) == (start, start, end)


def test_an_order_with_one_open_ended_instruction_has_no_end() -> None:
    loading = _timed(boundsDuration={"value": 14, "code": "d"})
    (order,) = read_orders(request(authoredOn="2026-01-01", dosageInstruction=loading + _timed()))
    assert order.end is None


def test_renewals_groups_and_as_needed() -> None:
    (order,) = read_orders(
        request(
            priorPrescription={"reference": "https://host/fhir/MedicationRequest/7"},
            basedOn=[{"reference": "MedicationRequest/8"}, None, {"display": "x"}],
            groupIdentifier={"system": "urn:s", "value": "g"},
            dosageInstruction=[{"asNeededBoolean": True}],
        )
    )
    assert order.continues == {"MedicationRequest/7", "MedicationRequest/8"}
    assert order.group == "urn:s|g"
    assert order.as_needed


def test_a_preservative_free_product_is_known_by_code_only() -> None:
    (ampoule,) = read_orders(request(concept(("https://dmd.nhs.uk", "39111511000001100"))))
    (vial,) = read_orders(request())
    assert (ampoule.preserved, vial.preserved) == (False, True)


# --- statements and doses ---------------------------------------------------------------------


def test_a_statement_is_an_order_that_somebody_made() -> None:
    statement = {
        "resourceType": "MedicationStatement",
        "id": "s1",
        "status": "active",
        "medicationCodeableConcept": concept(CYANO_TABLET),
        "effectivePeriod": {"start": "2025-01"},
        "dosage": [{"doseAndRate": [{"doseQuantity": {"value": 1, "unit": "tablet"}}]}],
    }
    (order,) = read_statements(statement)
    assert (order.status, order.start, order.dose_ug) == (
        OrderStatus.ACTIVE,
        date(2025, 1, 1),
        1000,
    )
    (stopped,) = read_statements(statement | {"status": "not-taken"})
    assert stopped.status is OrderStatus.STOPPED
    assert stopped.forbids  # it was never taken
    (stopped,) = read_statements(statement | {"status": "completed", "taken": "n"})  # STU3
    assert stopped.forbids
    assert not order.forbids
    assert read_statements(statement | {"status": "entered-in-error"}) == ()
    assert read_statements(request()) == ()


def test_a_stated_substance_without_a_form_is_not_taken_for_an_injection() -> None:
    statement = {"resourceType": "MedicationStatement", "status": "active"}
    (order,) = read_statements(statement | {"medicationCodeableConcept": concept(CYANO)})
    assert order.route is Route.UNKNOWN


GIVEN: Json = {
    "resourceType": "MedicationAdministration",
    "id": "a1",
    "status": "completed",
    "medicationCodeableConcept": concept(HYDROXO_INJECTION),
    "effectiveDateTime": "2026-05-01",
    "dosage": {"route": concept((SNOMED, "78421000")), "dose": {"value": 1, "unit": "mg"}},
}


def test_a_dose_given() -> None:
    dose = read_administration(GIVEN)
    assert dose is not None
    assert (dose.on, dose.route, dose.dose_ug) == (date(2026, 5, 1), Route.INTRAMUSCULAR, 1000)
    assert not dose.supplied
    assert dose.record.reference == "MedicationAdministration/a1"


@pytest.mark.fault("D13")
@pytest.mark.parametrize(
    "more",
    [
        {"status": "not-done"},
        {"status": "entered-in-error"},
        {"status": None},
        {"notGiven": True},
        {"medicationCodeableConcept": concept(CYANO, FOLIC)},
        {"medicationCodeableConcept": concept((RXNORM, "700496"))},
        {"resourceType": "MedicationRequest"},
    ],
)
def test_d13_what_is_no_dose_of_treatment(more: Json) -> None:
    assert read_administration(GIVEN | more) is None


def test_a_dispense_is_supplied_not_given() -> None:
    dispense = {
        "resourceType": "MedicationDispense",
        "status": "completed",
        "medicationCodeableConcept": concept(CYANO_TABLET),
        "whenPrepared": "2026-05-01",
        "whenHandedOver": "2026-05-02",
    }
    dose = read_dispense(dispense)
    assert dose is not None
    assert (dose.on, dose.supplied, dose.dose_ug) == (date(2026, 5, 2), True, None)
    assert read_dispense(dispense | {"status": "cancelled"}) is None


# --- anything ---------------------------------------------------------------------------------

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    [
        *("status", "intent", "dosageInstruction", "dosage", "authoredOn", "priorPrescription"),
        *("groupIdentifier", "basedOn", "contained", "medicationReference", "dispenseRequest"),
        *("effectivePeriod", "medication", "id", "doNotPerform"),
    ]
)


@pytest.mark.fault("D11")
@settings(deadline=None)  # the first example loads what the others use
@given(st.dictionaries(FIELDS, ANY, max_size=6), ANY)
def test_d11_no_shape_of_a_resource_makes_a_reader_fail(fields: Json, dosage: object) -> None:
    odd = {"dosageInstruction": [{"timing": dosage, "route": dosage, "doseAndRate": dosage}]}
    read_orders(request(**odd), in_session=True)
    read_orders(request() | fields)
    for kind, read in (
        ("MedicationStatement", read_statements),
        ("MedicationAdministration", read_administration),
        ("MedicationDispense", read_dispense),
    ):
        read(request() | fields | {"resourceType": kind})


def test_three_thousand_requests_are_read_quickly() -> None:
    resources = [
        request(
            concept(CYANO_TABLET),
            dosageInstruction=_timed(boundsPeriod={"start": "2026-02-01"}),
        )
        for _ in range(3000)
    ]
    began = time.perf_counter()
    assert all(read_orders(resource) for resource in resources)
    assert time.perf_counter() - began < 3
