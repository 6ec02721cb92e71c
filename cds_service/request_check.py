"""What in this captured request is missing, odd or unreadable, key by key?

For the analyst who connects an EHR. It names elements, prefetch keys, resource types and counts,
and never a value: the report on a real request can be passed on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from cds_service.hooks.request import HookRequest, OrderSelectContext
from cds_service.prefetch import State, WrongPatient, read_prefetch
from fhir_mappers import elements as el
from fhir_mappers.drafts import Session, named_by, read_session
from fhir_mappers.elements import Json
from fhir_mappers.queries import BY_KEY, QUERIES
from fhir_mappers.terminology import canonical_system
from regimen.facts import Gap, GapKind

_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{1,40}")
#: Elements whose codings say how a resource stands, not what it is about.
_ADMINISTRATIVE: Final = {
    "category",
    "clinicalStatus",
    "identifier",
    "interpretation",
    "meta",
    "verificationStatus",
}
_GAP_WORDS: Final = {
    GapKind.SERVER_ERROR: "the client reports that the query, or a part of it, failed",
    GapKind.TRUNCATED: "only a first page was sent",
    GapKind.UNREADABLE: "entries that cannot be read",
    GapKind.OTHER_PATIENT: "relevant entries of another patient",
}


@dataclass(frozen=True, slots=True)
class Report:
    """`lines`: what was found. `remarks`: what to look at, each naming the element."""

    lines: tuple[str, ...]
    remarks: tuple[str, ...]

    def __str__(self) -> str:
        remarks = [f"  - {remark}" for remark in self.remarks] or ["  nothing"]
        return "\n".join([*self.lines, "", "to look at", *remarks])


@dataclass(frozen=True, slots=True)
class _Value:
    """One prefetch value: `answers`: our keys it serves, each with its state."""

    key: str
    answers: dict[str, State]
    types: Counter[str]
    relevant: int = 0
    foreign: int = 0
    codings: int = 0
    unknown_systems: int = 0
    gaps: tuple[Gap, ...] = ()
    wrong_patient: bool = False


def check_request(request: HookRequest, context: OrderSelectContext) -> Report:
    """The report on one order-select request that could be decoded."""
    session = read_session(context.draft_orders, context.selections, context.patient_id)
    values = [_value(k, raw, context.patient_id) for k, raw in (request.prefetch or {}).items()]
    missing = _unanswered(values)
    return Report(
        lines=(
            *_envelope(request, context, session),
            "",
            "prefetch" if values else "prefetch: none",
            *(f"  {line}" for value in values for line in _value_lines(value)),
            "",
            "would be fetched, where this client may be called back",
            *([f"  {key:26} {BY_KEY[key].template}" for key in missing] or ["  nothing"]),
        ),
        remarks=(
            *_envelope_remarks(request, context, session),
            *(remark for value in values for remark in _value_remarks(value)),
            *(f"prefetch.{key}: not supplied ({BY_KEY[key].need.value})" for key in missing),
        ),
    )


def _unanswered(values: Iterable[_Value]) -> list[str]:
    answered = {key for value in values for key in value.answers}
    return [query.key for query in QUERIES if query.key not in answered]


# --- the envelope -----------------------------------------------------------------------------


def _envelope(request: HookRequest, context: OrderSelectContext, session: Session) -> Iterator[str]:
    yield f"hook          {_known_hook(request)}"
    yield f"user          {_given(context.user_id)}"
    yield f"encounter     {_given(context.encounter_id)}"
    yield f"selections    {_selection_words(context, session)}"
    yield f"draft orders  {_types(_draft_types(context))}"
    ours = [order for order in session.orders if not order.antidote]
    yield f"ours          {len(ours)} for B12 or folic acid, selected {_count_selected(session)}"
    yield f"FHIR server   {_given(request.fhir_server)}"
    yield f"access token  {_given(request.fhir_authorization)}"


def _envelope_remarks(
    request: HookRequest, context: OrderSelectContext, session: Session
) -> Iterator[str]:
    if request.hook != "order-select":
        yield "hook: not order-select, so the service would answer 400"
    if not context.user_id:
        yield "context.userId: missing; tolerated, suggested orders may then have no requester"
    if context.draft_orders is None:
        yield "context.draftOrders: missing or not a Bundle, so there is nothing to advise on"
    lost = len(context.selections) - _found(context, session)
    if not context.selections:
        yield "context.selections: missing or empty, so there is nothing to advise on"
    elif lost:
        yield f"context.selections: {lost} of {len(context.selections)} name no draft order"
    unusable = _draft_types(context)["MedicationRequest"] - len(session.drafts)
    if unusable:
        yield f"context.draftOrders: {unusable} MedicationRequest(s) foreign or unreadable"
    if not session.ours_selected:
        yield "no selected draft is recognised as B12 or folic acid: the answer is no cards"
    if request.prefetch is None:
        yield "prefetch: missing or not an object"


def _count_selected(session: Session) -> int:
    return sum(order.selected and not order.antidote for order in session.orders)


def _known_hook(request: HookRequest) -> str:
    return request.hook if request.hook == "order-select" else "another"


def _given(value: object) -> str:
    return "given" if value else "missing"


def _selection_words(context: OrderSelectContext, session: Session) -> str:
    found = _found(context, session)
    return f"{len(context.selections)}, of which {found} name a draft order"


def _found(context: OrderSelectContext, session: Session) -> int:
    """How many selections name a draft order that can be used."""
    names = {name for draft in (*session.drafts, *session.requests) for name in draft.names}
    return sum(not names.isdisjoint(named_by((one,))) for one in context.selections)


def _draft_types(context: OrderSelectContext) -> Counter[str]:
    entries = el.dicts(el.as_dict(context.draft_orders).get("entry"))
    return Counter(_type_of(el.as_dict(entry.get("resource"))) for entry in entries)


# --- one prefetch value -----------------------------------------------------------------------


def _value(key: str, raw: msgspec.Raw, patient_id: str) -> _Value:
    resources = _resources(raw)
    types = Counter(_type_of(resource) for resource in resources)
    try:
        read = read_prefetch({key: raw}, patient_id)
    except WrongPatient:
        return _Value(key, {}, types, wrong_patient=True)
    codings = [coding for resource in resources for coding in _codings(resource)]
    return _Value(
        key=key,
        answers={k: state for k, state in read.states.items() if state is not State.ABSENT},
        types=types,
        relevant=sum(map(len, read.resources.values())),
        foreign=sum(not el.subject_is(resource, patient_id) for resource in resources),
        codings=len(codings),
        unknown_systems=sum(canonical_system(c.get("system")) is None for c in codings),
        gaps=tuple(gap for gap in read.gaps if gap.kind is not GapKind.NOT_SUPPLIED),
    )


def _resources(raw: msgspec.Raw) -> list[Json]:
    """The resources of a value, as far as they can be decoded."""
    try:
        value = el.as_dict(msgspec.json.decode(raw))
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return []
    if value.get("resourceType") != "Bundle":
        return [value] if value else []
    return [el.as_dict(entry.get("resource")) for entry in el.dicts(value.get("entry"))]


def _type_of(resource: Json) -> str:
    """The type, if it looks like one: what stands there otherwise is not printed."""
    kind = resource.get("resourceType")
    return kind if isinstance(kind, str) and _TYPE.fullmatch(kind) else "no type"


def _codings(resource: Json) -> Iterator[Json]:
    """Every coding with a code that says what the resource is about, however deep."""
    open_parts: list[object] = [resource]
    while open_parts:
        part = open_parts.pop()
        if isinstance(part, dict):
            yield from (c for c in el.dicts(part.get("coding")) if c.get("code"))
            open_parts.extend(v for k, v in part.items() if k not in _ADMINISTRATIVE)
        elif isinstance(part, list):
            open_parts.extend(part)


def _value_lines(value: _Value) -> Iterator[str]:
    yield f"{_printable(value.key):26} {_state_words(value)}"
    if value.types:
        yield f"{'':26} entries: {_types(value.types)}"
        yield f"{'':26} relevant to the protocol: {value.relevant}"
    if value.foreign:
        yield f"{'':26} of another patient: {value.foreign}"
    if value.codings:
        yield f"{'':26} codings: {value.codings}, of unknown code systems: {value.unknown_systems}"


def _state_words(value: _Value) -> str:
    if value.wrong_patient:
        return "another patient"
    if not value.answers:
        return "nothing that can be used"
    own = value.answers.get(value.key)
    if own is not None and len(value.answers) == 1:
        return own.value
    return ", ".join(f"{state.value} for {key}" for key, state in value.answers.items())


def _value_remarks(value: _Value) -> Iterator[str]:
    where = f"prefetch.{_printable(value.key)}"
    if value.wrong_patient:
        yield f"{where}: not the patient of the context, so the service would answer 412"
    elif not value.answers:
        yield f"{where}: nothing that can be used"
    elif value.key in BY_KEY and value.key not in value.answers:
        yield f"{where}: holds the answer to {', '.join(value.answers)}"
    for gap in value.gaps:
        yield f"{where}: {_GAP_WORDS[gap.kind]} ({gap.subject.value}, {gap.count})"
    if value.codings and value.unknown_systems == value.codings:
        yield f"{where}: no coding is of a code system that is known"


def _types(types: Counter[str]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(types.items())) or "none"


def _printable(key: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in key[:60])
