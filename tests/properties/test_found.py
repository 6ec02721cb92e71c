"""What the properties found once, at its smallest: does it stay mended?"""

from __future__ import annotations

import pytest

from tests.properties.test_less_data import without
from tests.support.cases import Json, ask, assertiveness, made_up, request_for, topics

INJECTION = "hydroxocobalamin injection"
FOLIC_ACID = {"what": "folic acid", "dose": "5 mg", "route": "PO", "timing": "daily"}
MAINTAINED = "loaded, on maintenance"


def less(request: Json, key: str) -> dict[str, str]:
    return topics(ask(without(request, [key])))


@pytest.mark.parametrize(
    ("record", "key"),
    [
        ({"procedures": [{"what": "total ileectomy"}]}, "procedures"),
        ({"history": MAINTAINED}, "medicationRequests"),
        ({}, "patient"),
    ],
)
def test_no_evidence_is_never_said_of_what_was_not_read(
    record: dict[str, object], key: str
) -> None:
    """An operation, injections, a child's age: each is a reason not to speak of no evidence."""
    request = request_for(made_up([{"what": INJECTION, "dose": "5 mg"}], record=record))
    assert "evidence" not in less(request, key)


@pytest.mark.parametrize(
    "order",
    [
        {"what": "cyanocobalamin injection", "route": "IV"},
        {"what": INJECTION, "route": "IM", "dose": "1000 mg"},
    ],
)
def test_a_correction_is_offered_but_not_recommended_where_allergies_are_unread(
    order: dict[str, str],
) -> None:
    request = request_for(made_up([order]))
    assert assertiveness(ask(request)).recommends
    partly = ask(without(request, ["allergies"]))
    assert not assertiveness(partly).recommends
    assert any(card.get("suggestions") for card in partly.cards)


@pytest.mark.parametrize("key", ["medicationAdministrations", "medicationRequests"])
def test_folic_acid_is_not_critical_where_b12_may_have_been_given(key: str) -> None:
    record = {"conditions": [{"what": "pernicious anaemia"}]}
    request = request_for(made_up([FOLIC_ACID], record=record))
    assert topics(ask(request))["folate"] == "critical"
    assert less(request, key)["folate"] == "warning"


def test_folic_acid_is_not_critical_where_a_pregnancy_was_not_read() -> None:
    """Total B12 falls in pregnancy without a deficiency."""
    record = {"results": [{"test": "B12", "value": "120 pg/mL"}]}
    pregnant = made_up([FOLIC_ACID], patient={"pregnant": True}, record=record)
    assert topics(ask(request_for(pregnant)))["folate"] == "warning"
    assert less(request_for(pregnant), "conditions")["folate"] == "warning"
