"""A prescriber picked an order: is there anything to say about it?

Relevance first: whether one of the selected drafts is ours is known from the context alone, and
nothing else is read if not.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from cds_service import logs, metrics
from cds_service.cards import CardContext, cards_for
from cds_service.client_profiles import fitted
from cds_service.errors import DataUnavailable, InvalidElement
from cds_service.hooks.request import HookRequest, OrderSelectContext
from cds_service.hooks.response import Answer
from cds_service.prefetch import WrongPatient, read_prefetch
from cds_service.services import Services
from fhir_mappers.drafts import DraftOrders, Session
from fhir_mappers.queries import QUERIES
from fhir_mappers.record import read_facts
from regimen.case import ENDS
from regimen.facts import PatientFacts
from regimen.recommend import Evaluation, evaluate


@dataclass(frozen=True, slots=True)
class Explained:
    """An answer with everything it was made from, for `b12-cds evaluate --explain`."""

    answer: Answer
    facts: PatientFacts | None = None
    evaluation: Evaluation | None = None


def answer(context: OrderSelectContext, request: HookRequest, services: Services) -> Answer:
    """The cards. Raises DataUnavailable (412) when nothing can be said without what is missing."""
    return explained(context, request, services).answer


def explained(context: OrderSelectContext, request: HookRequest, services: Services) -> Explained:
    drafts = DraftOrders(context.draft_orders, context.selections)
    if not drafts.ours_picked:
        return Explained(Answer())
    session = drafts.session(context.patient_id)
    if session.elsewhere:  # an empty answer would read as "looked, nothing to add"
        raise InvalidElement("context.draftOrders", "a selected order is not about this patient")
    if not session.ours_selected:
        return Explained(Answer())
    facts = _read(context, request, session, services)
    evaluation = evaluate(facts, services.protocol)
    _report(evaluation)
    if evaluation.undecidable and services.tenant.missing_data == "412":
        # CDS Hooks 2.0: 412 when required data can be neither read nor fetched.
        raise DataUnavailable([q.key for q in QUERIES if facts.unread(q.subject)])
    cards = cards_for(
        evaluation.recommendations,
        CardContext(
            session=session,
            patient_id=context.patient_id,
            user_id=context.user_id,
            encounter_id=context.encounter_id,
            today=facts.as_of,
            public_url=services.public_url,
            protocol=services.protocol,
        ),
    )
    topics = tuple(r.topic for r in evaluation.recommendations)
    ending = {order.record.reference for order in session.orders if order.status in ENDS}
    cards = fitted(cards, services.tenant, ending)
    answer = Answer(
        cards=cards,
        topics=topics,
        gaps=facts.gaps,
        rules=tuple(r.rule for r in evaluation.recommendations),
        outcomes=evaluation.outcomes,
    )
    return Explained(answer, facts, evaluation)


def _report(evaluation: Evaluation) -> None:
    """A rule that raised is our fault: logged by its type and place, and counted."""
    for failure in evaluation.failures:
        metrics.rule_failed(failure.rule)
        logs.event(logging.ERROR, "rule-failed", rule=failure.rule, exception=failure.error)


def _read(
    context: OrderSelectContext, request: HookRequest, session: Session, services: Services
) -> PatientFacts:
    try:
        delivered = read_prefetch(request.prefetch, context.patient_id)
        for key, state in delivered.states.items():
            metrics.prefetched(key, state.value)
        if services.fetch is not None:
            delivered = services.fetch(delivered, request, context.patient_id)
    except WrongPatient:
        raise DataUnavailable(["patient"]) from None
    metrics.entries(services.tenant.id, delivered.recognised)
    return read_facts(
        delivered.resources,
        gaps=delivered.gaps,
        session=session,
        patient_id=context.patient_id,
        as_of=services.clock(),
    )
