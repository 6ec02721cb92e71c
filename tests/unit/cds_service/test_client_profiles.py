"""Each client's shape of an answer, and that the advice stays the same."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest

from cds_service.client_profiles import RXNORM, RXNORM_OID, fitted
from cds_service.hooks.response import (
    Action,
    Card,
    Coding,
    Source,
    Suggestion,
    encode_cards,
)
from cds_service.tenants import Tenant
from regimen.recommendation import Indicator
from tests.support.response_check import check_response

LOCAL = {"system": "urn:oid:1.2.3", "code": "B12"}


def order(*codings: dict, kind: str = "MedicationRequest") -> dict:
    return {
        "resourceType": kind,
        "id": "mr1",
        "medicationCodeableConcept": {"text": "B12", "coding": list(codings)},
    }


def rxnorm(code: str = "1") -> dict:
    return {"system": RXNORM, "code": code, "display": "Hydroxocobalamin"}


def update(*codings: dict) -> Action:
    return Action(type="update", description="Change", resource=order(*codings or (rxnorm(),)))


def create(*codings: dict, kind: str = "MedicationRequest") -> Action:
    new = order(*codings or (rxnorm("2"),), kind=kind)
    del new["id"]
    return Action(type="create", description="Add", resource=new)


def delete(kind: str = "MedicationRequest") -> Action:
    return Action(type="delete", description="Remove", resource_id=f"{kind}/mr1")


def card(*suggestions: tuple[Action, ...], behavior: str = "at-most-one") -> Card:
    return Card(
        summary="A card",
        indicator=Indicator.WARNING,
        source=Source(
            label="s",
            topic=Coding(
                code="regimen", system="https://x.example/fhir/CodeSystem/card-topic", display="r"
            ),
        ),
        suggestions=tuple(
            Suggestion(label=f"Choice {n}", is_recommended=n == 1, actions=actions)
            for n, actions in enumerate(suggestions, start=1)
        ),
        selection_behavior=behavior if suggestions else None,
    )


def shaped(profile: str, one: Card, ending: Sequence[str] = ()) -> Card:
    (result,) = fitted([one], Tenant(id="t", client_profile=profile), ending)
    return result


def kinds(one: Card) -> list[list[str]]:
    return [[action.type for action in suggestion.actions] for suggestion in one.suggestions]


def codings(action: Action) -> list[dict]:
    return action.resource["medicationCodeableConcept"]["coding"]


def test_generic_leaves_a_card_as_it_is():
    one = card((update(), create()), (delete(),))
    assert shaped("generic", one) is one


@pytest.mark.parametrize("profile", ["generic", "epic", "sandbox", "crd"])
@pytest.mark.parametrize(
    "actions", [(), ((update(), create()),), ((delete(),),), ((delete(), create()), (update(),))]
)
def test_every_shape_is_an_answer_that_may_be_sent(profile, actions):
    check_response(encode_cards([shaped(profile, card(*actions))]))


@pytest.mark.parametrize("profile", ["epic", "sandbox", "crd"])
def test_a_card_is_not_changed_in_place(profile):
    one = card((delete(), update(LOCAL, rxnorm())))
    before = copy.deepcopy(one)
    shaped(profile, one)
    assert one == before


def test_epic_gets_one_action_a_suggestion_any_of_them():
    one = card((create(), create(kind="ServiceRequest")), (create(),))
    result = shaped("epic", one)
    assert kinds(result) == [["create"], ["create"], ["create"]]
    assert result.selection_behavior == "any"
    assert [s.label for s in result.suggestions] == ["Add", "Add", "Choice 2"]
    assert [s.is_recommended for s in result.suggestions] == [True, True, False]
    assert result.suggestions[0].uuid == one.suggestions[0].uuid
    assert len({s.uuid for s in result.suggestions}) == 3


def test_epic_changes_no_order_so_a_new_one_comes_and_the_old_one_goes():
    one = card((update(),))
    result = shaped("epic", one)
    assert kinds(result) == [["create"], ["delete"]]
    new, old = (suggestion.actions[0] for suggestion in result.suggestions)
    assert new.resource == {
        "resourceType": "MedicationRequest",
        "medicationCodeableConcept": {
            "text": "B12",
            "coding": [rxnorm(), rxnorm() | {"system": RXNORM_OID}],
        },
    }
    assert old.resource_id == "MedicationRequest/mr1"
    assert [s.label for s in result.suggestions] == ["Choice 1", "Remove this order as it was"]
    assert [s.is_recommended for s in result.suggestions] == [True, True]
    assert result.suggestions[0].uuid == one.suggestions[0].uuid


def test_for_epic_an_order_that_would_be_stopped_goes_on_and_gets_no_second_beside_it():
    result = shaped("epic", card((update(),)), ending=["MedicationRequest/mr1"])
    assert kinds(result) == [["delete"]]
    assert result.suggestions[0].actions[0].resource_id == "MedicationRequest/mr1"


def test_epic_finds_each_rxnorm_code_by_its_oid_too_and_once():
    result = shaped("epic", card((create(rxnorm("1"), LOCAL, rxnorm("2")),)))
    assert [(c["system"], c["code"]) for c in codings(result.suggestions[0].actions[0])] == [
        (RXNORM, "1"),
        (RXNORM_OID, "1"),
        (LOCAL["system"], LOCAL["code"]),
        (RXNORM, "2"),
        (RXNORM_OID, "2"),
    ]
    assert shaped("epic", result).suggestions[0].actions == result.suggestions[0].actions


def test_the_sandbox_finds_rxnorm_first_and_a_delete_last():
    result = shaped("sandbox", card((delete(), update(LOCAL, rxnorm()), create())))
    assert kinds(result) == [["update", "create", "delete"]]
    assert codings(result.suggestions[0].actions[0]) == [rxnorm(), LOCAL]


def test_crd_deletes_only_what_it_replaces():
    kept = card((delete(), create()))
    assert kinds(shaped("crd", kept)) == [["delete", "create"]]
    other_type = card((delete(), create(kind="ServiceRequest")))
    assert kinds(shaped("crd", other_type)) == [["create"]]
    replaced_by_update = card((delete(), update()))
    assert kinds(shaped("crd", replaced_by_update)) == [["update"]]
    alone = shaped("crd", card((delete(),)))
    assert (alone.suggestions, alone.selection_behavior) == ((), None)
    assert alone.summary == "A card"


@pytest.mark.parametrize("profile", ["epic", "sandbox"])
def test_what_has_no_codes_is_left_alone(profile):
    referral = Action(
        type="create", description="Refer", resource={"resourceType": "ServiceRequest"}
    )
    text_only = Action(
        type="create",
        description="Add",
        resource={
            "resourceType": "MedicationRequest",
            "medicationCodeableConcept": {"text": "B12"},
        },
    )
    result = shaped(profile, card((referral, text_only)))
    assert [a for s in result.suggestions for a in s.actions] == [referral, text_only]
