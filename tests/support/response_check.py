"""Is this answer allowed? The standard's invariants (cds-resp-1 to -7), and our own contract."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from flask import Flask, Response, request

from cds_service.hooks.response import Card
from regimen.recommendation import Indicator, Topic


class ResponseInvariant(AssertionError):
    """An answer breaks a rule. Names the rule and the place, and quotes nothing."""


SUMMARY_LIMIT: Final = 140
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REFERENCE: Final = re.compile(r"[A-Za-z]+/[A-Za-z0-9_.\-]+")
_TOPIC_SYSTEM: Final = "/fhir/CodeSystem/card-topic"
# An escaped "\<" is text; "<" before a space or a digit is a comparison.
_HTML: Final = re.compile(r"(?<!\\)<[A-Za-z/!?]")
_IMAGE: Final = re.compile(r"!\[")
_CONTROL: Final = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_CARD_KEYS: Final = frozenset(Card.__struct_encode_fields__)


def checked(app: Flask) -> Flask:
    """Every answer to a hook call is held to the standard; what is no answer reaches the test."""
    app.testing = True

    @app.after_request
    def check(response: Response) -> Response:
        answered = request.endpoint == "cds.call" and request.method == "POST"
        if answered and response.status_code == 200:
            check_response(response.get_data())
        return response

    return app


def check_response(body: bytes) -> None:
    """Raise ResponseInvariant unless `body` is an answer that may be sent."""
    answer = msgspec.json.decode(body)
    _require(isinstance(answer, dict) and isinstance(answer.get("cards"), list), "cards", "array")
    _require(set(answer) == {"cards"}, "answer", "nothing but cards")
    for number, card in enumerate(answer["cards"]):
        where = f"cards[{number}]"
        _require(set(card) <= _CARD_KEYS, where, "known elements only")
        _check_no_blanks(card, where)
        _check_texts(card, where)
        _check_card(card, where)
    _check_uuids(answer["cards"])
    topics = [card["source"]["topic"]["code"] for card in answer["cards"]]
    _require(topics.count(Topic.REGIMEN) <= 1, "cards", "at most one regimen card")


def _require(holds: object, where: str, rule: str) -> None:
    if not holds:
        raise ResponseInvariant(f"{where}: {rule}")


def _check_card(card: dict[str, Any], where: str) -> None:
    summary = card.get("summary", "")
    # The standard counts characters; a client written in JavaScript counts UTF-16 units.
    units = len(summary.encode("utf-16-le")) // 2
    _require(0 < units < SUMMARY_LIMIT, f"{where}.summary", "fewer than 140 characters")
    _require(card.get("indicator") in set(Indicator), f"{where}.indicator", "a known word")
    _check_source(card.get("source", {}), f"{where}.source")
    for place, suggestion in _each(card, "suggestions", where):
        _check_suggestion(suggestion, place)
    _check_selection(card, where)
    for place, reason in _each(card, "overrideReasons", where):
        _require({"code", "system", "display"} <= set(reason), place, "cds-resp-4: display")
    for place, link in _each(card, "links", where):
        _check_link(link, place)


def _check_source(source: dict[str, Any], where: str) -> None:
    _require(source.get("label"), f"{where}.label", "required")
    for name in ("url", "icon"):
        if name in source:
            _require(_is_absolute(source[name]), f"{where}.{name}", "an absolute URL")
    topic = source.get("topic", {})
    _require(topic.get("code") in set(Topic), f"{where}.topic.code", "a card topic")
    system = topic.get("system", "")
    _require(system.endswith(_TOPIC_SYSTEM), f"{where}.topic.system", "the card topics")


def _check_selection(card: dict[str, Any], where: str) -> None:
    suggestions = card.get("suggestions", [])
    behavior = card.get("selectionBehavior")
    if not suggestions:
        _require(behavior is None, f"{where}.selectionBehavior", "only with suggestions")
        return
    known = behavior in ("at-most-one", "any")
    _require(known, f"{where}.selectionBehavior", "cds-resp-6: required with suggestions")
    recommended = sum(s.get("isRecommended", False) for s in suggestions)
    _require(behavior == "any" or recommended <= 1, where, "cds-resp-1: one is recommended")


def _check_suggestion(suggestion: dict[str, Any], where: str) -> None:
    _require(suggestion.get("label"), f"{where}.label", "required")
    # cds-resp-7: nothing is sent that a client may not know.
    _require("actionSelectionBehavior" not in suggestion, where, "cds-resp-7: not sent")
    for place, action in _each(suggestion, "actions", where):
        _check_action(action, place)


def _check_action(action: dict[str, Any], where: str) -> None:
    _require(action.get("description"), f"{where}.description", "cds-resp-5: required")
    match action.get("type"):
        case "create" | "update":
            resource = action.get("resource", {})
            _require(resource.get("resourceType"), f"{where}.resource", "a FHIR resource")
            _require("resourceId" not in action, where, "cds-resp-2: resourceId with delete only")
            new_or_known = action["type"] == "create" or resource.get("id")
            _require(new_or_known, f"{where}.resource.id", "an update names what it updates")
        case "delete":
            reference = action.get("resourceId", "")
            _require(_REFERENCE.fullmatch(reference), f"{where}.resourceId", "cds-resp-2: Type/id")
            _require("resource" not in action, where, "cds-resp-2: no resource with delete")
        case _:
            _require(False, f"{where}.type", "create, update or delete")  # noqa: FBT003


def _check_link(link: dict[str, Any], where: str) -> None:
    _require(link.get("label"), f"{where}.label", "required")
    _require(_is_absolute(link.get("url", "")), f"{where}.url", "an absolute URL")
    _require(link.get("type") in ("absolute", "smart"), f"{where}.type", "absolute or smart")
    smart = link.get("type") == "smart"
    _require(smart or "appContext" not in link, where, "cds-resp-3: appContext with smart only")


def _check_uuids(cards: list[dict[str, Any]]) -> None:
    uuids = [c.get("uuid", "") for c in cards]
    uuids += [s.get("uuid", "") for c in cards for s in c.get("suggestions", [])]
    _require(all(map(_UUID.fullmatch, uuids)), "uuid", "canonical, in lower case")
    _require(len(uuids) == len(set(uuids)), "uuid", "unique")


def _check_texts(card: dict[str, Any], where: str) -> None:
    for place, text in _texts(card, where):
        _require(not _CONTROL.search(text), place, "no control or direction characters")
    detail = card.get("detail", "")
    _require(not _HTML.search(detail), f"{where}.detail", "no HTML")
    _require(not _IMAGE.search(detail), f"{where}.detail", "no images")


def _check_no_blanks(value: object, where: str) -> None:
    """No null, "", [] or {}. A FHIR resource has rules of its own and is not looked into."""
    _require(value not in (None, "", [], {}), where, "must not be blank")
    for place, part in _parts(value, where):
        _check_no_blanks(part, place)


def _texts(value: object, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    for place, part in _parts(value, where):
        yield from _texts(part, place)


def _parts(value: object, where: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from ((f"{where}.{k}", v) for k, v in value.items() if k != "resource")
    elif isinstance(value, list):
        yield from ((f"{where}[{n}]", v) for n, v in enumerate(value))


def _each(parent: dict[str, Any], name: str, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, item in enumerate(parent.get(name, [])):
        yield f"{where}.{name}[{number}]", item


def _is_absolute(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)
