"""What an answer looks like, and that the check sees every way it can be wrong."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec
import pytest

from cds_service.hooks.response import (
    Action,
    Card,
    Coding,
    Link,
    Source,
    Suggestion,
    encode_cards,
)
from regimen.recommendation import Indicator
from tests.support.response_check import ResponseInvariant, check_response

TOPIC = Coding(code="regimen", system="http://127.0.0.1:8080/fhir/CodeSystem/card-topic")
SOURCE = Source(label="A guideline", url="https://guideline.example/b12", topic=TOPIC)
DRAFT = {"resourceType": "MedicationRequest", "id": "mr1", "status": "draft"}
UUID = "00000000-0000-4000-8000-00000000000"


def card(**changes) -> Card:
    fields = {"summary": "Do this", "indicator": Indicator.INFO, "source": SOURCE}
    return Card(**(fields | changes))


def full() -> dict:
    """A card with one of everything, as JSON to be spoiled by a test."""
    actions = (
        Action(type="update", description="Change", resource=DRAFT),
        Action(type="create", description="Add", resource=DRAFT),
        Action(type="delete", description="Remove", resource_id="MedicationRequest/mr2"),
    )
    suggestions = (
        Suggestion(label="Accept", is_recommended=True, actions=actions),
        Suggestion(label="Other"),
    )
    whole = card(
        detail="**Why.** Below 20 < 40, \\<b>",
        suggestions=suggestions,
        selection_behavior="at-most-one",
        override_reasons=(Coding(code="c", system="http://s", display="Because"),),
        links=(
            Link(label="More", url="https://guideline.example", type="absolute"),
            Link(label="App", url="https://app.example", type="smart", app_context="x"),
        ),
    )
    return json.loads(encode_cards([whole]))


def check(answer: dict) -> None:
    check_response(json.dumps(answer).encode())


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.requirement("MDL-01", "H2@77")
def test_nothing_to_say_is_an_empty_array():
    assert encode_cards(()) == b'{"cards":[]}'


@pytest.mark.requirement("H2@3")
def test_what_is_absent_is_not_written():
    (written,) = json.loads(encode_cards([card(uuid=UUID + "1")]))["cards"]
    assert written == {
        "summary": "Do this",
        "indicator": "info",
        "uuid": UUID + "1",
        "source": {
            "label": "A guideline",
            "url": "https://guideline.example/b12",
            "topic": {"code": TOPIC.code, "system": TOPIC.system},
        },
    }


def test_names_are_written_as_the_standard_spells_them():
    written = json.dumps(full())
    for name in (
        "selectionBehavior",
        "overrideReasons",
        "isRecommended",
        "resourceId",
        "appContext",
    ):
        assert f'"{name}"' in written


@pytest.mark.requirement("CI-01")
def test_a_resource_is_written_as_it_is_with_exact_numbers():
    resource = {"resourceType": "X", "a": Decimal("1.50"), "b": Decimal("1E+2"), "c": 7, "d": None}
    suggestion = Suggestion(
        label="l", actions=(Action(type="create", description="d", resource=resource),)
    )
    body = encode_cards([card(suggestions=(suggestion,), selection_behavior="any")])
    assert b'"resource":{"resourceType":"X","a":1.50,"b":1E+2,"c":7,"d":null}' in body


@pytest.mark.requirement("H2@80", "H2@119", "MDL-02")
def test_every_card_and_suggestion_has_a_uuid_of_its_own():
    uuids = {card().uuid, card().uuid, Suggestion(label="l").uuid, Suggestion(label="l").uuid}
    assert len(uuids) == 4


def test_an_answer_does_not_change_after_it_is_made():
    with pytest.raises(AttributeError):
        card().summary = "x"
    with pytest.raises(AttributeError):
        TOPIC.code = "x"


# --- the check ----------------------------------------------------------------------------------


def test_a_full_answer_passes():
    check(full())


def test_a_summary_of_139_characters_passes():
    check_response(encode_cards([card(summary="x" * 139)]))


def spoil(path: str, value: object = ...) -> dict:
    """The full answer with one element replaced, or removed."""
    answer = full()
    *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    place = answer
    for part in parents:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return answer


CARD, SUGGESTION = "cards.0", "cards.0.suggestions.0"
UPDATE, DELETE = f"{SUGGESTION}.actions.0", f"{SUGGESTION}.actions.2"


@pytest.mark.requirement("H2@74")
@pytest.mark.parametrize("answer", [[], {}, {"cards": {}}, {"cards": None}])
def test_an_answer_without_cards_is_refused(answer):
    with pytest.raises(ResponseInvariant):
        check(answer)


@pytest.mark.requirement(
    "H2@83", "H2@87", "H2@88", "H2@90", "H2@105", "H2@107", "H2@111", "H2@115", "H2@117",
    "H2@127", "H2@128", "H2@130", "H2@131", "H2@132", "H2@133", "H2@135", "H2@138", "H2@139",
    "H2@141", "H2@142", "H2@144", "H2@146", "H2@147", "H2@216", "H2@217", "H2@219", "CI-05",
    "CI-18", "CI-23", "cds-resp-1", "cds-resp-2", "cds-resp-3", "cds-resp-4", "cds-resp-5",
    "cds-resp-6", "cds-resp-7", "MDL-02", "MDL-03", "H2@3", "S2-07", "CI-21", "CRD2@77",
)  # fmt: skip
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("systemActions", []),
        ("extension", {"a": 1}),
        (f"{CARD}.summary", ...),
        (f"{CARD}.summary", "x" * 140),
        (f"{CARD}.summary", "😀" * 70),
        (f"{CARD}.summary", "a\u202eb"),
        (f"{CARD}.summary", "a\nb\u0000"),
        (f"{CARD}.indicator", ...),
        (f"{CARD}.indicator", "hard-stop"),
        (f"{CARD}.source", ...),
        (f"{CARD}.source.label", ...),
        (f"{CARD}.source.url", "/about"),
        (f"{CARD}.source.icon", "icon.png"),
        (f"{CARD}.source.topic", ...),
        (f"{CARD}.source.topic.code", "other"),
        (f"{CARD}.source.topic.system", ...),
        (f"{CARD}.source.topic.system", "http://other"),
        (f"{CARD}.uuid", ...),
        (f"{CARD}.uuid", "ABCDEF00-0000-4000-8000-000000000000"),
        (f"{CARD}.uuid", "urn:uuid:00000000-0000-4000-8000-000000000000"),
        (f"{CARD}.detail", "<b>bold</b>"),
        (f"{CARD}.detail", "see <https://x.example>"),
        (f"{CARD}.detail", "<!-- x -->"),
        (f"{CARD}.detail", "![x](https://x.example/x.png)"),
        (f"{CARD}.detail", ""),
        (f"{CARD}.detail", None),
        (f"{CARD}.links", []),
        (f"{CARD}.source.topic.display", ""),
        (f"{CARD}.unknown", "x"),
        (f"{CARD}.selectionBehavior", ...),
        (f"{CARD}.selectionBehavior", "all"),
        (f"{CARD}.suggestions", ...),
        (f"{CARD}.suggestions.1.isRecommended", True),
        (f"{SUGGESTION}.label", ...),
        (f"{SUGGESTION}.uuid", ...),
        (f"{SUGGESTION}.actionSelectionBehavior", "all"),
        (f"{SUGGESTION}.actions", []),
        (f"{UPDATE}.description", ...),
        (f"{UPDATE}.type", "merge"),
        (f"{UPDATE}.type", ...),
        (f"{UPDATE}.resource", ...),
        (f"{UPDATE}.resource.resourceType", ...),
        (f"{UPDATE}.resource.id", ...),
        (f"{UPDATE}.resourceId", "MedicationRequest/mr1"),
        (f"{DELETE}.resourceId", ...),
        (f"{DELETE}.resourceId", "mr2"),
        (f"{DELETE}.resource", "MedicationRequest/mr2"),
        (f"{CARD}.overrideReasons.0.display", ...),
        (f"{CARD}.overrideReasons.0.system", ...),
        (f"{CARD}.links.0.label", ...),
        (f"{CARD}.links.0.url", "guideline"),
        (f"{CARD}.links.0.url", "javascript:alert(1)"),
        (f"{CARD}.links.0.type", "relative"),
        (f"{CARD}.links.0.appContext", "x"),
    ],
)
def test_every_broken_rule_is_seen(path, value):
    with pytest.raises(ResponseInvariant):
        check(spoil(path, value))


def test_two_regimen_cards_are_refused():
    with pytest.raises(ResponseInvariant, match="regimen"):
        check_response(encode_cards([card(), card()]))


def test_a_uuid_used_twice_is_refused():
    other = msgspec.structs.replace(TOPIC, code="risk")
    pair = [
        card(uuid=UUID + "1"),
        card(uuid=UUID + "1", source=msgspec.structs.replace(SOURCE, topic=other)),
    ]
    with pytest.raises(ResponseInvariant, match="unique"):
        check_response(encode_cards(pair))


@pytest.mark.requirement("H2@122")
def test_several_recommended_suggestions_pass_with_any():
    suggestions = tuple(Suggestion(label=x, is_recommended=True) for x in "ab")
    check_response(encode_cards([card(suggestions=suggestions, selection_behavior="any")]))


def test_a_resource_is_not_looked_into():
    resource = DRAFT | {"note": [], "text": {"div": "<div>x</div>"}, "status": None}
    answer = spoil(f"{UPDATE}.resource", resource)
    check(answer)


def test_what_is_wrong_is_placed_and_not_quoted():
    with pytest.raises(ResponseInvariant) as caught:
        check(spoil(f"{CARD}.detail", "<b>Mrs Smith</b>"))
    assert "cards[0].detail" in str(caught.value)
    assert "Smith" not in str(caught.value)
