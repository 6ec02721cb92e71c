"""How must an answer look for this client, so that it does what the advice means?

Clients differ in which of the standard's liberties they support. Each profile is a pure function
of a card; `generic` leaves it as it is. Which cards a client gets is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from cds_service.hooks.response import Action, Card, Suggestion
from cds_service.tenants import ClientProfile, Tenant
from fhir_mappers.terminology import SYSTEMS

RXNORM: Final = SYSTEMS["rxnorm"]
#: The same codes under the name that Epic looks for.
RXNORM_OID: Final = "urn:oid:2.16.840.1.113883.6.88"


def fitted(cards: Iterable[Card], tenant: Tenant, ending: Collection[str] = ()) -> tuple[Card, ...]:
    """The cards in the shape of this tenant's client.

    `ending`: references of the drafts by which an order that runs is to be stopped.
    """
    shape = _SHAPES[tenant.client_profile]
    return tuple(shape(card, ending) for card in cards)


# --- the profiles -----------------------------------------------------------------------------


def _generic(card: Card, _ending: Collection[str]) -> Card:
    return card


def _epic(card: Card, ending: Collection[str]) -> Card:
    """Epic carries out one action a suggestion, changes no order, and knows RxNorm by its OID."""
    single = [
        _single(suggestion, action, first=number == 0)
        for suggestion in card.suggestions
        for number, action in enumerate(_without_updates(suggestion.actions, ending))
    ]
    return msgspec.structs.replace(
        card,
        suggestions=tuple(single),
        selection_behavior="any" if single else None,
    )


def _without_updates(actions: Iterable[Action], ending: Collection[str]) -> Iterator[Action]:
    """A changed draft is a new order, and the old one removed.

    A draft that ends an order is another thing: a new order would stand beside the one that runs,
    so it is only removed.
    """
    for action in actions:
        if action.type != "update" or action.resource is None:
            yield action
            continue
        reference = f"{action.resource['resourceType']}/{action.resource['id']}"
        if reference not in ending:
            new = {n: part for n, part in action.resource.items() if n not in ("id", "meta")}
            yield Action(type="create", description=action.description, resource=new)
        yield Action(type="delete", description=_REMOVED, resource_id=reference)


_REMOVED: Final = "Remove this order as it was"


def _single(suggestion: Suggestion, action: Action, *, first: bool) -> Suggestion:
    """A suggestion of one action. The first of several keeps the uuid: feedback finds it."""
    kept = {"uuid": suggestion.uuid} if first else {}
    alone = len(suggestion.actions) == 1 and first
    return Suggestion(
        label=suggestion.label if alone else action.description,
        is_recommended=suggestion.is_recommended,
        actions=(_with_codings(action, _with_oid),),
        **kept,
    )


def _sandbox(card: Card, _ending: Collection[str]) -> Card:
    """The reference sandbox takes the first coding for RxNorm, and stops at the first delete."""
    return _with_actions(
        card,
        lambda actions: [
            _with_codings(action, _rxnorm_first)
            for action in sorted(actions, key=lambda action: action.type == "delete")
        ],
    )


def _crd(card: Card, _ending: Collection[str]) -> Card:
    """Da Vinci CRD: what is deleted is replaced by another of its type in the same suggestion."""
    return _with_actions(
        card, lambda actions: [a for a in actions if a.type != "delete" or _replaced(a, actions)]
    )


def _replaced(action: Action, actions: Sequence[Action]) -> bool:
    kind = (action.resource_id or "").partition("/")[0]
    return any(
        other.type == "create" and (other.resource or {}).get("resourceType") == kind
        for other in actions
    )


def _with_actions(card: Card, change: Callable[[Sequence[Action]], list[Action]]) -> Card:
    """The card with the actions of each suggestion changed; one that is left with none goes."""
    suggestions = tuple(
        msgspec.structs.replace(suggestion, actions=tuple(actions))
        for suggestion in card.suggestions
        if (actions := change(suggestion.actions))
    )
    behavior = card.selection_behavior if suggestions else None
    return msgspec.structs.replace(card, suggestions=suggestions, selection_behavior=behavior)


_Codings = list[Any]


def _with_codings(action: Action, change: Callable[[_Codings], _Codings]) -> Action:
    """The action with the codings of its medicine changed; anything else is left as it is."""
    resource = action.resource or {}
    concept = resource.get("medicationCodeableConcept")
    codings = concept.get("coding") if isinstance(concept, Mapping) else None
    if not isinstance(concept, Mapping) or not isinstance(codings, list):
        return action
    medicine = {**concept, "coding": change(codings)}
    changed = {**resource, "medicationCodeableConcept": medicine}
    return msgspec.structs.replace(action, resource=changed)


def _is_of(coding: object, system: str) -> bool:
    return isinstance(coding, Mapping) and coding.get("system") == system


def _with_oid(codings: _Codings) -> _Codings:
    """Each RxNorm code also under its OID, once, right behind it."""
    known = {c.get("code") for c in codings if _is_of(c, RXNORM_OID)}
    result: _Codings = []
    for coding in codings:
        result.append(coding)
        if _is_of(coding, RXNORM) and coding.get("code") not in known:
            result.append({**coding, "system": RXNORM_OID})
    return result


def _rxnorm_first(codings: _Codings) -> _Codings:
    return sorted(codings, key=lambda coding: not _is_of(coding, RXNORM))


_SHAPES: Final[Mapping[ClientProfile, Callable[[Card, Collection[str]], Card]]] = {
    "generic": _generic,
    "epic": _epic,
    "sandbox": _sandbox,
    "crd": _crd,
}
