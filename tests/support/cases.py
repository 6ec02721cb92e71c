"""How is a patient made up on the spot turned into a call, and what of an answer counts?

A made-up patient is said in the words of a vignette, and written as FHIR by the same builder. Two
answers are compared by `essence` (what is advised, how urgently) or by `wording` (all of it).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from fhir_mappers.queries import prefetch_templates
from tests.support import orders as suggested
from tests.support.answers import Answer, topic_of
from tests.support.client import app_on, ask_app
from tests.support.hook_request import order_select
from tests.support.regimens import dose_microgram, product, route_code
from tests.support.vignette import Expected, Toml, Vignette

Json = dict[str, Any]

AS_OF = date(2026, 6, 15)
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})T[0-9:.+Z-]+")
_RANKS = ("info", "warning", "critical")


def made_up(
    orders: Iterable[Toml], *, patient: Toml | None = None, record: Toml | None = None
) -> Vignette:
    """A vignette that expects nothing: no file, no rule, only the facts."""
    return Vignette(
        id="X",
        title="made up",
        as_of=AS_OF,
        expected=Expected(),
        path=Path("made-up"),
        patient=patient or {},
        record=record or {},
        orders=tuple(orders),
    )


def request_for(vignette: Vignette) -> Json:
    return order_select(vignette, prefetch_templates())


def ask(request: Mapping[str, Any], day: date = AS_OF, profile: str = "default") -> Answer:
    return ask_app(app_on(day, profile), request, profile)


# --- what an answer comes to --------------------------------------------------------------------


def wording(answer: Answer) -> Any:
    """The whole answer, without what differs from call to call."""
    return _without_uuids(answer.body)


def _without_uuids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_uuids(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_uuids(item) for item in value]
    if isinstance(value, str):
        return _TIME.sub(r"\1", _UUID.sub("uuid", value))
    return value


def essence(answer: Answer) -> list[Any]:
    """Status, and of each card: topic, indicator, and what each suggestion would do."""
    return [
        answer.status,
        *([topic_of(c), c["indicator"], _suggestions(c)] for c in answer.cards),
    ]


def _suggestions(card: Json) -> list[Any]:
    return [
        [s.get("isRecommended", False), [_action(a) for a in s["actions"]]]
        for s in card.get("suggestions", ())
    ]


def _action(action: Json) -> tuple[object, ...]:
    resource = action.get("resource", {})
    if suggested.is_medication(action):
        dose = dose_microgram(resource)
        return action["type"], product(resource), route_code(resource), dose
    return action["type"], resource.get("code", {}).get("text", "")


@dataclass(frozen=True, slots=True)
class Assertiveness:
    """How far an answer goes. `rank`: of the most urgent card, -1 for none; a card that only says
    what was not read does not count."""

    rank: int
    recommends: bool
    says_no_evidence: bool

    def exceeds(self, other: Assertiveness) -> bool:
        return (
            self.rank > other.rank
            or self.recommends > other.recommends
            or self.says_no_evidence > other.says_no_evidence
        )


def assertiveness(answer: Answer) -> Assertiveness:
    cards = [c for c in answer.cards if topic_of(c) != "unavailable"]
    return Assertiveness(
        rank=max((_RANKS.index(c["indicator"]) for c in cards), default=-1),
        recommends=any(s.get("isRecommended") for c in cards for s in c.get("suggestions", ())),
        says_no_evidence=any(topic_of(c) == "evidence" for c in cards),
    )


def topics(answer: Answer) -> dict[str, str]:
    """Topic → indicator."""
    return {topic_of(card): card["indicator"] for card in answer.cards}


def offered_orders(answer: Answer) -> Iterator[Json]:
    """Every MedicationRequest that any suggestion of the answer creates or writes."""
    for card in answer.cards:
        for suggestion in card.get("suggestions", ()):
            yield from suggested.orders(suggestion)


def removed(answer: Answer) -> set[str]:
    """References of the drafts that some suggestion deletes."""
    return {
        action["resourceId"]
        for card in answer.cards
        for suggestion in card.get("suggestions", ())
        for action in suggestion["actions"]
        if action["type"] == "delete"
    }


# --- accepting ----------------------------------------------------------------------------------


def accepted(request: Json, suggestions: Iterable[Json]) -> Json:
    """The next call of a client in which the prescriber took these suggestions.

    An update replaces its draft, a delete removes it, a created order joins the drafts under an id
    of the client's and is selected.
    """
    after = copy.deepcopy(request)
    context = after["context"]
    drafts = {
        f"{e['resource']['resourceType']}/{e['resource']['id']}": e["resource"]
        for e in context["draftOrders"]["entry"]
    }
    picked = list(context["selections"])
    for number, action in enumerate(a for s in suggestions for a in s["actions"]):
        if action["type"] == "delete":
            drafts.pop(action["resourceId"], None)
            picked = [ref for ref in picked if ref != action["resourceId"]]
            continue
        resource = copy.deepcopy(action["resource"])
        if action["type"] == "create":
            resource["id"] = f"accepted-{number}"
            picked.append(f"{resource['resourceType']}/{resource['id']}")
        drafts[f"{resource['resourceType']}/{resource['id']}"] = resource
    context["draftOrders"]["entry"] = [{"resource": draft} for draft in drafts.values()]
    context["selections"] = picked
    return after
