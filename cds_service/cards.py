"""How does advice become a card?

A Recommendation says what and why; here it gets its wording on the wire, its links and its actions
on the drafts of the session. Every sentence comes from the protocol; what is printed from the
record is escaped, so that no text of an EHR is ever markup.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final

from cds_service.hooks.response import (
    Action,
    Card,
    Coding,
    Link,
    SelectionBehavior,
    Source,
    Suggestion,
)
from fhir_mappers.drafts import Session
from fhir_mappers.elements import Json
from fhir_mappers.orders import (
    OrderContext,
    correct_draft,
    draft_medication_request,
    group_identifier,
    keep_order,
    lab_request,
    referral_request,
)
from regimen import words
from regimen.case import TEST_NAMES
from regimen.facts import Order
from regimen.protocol import Protocol
from regimen.recommendation import (
    Choice,
    CorrectDraft,
    KeepOrder,
    Line,
    OrderTests,
    Phase,
    PhaseName,
    PrescribeRegimen,
    Recommendation,
    Refer,
    RemoveDraft,
    Step,
    Topic,
)

SUMMARY_UNITS: Final = 139  # UTF-16 code units: the standard says fewer than 140
LABEL_UNITS: Final = 250
# What means something wherever it stands: signs, references to characters, addresses.
_MARKUP: Final = re.compile(
    r"([\\`*_\[\]<|~@]|&(?=#?\w+;)|:(?=//)|(?<=\bwww)\.)", re.ASCII | re.IGNORECASE
)
# What makes a line a heading, a quotation or a list.
_LEADING: Final = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=[#>+-]))", re.ASCII)
# Controls and bidirectional overrides could reorder or hide what a prescriber reads.
_UNPRINTABLE: Final = re.compile(
    "[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+"
)


@dataclass(frozen=True, slots=True)
class CardContext:
    """What cards need besides the advice: for whom, by whom, where we are, and the drafts."""

    session: Session
    patient_id: str
    user_id: str | None
    encounter_id: str | None
    today: date
    public_url: str
    protocol: Protocol


def cards_for(recommendations: Iterable[Recommendation], context: CardContext) -> tuple[Card, ...]:
    return tuple(card_for(r, context) for r in recommendations)


def card_for(r: Recommendation, context: CardContext) -> Card:
    suggestions = tuple(_suggestion(choice, context) for choice in r.choices)
    return Card(
        summary=clip(plain(r.summary), SUMMARY_UNITS),
        indicator=r.indicator,
        detail=detail(r, context),
        source=_source(r.topic, context.protocol, context.public_url),
        suggestions=suggestions,
        selection_behavior=_behavior(r) if suggestions else None,
        override_reasons=_reasons(r.override_reasons, context.protocol, context.public_url),
        links=_links(r.statements, context.protocol, context.public_url),
    )


def _behavior(r: Recommendation) -> SelectionBehavior:
    return "at-most-one" if r.exclusive else "any"


# --- texts ------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Text without controls or direction overrides, on one line."""
    return " ".join(_UNPRINTABLE.sub(" ", text).split())


def escaped(text: str) -> str:
    """Text that reads as it is written where GitHub Markdown and HTML are rendered."""
    return _LEADING.sub(r"\1\\", _MARKUP.sub(r"\\\1", plain(text)))


def clip(text: str, units: int) -> str:
    """At most `units` UTF-16 code units, an ellipsis in place of the rest."""
    if _units(text) <= units:
        return text
    while _units(text) > units - 1:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def source_label(protocol: Protocol) -> str:
    """Profile, version and, until a clinician has signed, that it is a draft."""
    known = protocol.knowledge
    status = " (draft)" if protocol.is_draft else ""
    return f"{known.title}: profile {protocol.profile}, version {known.version}{status}"


def detail(r: Recommendation, context: CardContext) -> str:
    """Why, what is not known, what is proposed, what else matters, and where it comes from."""
    sections = (
        _section("Why you see this", r.because),
        _section("Not known", r.unknown),
        _section("Proposed", r.proposal),
        _section("Also consider", r.remarks),
        _sources(r.statements, context.protocol),
        _footer(context.protocol, context.today),
    )
    return "\n\n".join(part for part in sections if part)


def _section(title: str, lines: tuple[Line, ...]) -> str:
    if not lines:
        return ""
    return "\n".join([f"**{title}**", "", *(f"- {escaped(_sourced(line))}" for line in lines)])


def _sourced(line: Line) -> str:
    """The sentence, and what kind of record it rests on."""
    kinds = dict.fromkeys(r.reference.partition("/")[0] for r in line.records)
    return f"{line.text} ({', '.join(kinds)})" if kinds else line.text


def footer(protocol: Protocol, today: date) -> str:
    known = protocol.knowledge
    status = "this protocol is a draft, no clinician has signed it"
    review = status if protocol.is_draft else f"approved by {known.clinical_approver}"
    overdue = "; review overdue" if protocol.review_overdue(today) else ""
    return (
        "Decision support for prescribers. Check the patient and current product information. "
        f"Profile {protocol.profile}, version {known.version}, reviewed {known.last_reviewed}: "
        f"{review}{overdue}."
    )


# --- what is the same on every card of a kind ---------------------------------------------------

# Made once for each protocol: nothing in it is about a patient.
_once = lru_cache(maxsize=512)


@_once
def _source(topic: Topic, protocol: Protocol, public_url: str) -> Source:
    return Source(
        label=source_label(protocol),
        url=f"{public_url}/about/protocol",
        topic=Coding(
            code=topic.value,
            system=f"{public_url}/fhir/CodeSystem/card-topic",
            display=topic.value,
        ),
    )


@_once
def _sources(statements: tuple[str, ...], protocol: Protocol) -> str:
    """The statements, each with the sources it was compared with, verified or not."""
    if not statements:
        return ""
    lines = []
    for key in statements:
        statement = protocol.statements[key]
        cited = [protocol.citations[c] for c in statement.citations]
        names = ", ".join(
            f"{c.publisher} {c.year}{'' if c.verified else ' (unverified)'}" for c in cited
        )
        lines.append(f"- {escaped(f'{key}: {statement.says}. {names}')}")
    return "\n".join(["**Where this comes from**", "", *lines])


@_once
def _footer(protocol: Protocol, today: date) -> str:
    return escaped(footer(protocol, today))


@_once
def _reasons(keys: tuple[str, ...], protocol: Protocol, public_url: str) -> tuple[Coding, ...]:
    local = f"{public_url}/fhir/CodeSystem/override-reason"
    reasons = (protocol.override_reasons[key] for key in keys)
    return tuple(
        Coding(
            code=reason.code,
            system=local if reason.system == "local" else reason.system,
            display=reason.display,
        )
        for reason in reasons
    )


@_once
def _links(statements: tuple[str, ...], protocol: Protocol, public_url: str) -> tuple[Link, ...]:
    page = f"{public_url}/about/protocol"
    links = [
        Link(label=f"Protocol statement {key}", url=f"{page}#{key}", type="absolute")
        for key in statements[:1]
    ]
    cited = [
        protocol.citations[c] for key in statements for c in protocol.statements[key].citations
    ]
    primary = next((c for c in cited if c.url), None)
    if primary is not None:
        title = f"{primary.publisher}: {primary.title}"
        links.append(Link(label=clip(title, LABEL_UNITS), url=primary.url, type="absolute"))
    return tuple(links or [Link(label="About this protocol", url=page, type="absolute")])


# --- suggestions ------------------------------------------------------------------------------


def _suggestion(choice: Choice, context: CardContext) -> Suggestion:
    orders = OrderContext(
        patient_id=context.patient_id,
        encounter_id=context.encounter_id,
        user_id=context.user_id,
        today=context.today,
        group_id=str(uuid.uuid4()),
    )
    actions = [action for step in choice.steps for action in _actions(step, context, orders)]
    return Suggestion(
        label=clip(plain(choice.label), LABEL_UNITS),
        is_recommended=choice.recommended,
        actions=tuple(actions),
    )


def _actions(step: Step, context: CardContext, orders: OrderContext) -> list[Action]:
    match step:
        case PrescribeRegimen():
            return _prescribe(step, context, orders)
        case CorrectDraft():
            return [_correct(step, context, orders)]
        case KeepOrder():
            draft, order = _draft(step.draft, context)
            kept = keep_order(draft, order, orders)
            return [Action(type="update", description="Keep this B12 order", resource=kept)]
        case RemoveDraft():
            return [Action(type="delete", description="Remove this order", resource_id=step.draft)]
        case OrderTests():
            return [_test(step, i, orders) for i in range(len(step.tests))]
        case Refer():
            resource = referral_request(step.specialty, orders, urgent=step.urgent)
            how = "Urgent referral to" if step.urgent else "Referral to"
            description = f"{how} {step.specialty.value}"
            return [Action(type="create", description=description, resource=resource)]


def _prescribe(step: PrescribeRegimen, context: CardContext, orders: OrderContext) -> list[Action]:
    """The first phase replaces the draft; the further ones are new orders of the same group."""
    draft = _draft(step.replaces, context)[0] if step.replaces else None
    group = group_identifier(draft, orders)
    actions = []
    for index, phase in enumerate(_phases(step)):
        own = draft if index == 0 else None
        resource = draft_medication_request(phase, draft=own, context=orders, group=group)
        if step.renews and own is None and phase.name is PhaseName.MAINTENANCE:
            resource.setdefault("priorPrescription", {"reference": step.renews})
        verb = "Add" if own is None else "Change this order to"
        actions.append(
            Action(
                type="create" if own is None else "update",
                description=f"{verb} {words.phase(phase)}",
                resource=resource,
            )
        )
    return actions


def _phases(step: PrescribeRegimen) -> tuple[Phase, ...]:
    if not step.skip_maintenance:
        return step.regimen.phases
    return tuple(p for p in step.regimen.phases if p is not step.regimen.maintenance)


def _correct(step: CorrectDraft, context: CardContext, orders: OrderContext) -> Action:
    draft, order = _draft(step.draft, context)
    changes = [
        *([f"product {step.product.name} {step.product.dose_words}"] if step.product else ()),
        *([f"dose {step.dose.dose_words}"] if step.dose and not step.product else ()),
        *([f"route {words.ROUTE_WORDS[step.route]}"] if step.route else ()),
    ]
    return Action(
        type="update",
        description=f"Change this order: {', '.join(changes)}",
        resource=correct_draft(draft, order, step, orders),
    )


def _test(step: OrderTests, index: int, orders: OrderContext) -> Action:
    test = step.tests[index]
    resource = lab_request(
        test, orders, urgent=step.urgent, every_months=step.every_months, note=step.note
    )
    every = f" every {step.every_months} months" if step.every_months else ""
    return Action(type="create", description=f"Order {TEST_NAMES[test]}{every}", resource=resource)


def _draft(reference: str, context: CardContext) -> tuple[Json, Order]:
    """The draft that advice speaks of, as sent and as read. Advice never names another."""
    draft = context.session.draft(reference)
    order = next(o for o in context.session.orders if o.record.reference == reference)
    if draft is None:
        raise LookupError("advice about an order that is not a draft of the session")
    return draft.resource, order
