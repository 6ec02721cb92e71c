"""Which orders is the prescriber writing in this session, and which of them were just picked?

The drafts of `context.draftOrders` with what `context.selections` says of them. A draft of
another patient, or one with something in it that may change its meaning, is not used. Drafts are
kept as they were sent: an update gives them back whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from fhir_mappers.elements import (
    MAX_ID,
    Json,
    as_dict,
    as_list,
    dicts,
    has_unknown_modifier,
    reference_id,
    resource_ref,
    subject_is,
    text,
)
from fhir_mappers.medications import orders_of
from fhir_mappers.medicines import Medicine, Resolve, is_guarded, read_medicines
from regimen.facts import Ingredient, Order


@dataclass(frozen=True, slots=True)
class Draft:
    """An unsigned order as it was sent. `reference` is what an action or a record calls it;
    `restricted`: by its label, or by that of its medicine."""

    reference: str
    resource: Json
    selected: bool
    restricted: bool = False
    names: frozenset[str] = frozenset()  # by which a selection may name it

    @property
    def kind(self) -> str:
        return str(self.resource["resourceType"])


@dataclass(frozen=True, slots=True)
class Session:
    """The orders of a session that can be read.

    `orders`: vitamin B12 and folic acid. `others`: further medicines the protocol knows, such as
    an antifolate. `requests`: the ServiceRequests. One resource each, first come first kept.
    """

    drafts: tuple[Draft, ...] = ()
    orders: tuple[Order, ...] = ()
    others: tuple[Order, ...] = ()
    requests: tuple[Draft, ...] = ()
    elsewhere: bool = False  # an order of ours was picked that is not about this patient

    @property
    def ours_selected(self) -> bool:
        """Was one of the orders we advise on picked? The cyanide antidote is not one."""
        return any(order.selected and not order.antidote for order in self.orders)

    def draft(self, reference: str) -> Draft | None:
        """The MedicationRequest with this reference."""
        return next((one for one in self.drafts if one.reference == reference), None)


def read_session(draft_orders: object, selections: Iterable[Any], patient_id: str) -> Session:
    """What was drafted and picked. An odd Bundle is read as far as it goes, and never raises."""
    return DraftOrders(draft_orders, selections).session(patient_id)


class _Written(NamedTuple):
    """An entry as it was sent, and the names it goes by."""

    url: str
    resource: Json
    names: frozenset[str]
    selected: bool


class DraftOrders:
    """The drafts of a session, looked at in two steps: most calls end with the first."""

    def __init__(self, draft_orders: object, selections: Iterable[Any]) -> None:
        entries, picked = _entries(draft_orders), named_by(selections)
        self._resolve = _resolver(entries)
        self._medicines: dict[int, tuple[Medicine, ...]] = {}  # by the id of their draft
        named = [(url, resource, _names(url, resource)) for url, resource in entries]
        self._written = [_Written(*one, not picked.isdisjoint(one[2])) for one in named]

    @property
    def ours_picked(self) -> bool:
        """Was vitamin B12 or folic acid picked, for whichever patient? Told by the medicine."""
        return any(
            _is_ours(medicine.ingredient)
            for one in self._written
            if one.selected and one.resource["resourceType"] == "MedicationRequest"
            for medicine in self._medicines_of(one.resource)
        )

    def session(self, patient_id: str) -> Session:
        """All that was drafted for this patient, and what of it was picked."""
        found: dict[str, Draft] = {}
        strangers = []
        for url, resource, names, selected in self._written:
            if resource["resourceType"] not in ("MedicationRequest", "ServiceRequest"):
                continue
            one = Draft(
                reference=_reference(url, resource),
                resource=resource,
                selected=selected,
                restricted=is_guarded(resource, self._resolve),
                names=names,
            )
            if not subject_is(resource, patient_id):
                strangers.append(one)
            elif not has_unknown_modifier(resource):
                found.setdefault(one.reference, one)
        drafts = tuple(one for one in found.values() if one.kind == "MedicationRequest")
        requests = tuple(one for one in found.values() if one.kind == "ServiceRequest")
        orders = [order for draft in drafts for order in self._orders(draft)]
        return Session(
            drafts=drafts,
            orders=tuple(order for order in orders if _is_ours(order.ingredient)),
            others=tuple(order for order in orders if not _is_ours(order.ingredient)),
            requests=requests,
            elsewhere=any(
                _is_ours(order.ingredient)
                for one in strangers
                if one.selected and one.kind == "MedicationRequest"
                for order in self._orders(one)
            ),
        )

    def _medicines_of(self, resource: Json) -> tuple[Medicine, ...]:
        found = self._medicines.get(id(resource))
        if found is None:
            found = self._medicines[id(resource)] = read_medicines(resource, self._resolve)
        return found

    def _orders(self, draft: Draft) -> list[Order]:
        read = orders_of(
            draft.resource,
            self._medicines_of(draft.resource),
            in_session=True,
            selected=draft.selected,
        )
        return [
            replace(order, record=replace(order.record, reference=draft.reference))
            for order in read
        ]


def _entries(draft_orders: object) -> list[tuple[str, Json]]:
    """(fullUrl, resource) of the entries that have a resource."""
    found = []
    for entry in dicts(as_dict(draft_orders).get("entry")):
        resource = as_dict(entry.get("resource"))
        if text(resource.get("resourceType")):
            found.append((text(entry.get("fullUrl")) or "", resource))
    return found


def _reference(url: str, resource: Json) -> str:
    """Type and id; where there is no id, the URL of the entry."""
    reference = resource_ref(resource)
    return reference if "/" in reference or not url or len(url) > MAX_ID else url


def _is_ours(ingredient: Ingredient) -> bool:
    return ingredient.is_cobalamin or ingredient is Ingredient.FOLIC_ACID


# --- references -------------------------------------------------------------------------------


def named_by(selections: object) -> frozenset[str]:
    """Every way a selection can name a draft: as written, and as type and id."""
    names = set()
    for selection in as_list(list(selections) if isinstance(selections, tuple) else selections):
        written = text(selection)
        if written is None:
            continue
        names.add(written)
        named = reference_id(written)
        if named is not None and named[0]:
            names.add("/".join(named))
    return frozenset(names)


def _names(url: str, resource: Json) -> frozenset[str]:
    identifier = text(resource.get("id"))
    names = {url, f"{resource['resourceType']}/{identifier}", identifier} if identifier else {url}
    named = reference_id(url)
    if named is not None and named[0]:
        names.add("/".join(named))
    return frozenset(name for name in names if name)


def _resolver(entries: list[tuple[str, Json]]) -> Resolve:
    """Finds the Medications that were sent beside the drafts."""
    beside: dict[str, Json] = {}
    for url, resource in entries:
        if resource["resourceType"] == "Medication":
            for name in {url, resource_ref(resource)}:
                beside.setdefault(name, resource)
    return beside.get
