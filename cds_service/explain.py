"""How was this answer reached? Text for a person: the cards, every fact, every rule, every gap.

For the command line and for review, never for a log: it names records of the patient.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from cds_service.hooks.response import Card
from regimen import words
from regimen.choose import Option, Plan
from regimen.facts import Finding, LabResult, Order, PatientFacts
from regimen.labs import TEST_WORDS
from regimen.protocol import Protocol
from regimen.recommend import Evaluation
from regimen.situation import Situation

WIDTH = 100


def cards_text(cards: Iterable[Card]) -> str:
    """The cards as a clinician reads them; "Silence" when there are none."""
    blocks = ["\n".join(_card(card)) for card in cards]
    return "\n\n".join(blocks) or "Silence: the order needs no comment."


def _card(card: Card) -> Iterator[str]:
    topic = card.source.topic.code if card.source.topic else ""
    yield f"{card.indicator.upper():8} {topic}"
    yield _wrap(card.summary, "         ")
    for suggestion in card.suggestions:
        mark = "*" if suggestion.is_recommended else "-"
        yield _wrap(suggestion.label, f"         {mark} ")
        for action in suggestion.actions:
            yield _wrap(action.description, f"             {action.type}: ")
    if card.suggestions:
        yield f"         ({card.selection_behavior}; * recommended)"


def _wrap(text: str, lead: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead), break_long_words=False
    )


def explanation(facts: PatientFacts, evaluation: Evaluation, protocol: Protocol) -> str:
    """Facts with their records, answers, the regimen chosen, rules with their reasons, and gaps."""
    sections = (
        ("Facts found", list(_facts(facts))),
        ("Answers", list(_answers(evaluation.situation))),
        ("Regimen", list(_regimen(evaluation.offered, protocol))),
        ("Rules", list(_rules(evaluation))),
        ("Not read", [f"{g.subject.value}: {g.kind.value} ({g.count})" for g in facts.gaps]),
    )
    parts = []
    for title, lines in sections:
        shown = [_wrap(line, "  ") for line in lines] or ["  none"]
        parts.append("\n".join([title, "-" * len(title), *shown]))
    return "\n\n".join(parts)


def _facts(facts: PatientFacts) -> Iterator[str]:
    yield f"as of {facts.as_of.isoformat()}"
    if facts.age:
        yield f"born between {facts.age.earliest} and {facts.age.latest}"
    for finding in (*facts.findings, *facts.family):
        yield _finding(finding)
    for lab in facts.labs:
        yield _lab(lab)
    for r in facts.resections:
        length = r.as_reported or ("complete" if r.complete else "length not recorded")
        yield f"ileal resection, {length}, {words.day(r.record.on)} [{r.record.reference}]"
    for e in facts.extents:
        yield f"Crohn's disease extent {e.as_reported} [{e.record.reference}]"
    for order in (*facts.orders, *facts.session):
        yield _order(order)
    for dose in facts.doses:
        how = "supplied" if dose.supplied else "given"
        yield f"{dose.ingredient.value} {how} {words.day(dose.on)} [{dose.record.reference}]"
    for a in facts.allergies:
        yield f"allergy: {a.allergen.value}{', severe' if a.severe else ''} [{a.record.reference}]"
    for request in facts.requests:
        what = request.specialty or request.test
        yield f"requested: {what} [{request.record.reference}]"


def _finding(f: Finding) -> str:
    domains = f" ({', '.join(sorted(f.domains))})" if f.domains else ""
    return (
        f"{f.concept.value}{domains}: {f.record.label}, {f.activity.value}, {f.certainty.value}, "
        f"{words.day(f.since)} [{f.record.reference}]"
    )


def _lab(lab: LabResult) -> str:
    value = words.lab_value(lab) or (lab.flag.value if lab.flag else "no value")
    odd = f", not usable: {lab.unreadable}" if lab.unreadable else ""
    early = ", preliminary" if lab.preliminary else ""
    test = TEST_WORDS[lab.analyte]
    return f"{test} {value}, {words.day(lab.on)}{early}{odd} [{lab.record.reference}]"


def _order(order: Order) -> str:
    where = "selected" if order.selected else ("draft" if order.in_session else order.status.value)
    return f"{where} order: {words.order(order)} [{order.record.reference}]"


def _answers(s: Situation) -> Iterator[str]:
    yield f"DEF {s.deficiency.level.value}{', severe' if s.deficiency.severe else ''}"
    domains = f" ({', '.join(sorted(s.neuro.domains))})" if s.neuro.domains else ""
    yield f"NEURO {s.neuro.state.value}{domains}"
    yield f"PHASE {s.phase.stage.value}"
    yield f"ILEUM over the threshold: {s.ileum.over_threshold.value}"
    yield f"BARI {s.bariatric.kind.value}"
    yield f"CANCER {'active' if s.cancer else 'none'}"
    yield f"CROHN {'yes' if s.crohns else 'no'}"
    yield f"CAUSE {s.cause.value}"
    yield f"AGE {s.age_years if s.age_years is not None else 'unknown'}"
    yield f"PREG {'yes' if s.pregnant else 'not recorded'}"
    yield f"everything that decides was read: {'yes' if s.complete_record else 'no'}"


def _regimen(offered: Plan | None, protocol: Protocol) -> Iterator[str]:
    """The row of the scenario table and what it offers, whether or not a card had to say it."""
    if offered is None:
        return
    facts = next(row.facts for row in protocol.rows if row.number == offered.row)
    yield f"row {offered.row}: {facts}"
    for option in offered.options:
        yield _option(option, recommended=offered.settled and not option.alternative)


def _option(option: Option, *, recommended: bool) -> str:
    when = f"{option.when}: " if option.when else ""
    return f"{'recommended' if recommended else 'offered'}: {when}{words.regimen(option.regimen)}"


def _rules(evaluation: Evaluation) -> Iterator[str]:
    for outcome in evaluation.outcomes:
        records = ", ".join(dict.fromkeys(r.reference for r in outcome.records))
        because = f" [{records}]" if records else ""
        yield f"{'FIRED' if outcome.fired else 'no':5} {outcome.rule}: {outcome.why}{because}"
