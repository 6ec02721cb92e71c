"""What must every answer satisfy, and does this one say what its vignette expects?

`general_problems` holds for any answer of the service; `expectation_problems` compares one with a
vignette. Both return sentences, so that a failing test lists everything that is wrong at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

from tests.support import orders as suggested
from tests.support.regimens import (
    INTRAMUSCULAR,
    SUBCUTANEOUS,
    classify,
    dose_microgram,
    phases_match,
    product,
    route_code,
)
from tests.support.vignette import Expected, ExpectedCard, Words, word

Json = dict[str, Any]

INDICATORS = {
    "regimen": {"info", "warning"},
    "referral": {"warning"},
    "evidence": {"info", "warning"},
    "unavailable": {"info"},
    "risk": {"info"},
    "symptoms": {"info"},
    "route": {"info", "warning"},
    "ivroute": {"critical", "warning"},
    "dose": {"critical", "warning"},
    "folate": {"critical", "warning", "info"},
    "stop": {"critical", "warning", "info"},
    "duplicate": {"warning"},
    "allergy": {"critical", "warning"},
    "leber": {"critical", "warning"},
    "paediatric": {"info"},
    "pregnancy": {"info"},
    "potassium": {"warning"},
    "monitoring": {"info"},
}
URGENCY = ("critical", "warning", "info")
# Within one level of urgency. Topics not listed here may stand anywhere.
ORDER = [
    "dose",
    "ivroute",
    "allergy",
    "leber",
    "folate",
    "stop",
    "regimen",
    "referral",
    "route",
    "duplicate",
    "potassium",
    "symptoms",
    "pregnancy",
    "risk",
    "evidence",
    "paediatric",
]
MOST_NOT_CRITICAL = 3
LONGEST_SUMMARY = 139
TOPIC_SYSTEM = "/fhir/CodeSystem/card-topic"

_CARD_KEYS = frozenset(
    [
        "uuid",
        "summary",
        "detail",
        "indicator",
        "source",
        "suggestions",
        "selectionBehavior",
        "overrideReasons",
        "links",
        "extension",
    ]
)
_SUGGESTION_KEYS = frozenset({"label", "uuid", "isRecommended", "actions"})
_ACTION_KEYS = frozenset({"type", "description", "resource", "resourceId"})
_HTML = re.compile(r"</?[a-zA-Z!]|&(?:[a-z]+|#\d+);")
# "mcg/L" is a laboratory unit and stays; "ug" alone never stands for microgram.
_MICROGRAM = re.compile(r"\b(?:mcg|ug)\b(?!/)|[\u00b5\u03bc]g\b(?!/)", re.IGNORECASE)
_UNIT = r"(?:mg|microgram|g|mL|cm|mm|[munp]mol|[np]g|fL)\b"
_TRAILING_ZERO = re.compile(rf"\d\.\d*0 ?{_UNIT}")
_BARE_POINT = re.compile(rf"(?<!\d)\.\d+ ?{_UNIT}")
# ISMP's list, as far as it can occur here, and this project's own shorthand.
_ABBREVIATIONS = re.compile(
    r"\b(?:TIW2?|BIW|QOD|QD|OD|SC|SQ|IU|HS|cc|D/C|AD|HXB|CYB|DAILY10|M23|MMA1|PHASE|DEF)\b"
    r"|\b(?:q\.o\.d|q\.d|t\.i\.w|b\.i\.w|sub ?q)\b"
)
_NOT_CONFIRMED = ("not confirmed", "unconfirmed", "not yet confirmed", "not been confirmed")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and what was asked. `body` None: it was not JSON."""

    status: int
    content_type: str
    body: Any
    request: Json
    profile: str = "default"

    @property
    def cards(self) -> list[Json]:
        return list(self.body.get("cards", ())) if isinstance(self.body, dict) else []


# --- every answer -----------------------------------------------------------------------------


def general_problems(answer: Answer) -> list[str]:
    """Everything an answer with status 200 must satisfy."""
    if answer.status != 200 or answer.content_type != "application/json":
        return [f"status {answer.status}, content type {answer.content_type}"]
    if not isinstance(answer.body, dict) or answer.body.keys() != {"cards"}:
        return ["the body is not an object with `cards` only"]
    problems = [f"empty value at {where}" for where in _empty(answer.body, "answer")]
    problems += _order_problems(answer.cards)
    for number, card in enumerate(answer.cards):
        where = f"card {number} ({topic_of(card)})"
        problems += [f"{where}: {problem}" for problem in _card_problems(card, answer)]
    return problems + _repeated_uuids(answer.cards)


def error_problems(answer: Answer) -> list[str]:
    """A status other than 200 carries an OperationOutcome that says why."""
    body = answer.body
    if not isinstance(body, dict) or body.get("resourceType") != "OperationOutcome":
        return ["the body is not an OperationOutcome"]
    return [] if body.get("issue") else ["the OperationOutcome has no issue"]


def topic_of(card: Json) -> str:
    return str(card.get("source", {}).get("topic", {}).get("code", "no topic"))


def texts_of(card: Json) -> Iterator[str]:
    """Summary, detail, suggestion labels and action descriptions."""
    yield card.get("summary", "")
    yield card.get("detail", "")
    for suggestion in card.get("suggestions", ()):
        yield suggestion.get("label", "")
        yield from (action.get("description", "") for action in suggestion.get("actions", ()))


def _empty(value: Any, where: str) -> Iterator[str]:
    """Nulls and empty values, but not inside a FHIR resource: a draft may bring its own."""
    if value is None or value in ("", {}) or (value == [] and where != "answer.cards"):
        yield where
    elif isinstance(value, dict):
        for key, item in value.items():
            if key != "resource":
                yield from _empty(item, f"{where}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _empty(item, f"{where}[{number}]")


def _order_problems(cards: list[Json]) -> Iterator[str]:
    for one, other in pairwise(cards):
        if _rank(one) > _rank(other):
            yield f"{topic_of(one)} {one.get('indicator')} stands before {topic_of(other)}"
    for level in URGENCY:
        topics = [topic_of(c) for c in cards if c.get("indicator") == level]
        places = [ORDER.index(topic) for topic in topics if topic in ORDER]
        if places != sorted(places):
            yield f"{level} cards out of order: {', '.join(topics)}"
    if sum(topic_of(card) == "regimen" for card in cards) > 1:
        yield "more than one regimen card"
    if sum(card.get("indicator") != "critical" for card in cards) > MOST_NOT_CRITICAL:
        yield f"more than {MOST_NOT_CRITICAL} cards that are not critical"


def _rank(card: Json) -> int:
    indicator = card.get("indicator")
    return URGENCY.index(indicator) if indicator in URGENCY else len(URGENCY)


def _repeated_uuids(cards: list[Json]) -> list[str]:
    found = [c.get("uuid") for c in cards]
    found += [s.get("uuid") for c in cards for s in c.get("suggestions", ())]
    return [] if len(found) == len(set(found)) else ["a uuid occurs twice"]


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False


def _card_problems(card: Json, answer: Answer) -> Iterator[str]:
    if unknown := card.keys() - _CARD_KEYS:
        yield f"unknown field {', '.join(sorted(unknown))}"
    if not _is_uuid(card.get("uuid")):
        yield "no uuid"
    if not 0 < len(card.get("summary", "")) <= LONGEST_SUMMARY:
        yield f"summary of {len(card.get('summary', ''))} characters"
    if card.get("indicator") not in INDICATORS.get(topic_of(card), ()):
        yield f"indicator {card.get('indicator')} is not one of this topic"
    yield from _source_problems(card, answer.profile)
    for text in texts_of(card):
        yield from text_problems(text)
    yield from _suggestion_problems(card, answer)
    if any(not reason.get("display") for reason in card.get("overrideReasons", ())):
        yield "an override reason has no display"


def _source_problems(card: Json, profile: str) -> Iterator[str]:
    source = card.get("source", {})
    if not source.get("label"):
        yield "no source label"
    if not str(source.get("topic", {}).get("system", "")).endswith(TOPIC_SYSTEM):
        yield "the topic's system is not that of the contract"
    if not card.get("detail"):
        yield "no detail"
    said = f"{card.get('detail', '')}\n{source.get('label', '')}"
    if not re.search(rf"\b{re.escape(profile)}\b\W{{0,3}}(?:\w+\W{{1,3}}){{0,2}}v?\d", said):
        yield f"neither detail nor source label names profile {profile} and its version"
    if not re.search(r"\bdraft\b", said, re.IGNORECASE):
        yield "nothing says that the protocol is a draft"


def text_problems(text: str) -> Iterator[str]:
    """What must not stand in a text that a clinician reads."""
    for pattern, wrong in (
        (_HTML, "HTML"),
        (_MICROGRAM, "microgram not spelled out"),
        (_TRAILING_ZERO, "trailing zero"),
        (_BARE_POINT, "no zero before the point"),
        (_ABBREVIATIONS, "error-prone abbreviation"),
    ):
        if match := pattern.search(text):
            yield f"{wrong}: {text[max(0, match.start() - 20) : match.end() + 20]!r}"


def _suggestion_problems(card: Json, answer: Answer) -> Iterator[str]:
    suggestions = card.get("suggestions", [])
    behaviour = card.get("selectionBehavior")
    if bool(suggestions) != (behaviour is not None):
        yield "selectionBehavior must be there exactly when there are suggestions"
    if behaviour not in (None, "at-most-one", "any"):
        yield f"selectionBehavior {behaviour}"
    recommended = sum(s.get("isRecommended") is True for s in suggestions)
    if behaviour == "at-most-one" and recommended > 1:
        yield "more than one recommended suggestion"
    for suggestion in suggestions:
        label = suggestion.get("label", "without a label")
        for problem in _one_suggestion_problems(suggestion, answer):
            yield f"suggestion {label!r}: {problem}"


def _one_suggestion_problems(suggestion: Json, answer: Answer) -> Iterator[str]:
    if unknown := suggestion.keys() - _SUGGESTION_KEYS:
        yield f"unknown field {', '.join(sorted(unknown))}"
    if not suggestion.get("label"):
        yield "no label"
    if not _is_uuid(suggestion.get("uuid")):
        yield "no uuid"
    actions = suggestion.get("actions", [])
    if not actions:
        yield "no actions"
    for action in actions:
        if unknown := action.keys() - _ACTION_KEYS:
            yield f"unknown field {', '.join(sorted(unknown))}"
        if not action.get("description"):
            yield "an action has no description"
        yield from suggested.action_problems(action, answer.request)
    yield from suggested.group_problems(actions)
    for order in suggested.orders(suggestion):
        for line in order.get("dosageInstruction", ()):
            yield from text_problems(line.get("text", ""))


# --- one vignette -----------------------------------------------------------------------------


def expectation_problems(answer: Answer, expected: Expected) -> list[str]:
    """How the answer differs from what the vignette says must come back."""
    if answer.status not in expected.statuses:
        return [f"status {answer.status}, expected {expected.statuses}: {answer.body}"]
    if answer.status != 200:
        return [*error_problems(answer), *_word_problems(_all_text(answer), expected.words)]
    problems = list(_presence_problems(answer.cards, expected.cards))
    for card, wanted in _pairs(answer.cards, expected.cards):
        problems += [f"{wanted.topic}: {p}" for p in _content_problems(card, wanted, answer)]
    return [*problems, *_word_problems(_all_text(answer), expected.words)]


def _all_text(answer: Answer) -> str:
    """Text of the cards, or of the whole error."""
    if answer.status != 200:
        return str(answer.body).lower()
    return "\n".join(text for card in answer.cards for text in texts_of(card)).lower()


def _presence_problems(cards: list[Json], expected: Iterable[ExpectedCard]) -> Iterator[str]:
    wanted = {card.topic: card for card in expected}
    there = [topic_of(card) for card in cards]
    for topic in there:
        if topic not in wanted:
            card = next(c for c in cards if topic_of(c) == topic)
            yield f"unexpected {topic} {card.get('indicator')}: {card.get('summary')}"
    if repeated := {topic for topic in there if there.count(topic) > 1}:
        yield f"more than one card of {', '.join(sorted(repeated))}"
    for topic, expected_card in wanted.items():
        if not expected_card.optional and topic not in there:
            yield f"no {topic} card"


def _pairs(
    cards: list[Json], expected: Iterable[ExpectedCard]
) -> Iterator[tuple[Json, ExpectedCard]]:
    for wanted in expected:
        yield from ((card, wanted) for card in cards if topic_of(card) == wanted.topic)


def _content_problems(card: Json, wanted: ExpectedCard, answer: Answer) -> Iterator[str]:
    if card.get("indicator") not in wanted.indicators:
        yield f"is {card.get('indicator')}, expected {' or '.join(wanted.indicators)}"
    yield from _regimen_problems(card, wanted)
    yield from _correction_problems(card, wanted)
    yield from _removal_problems(card, wanted, answer)
    yield from _request_problems(card, wanted)


@dataclass(frozen=True, slots=True)
class _Offer:
    """A suggestion with a drug: its phases in short notation, in their order."""

    phases: tuple[str, ...]
    recommended: bool
    actions: tuple[str, ...]

    def __str__(self) -> str:
        return " then ".join(phase or "an order not recognised" for phase in self.phases)


def _offers(card: Json) -> list[_Offer]:
    offers = []
    for suggestion in card.get("suggestions", ()):
        actions = [a for a in suggestion["actions"] if suggested.is_medication(a)]
        if actions:
            phases = tuple(classify(a["resource"]) for a in actions)
            kinds = tuple(a["type"] for a in actions)
            offers.append(_Offer(phases, suggestion.get("isRecommended") is True, kinds))
    return offers


def _regimen_problems(card: Json, wanted: ExpectedCard) -> Iterator[str]:
    offers = _offers(card)
    if wanted.no_drug and offers:
        yield f"offers {offers[0]}, expected no order of a medicine"
    if wanted.regimen:
        yield from _settled_problems(offers, wanted)
    if wanted.choose:
        yield from _choice_problems(card, offers, wanted)
    if wanted.one_of:
        allowed = (*wanted.one_of, *wanted.may_offer)
        if not any(_is_one_of(offer, wanted.one_of) for offer in offers):
            yield f"offers none of {wanted.one_of}"
        yield from (f"also offers {o}" for o in offers if not _is_one_of(o, allowed))


def _is_one_of(offer: _Offer, regimens: Iterable[tuple[str, ...]]) -> bool:
    return any(phases_match(offer.phases, phases) for phases in regimens)


def _settled_problems(offers: list[_Offer], wanted: ExpectedCard) -> Iterator[str]:
    others = [offer for offer in offers if not phases_match(offer.phases, wanted.regimen)]
    found = [offer for offer in offers if offer not in others]
    if not found:
        yield f"offers {[str(o) for o in offers]}, expected {' then '.join(wanted.regimen)}"
    elif not (found[0].recommended or len(offers) == 1):
        yield f"{found[0]} is neither recommended nor the only order"
    for offer in found:
        yield from _shape_problems(offer)
    for phases in wanted.alternative:
        if not any(phases_match(other.phases, phases) for other in others):
            yield f"no alternative {' then '.join(phases)}"
    for other in others:
        if other.recommended:
            yield f"{other} is recommended"
        if not _is_one_of(other, (*wanted.alternative, *wanted.may_offer)):
            yield f"also offers {other}"


def _choice_problems(card: Json, offers: list[_Offer], wanted: ExpectedCard) -> Iterator[str]:
    for phases in wanted.choose:
        if not any(phases_match(offer.phases, phases) for offer in offers):
            yield f"does not offer {' then '.join(phases)}"
    for offer in offers:
        if not _is_one_of(offer, (*wanted.choose, *wanted.may_offer)):
            yield f"also offers {offer}"
        if offer.recommended:
            yield f"{offer} is recommended, expected none"
        yield from _shape_problems(offer)
    if len(wanted.choose) > 1 and card.get("selectionBehavior") != "at-most-one":
        yield "a choice must be at-most-one"


def _shape_problems(offer: _Offer) -> Iterator[str]:
    """The first phase updates the draft that was picked, the second is a new order."""
    if offer.actions[0] != "update" or "update" in offer.actions[1:]:
        yield f"{offer}: actions are {', '.join(offer.actions)}, expected an update, then creates"


def _correction_problems(card: Json, wanted: ExpectedCard) -> Iterator[str]:
    if not wanted.corrects:
        return
    resources = [
        action["resource"]
        for suggestion in card.get("suggestions", ())
        for action in suggestion["actions"]
        if suggested.is_medication(action) and action["type"] == "update"
    ]
    if not any(_is_corrected(resource, wanted.corrects) for resource in resources):
        yield f"no update of the draft to {dict(wanted.corrects)}"


_ROUTES = {"IM": {INTRAMUSCULAR}, "IM or SC": {INTRAMUSCULAR, SUBCUTANEOUS}}


def _is_corrected(order: Json, to: Mapping[str, str]) -> bool:
    is_right = {
        "route": route_code(order) in _ROUTES.get(to.get("route", "IM"), ()),
        "dose": f"{dose_microgram(order)} microgram" == to.get("dose"),
        "product": product(order) == to.get("product"),
    }
    return all(is_right[name] for name in to)


def _removal_problems(card: Json, wanted: ExpectedCard, answer: Answer) -> Iterator[str]:
    """What is deleted, and what is added beside the draft."""
    actions = [a for s in card.get("suggestions", ()) for a in s["actions"]]
    deleted = {a.get("resourceId", "") for a in actions if a["type"] == "delete"}
    medicines = [a for a in actions if suggested.is_medication(a)]
    created = {classify(a["resource"]) for a in medicines if a["type"] == "create"}
    for medicine in wanted.removes:
        if not deleted & suggested.drafts_of(medicine, answer.request):
            yield f"does not offer to remove {medicine}"
    for medicine in wanted.keeps:
        if deleted & suggested.drafts_of(medicine, answer.request):
            yield f"offers to remove {medicine}"
    yield from (f"does not add {phase}" for phase in wanted.adds if phase not in created)


def _request_problems(card: Json, wanted: ExpectedCard) -> Iterator[str]:
    codes = suggested.service_codes(card)
    for test in wanted.tests:
        if not codes & _codes_of("results", test):
            yield f"no order for {test}"
    if wanted.tests_any and not any(codes & _codes_of("results", t) for t in wanted.tests_any):
        yield f"no order for any of {', '.join(wanted.tests_any)}"
    for specialty in wanted.referrals:
        if not codes & suggested.REFERRAL_CODES[specialty]:
            yield f"no referral to {specialty}"


def _codes_of(section: str, name: str) -> frozenset[str]:
    """Codes an order for this test may carry: a B12 test may be the molar one."""
    names = (name, "B12 molar") if name == "B12" else (name,)
    return frozenset(code for n in names for key, code in word(section, n).items() if key != "text")


def _word_problems(text: str, words: Words) -> Iterator[str]:
    for group in words.groups:
        if not any(one.lower() in text for one in group):
            yield f"says none of {', '.join(map(repr, group))}"
    for one in words.never:
        if one.lower() in text:
            yield f"says {one!r}"
    if words.confirmed is not None:
        doubted = any(phrase in text for phrase in _NOT_CONFIRMED)
        if doubted == words.confirmed:
            yield "says that it is not confirmed" if doubted else "does not say: not confirmed"
