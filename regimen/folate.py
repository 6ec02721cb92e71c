"""Is folic acid ordered before B12 in someone who may lack B12? (S20, F.7) Folic acid of more than
`folic_acid_silent_ug_per_day`, or of a dose not stated, where no B12 was given, and none is
running (by mouth: at least `oral_standard_ug_per_day` a day on average). DEF confirmed: critical;
a warning where diagnoses, orders or doses given could not be read, or how often B12 is taken is
not known; info where B12 is among the orders of the session. DEF probable: warning, unless B12 is
among the orders. DEF none or unavailable: a warning with MCV above `mcv_high_fl`, a neurological
finding or irreversible malabsorption; and with DEF none, from `folic_acid_high_ug_per_day` up
without a B12 result in `lab_window_days`, info. DEF refuted, and (unless DEF is confirmed or
probable) antifolate treatment, pregnancy, haemolysis or dialysis: no card.

Folic acid alone may mask B12 deficiency while nerve damage goes on. Folic acid taken for a
pregnancy is never suggested to be removed.
"""

from __future__ import annotations

from regimen import words
from regimen.calendar import within_days, within_months
from regimen.case import (
    Case,
    NotEnough,
    Result,
    b12_not_enough,
    card,
    not_confirmed,
    order_tests,
    remove_choice,
)
from regimen.deficiency import Level, lab_line
from regimen.facts import (
    Analyte,
    Answer,
    Concept,
    Ingredient,
    Order,
    OrderStatus,
    Route,
    Subject,
    Test,
)
from regimen.labs import in_unit, newest, verdict
from regimen.neurology import NeuroState
from regimen.recommendation import Choice, Line, PrescribeRegimen, Regimen
from regimen.safety import cobalamin_allergy
from regimen.situation import Cause
from regimen.treatment import (
    daily_dose_ug,
    enough_by_mouth,
    given,
    is_b12_treatment,
    is_running,
    stopped_in_session,
)

# B12 already given or ordered, a pregnancy: what was not read may hold them, so not critical.
EXCUSES = (Subject.CONDITIONS, Subject.ORDERS, Subject.ADMINISTRATIONS)


def folate(c: Case) -> Result:
    """F.7, top to bottom."""
    orders = [o for o in c.folic_acid if not _negligible(c, o)]
    if not orders:
        return "no folic acid above 100 microgram a day"
    order, level = orders[0], c.s.deficiency.level
    if level is Level.REFUTED:
        return "a B12 result in range was found"
    started = _b12_started(c)
    if started is Answer.YES:
        return "B12 treatment has started"
    b12_ordered = _b12_in_session(c)
    if level is Level.CONFIRMED:
        return _in_session(c, order) if b12_ordered else _confirmed(c, order, started)
    if level is Level.PROBABLE:
        return "B12 is ordered in this session" if b12_ordered else _probable(c, order)
    if _is_exception(c):
        return "folic acid has its own recorded reason"
    reasons = _reasons_to_check(c)
    if reasons:
        return card(
            c,
            "folate-check",
            because=(*_ordered(c, order), *reasons),
            unknown=_unknown(c),
            choices=order_tests(c, (Test.SERUM_B12, Test.MMA)),
            exclusive=False,
        )
    if level is Level.NONE and _is_high(c, order) and not _tested(c):
        return card(
            c,
            "folate-info",
            because=_ordered(c, order),
            unknown=_unknown(c),
            choices=order_tests(c, (Test.SERUM_B12,)),
            exclusive=False,
        )
    return "nothing on record speaks for B12 deficiency"


def _negligible(c: Case, order: Order) -> bool:
    daily = daily_dose_ug(order)
    return daily is not None and daily <= c.protocol.thresholds.folic_acid_silent_ug_per_day


def _is_high(c: Case, order: Order) -> bool:
    daily = daily_dose_ug(order)
    return daily is not None and daily >= c.protocol.thresholds.folic_acid_high_ug_per_day


def _b12_started(c: Case) -> Answer:
    """A dose given or dispensed that has not lapsed, a running injection order with a past start,
    or oral B12 of at least 1000 microgram a day."""
    months = c.protocol.thresholds.lapse_months
    if any(within_months(d.on, c.facts.as_of, months) for d in given(c.facts)):
        return Answer.YES
    gone = stopped_in_session(c.facts)
    answers = {
        _counts_as_started(c, o)
        for o in c.facts.orders
        if o.ingredient.is_cobalamin and not o.combination and o.record.reference not in gone
    }
    return next((a for a in (Answer.YES, Answer.UNKNOWN) if a in answers), Answer.NO)


def _counts_as_started(c: Case, order: Order) -> Answer:
    """UNKNOWN: an injection order without a date; or one dose a day of it would be enough, but how
    often it is taken is not known."""
    if not is_running(order, c.facts) or (order.start and order.start > c.facts.as_of):
        return Answer.NO
    if order.route.is_parenteral:
        return Answer.YES if order.start is not None else Answer.UNKNOWN
    enough = enough_by_mouth(order, c.protocol)
    may_be = enough is Answer.UNKNOWN or order.route is Route.UNKNOWN
    if enough is Answer.YES or not may_be:
        return enough
    standard = c.protocol.thresholds.oral_standard_ug_per_day
    return Answer.UNKNOWN if (order.dose_ug or 0) >= standard else Answer.NO


def _b12_in_session(c: Case) -> bool:
    """Details that are not yet written do not speak against an order (E.1)."""
    return any(
        o.status is not OrderStatus.COMPLETED and is_b12_treatment(o, c.protocol) is not Answer.NO
        for o in c.session_b12
    )


def _is_exception(c: Case) -> bool:
    """Antifolate treatment, pregnancy, haemolysis, sickle cell disease, dialysis."""
    antifolate = any(
        o.ingredient is Ingredient.ANTIFOLATE and is_running(o, c.facts) for o in c.facts.orders
    ) or any(o.ingredient is Ingredient.ANTIFOLATE for o in c.facts.session)
    return antifolate or c.s.pregnant or bool(c.facts.found(Concept.FOLATE_EXCEPTION))


def _reasons_to_check(c: Case) -> tuple[Line, ...]:
    """Macrocytosis, a neurological finding, or malabsorption that does not go away."""
    lines: list[Line] = []
    mcv = newest(c.facts, Analyte.MCV, c.protocol)
    measured = in_unit(mcv) if mcv else None
    t = c.protocol.thresholds
    if (
        mcv
        and measured
        and measured[0] > t.mcv_high_fl
        and within_days(mcv.on, c.facts.as_of, t.lab_window_days)
    ):
        lines.append(lab_line("lab", mcv, c.protocol))
    if c.s.neuro.state in (NeuroState.PRESENT, NeuroState.POSSIBLE) and c.s.neuro.findings:
        lines.extend(c.s.neuro.because)
    if c.s.cause is Cause.IRREVERSIBLE:
        lines.extend(c.s.cause_lines)
    return tuple(lines)


def _tested(c: Case) -> bool:
    """A result that says something, if only by the laboratory's flag; not one of no known unit."""
    days = c.protocol.thresholds.lab_window_days
    return any(
        within_days(r.on, c.facts.as_of, days)
        and (verdict(r, c.protocol) is not None or (r.value is None and r.flag is not None))
        for r in (*c.facts.results(Analyte.B12_TOTAL), *c.facts.results(Analyte.B12_ACTIVE))
    )


def _ordered(c: Case, order: Order) -> tuple[Line, ...]:
    daily = daily_dose_ug(order)
    amount = f" ({words.dose(daily)})" if daily is not None else ""
    there, before = b12_not_enough(c), given(c.facts)
    none = there == NotEnough() and not before
    key = "folic-acid-ordered" if none else "folic-acid-ordered-beside"
    lapsed = [Line(c.protocol.say("dose-last", on=words.day(d.on)), (d.record,)) for d in before]
    return (
        Line(c.protocol.say(key, dose=amount), (order.record,)),
        *there.too_little,
        *lapsed[-1:],
    )


def _unknown(c: Case) -> tuple[Line, ...]:
    """Results that could not be used, and B12 of which the amount a day is not known."""
    return (*c.s.deficiency.unknown, *b12_not_enough(c).unknown)


def _confirmed(c: Case, order: Order, started: Answer) -> Result:
    doubtful = started is Answer.UNKNOWN or c.facts.unread(*EXCUSES)
    return card(
        c,
        "folate-probable" if doubtful else "folate-critical",
        because=(*_ordered(c, order), *c.s.deficiency.because, *c.s.neuro.because),
        unknown=_unknown(c),
        remarks=(*_pregnancy_remark(c), *_age_remark(c)),
        choices=(*_add_b12(c), *_remove(c, order)),
        exclusive=False,
    )


def _in_session(c: Case, order: Order) -> Result:
    line = Line(c.protocol.say("b12-in-session"))
    because = (*_ordered(c, order), line, *c.s.deficiency.because)
    return card(c, "folate-order", because=because, unknown=_unknown(c))


def _probable(c: Case, order: Order) -> Result:
    return card(
        c,
        "folate-probable",
        because=(*_ordered(c, order), *c.s.deficiency.because, *c.s.neuro.because),
        unknown=(*_unknown(c), not_confirmed(c)),
        remarks=(*_pregnancy_remark(c), *_age_remark(c)),
        choices=(*_add_b12(c), *order_tests(c, (Test.MMA,)), *_remove(c, order)),
        exclusive=False,
    )


def _add_b12(c: Case) -> tuple[Choice, ...]:
    """The first phase of the regimen as a new order; what follows it is said in words."""
    offered = c.offered
    if offered is None or c.s.under_age or cobalamin_allergy(c.facts):
        return ()
    first: dict[Regimen, None] = {}
    for option in offered.main:
        first.setdefault(Regimen(option.regimen.phases[:1]))
    return tuple(
        Choice(
            c.protocol.say("label-add-b12", words=words.regimen(regimen)),
            (PrescribeRegimen(regimen, replaces=None),),
            recommended=len(first) == 1 and offered.settled,
        )
        for regimen in first
    )


def _remove(c: Case, order: Order) -> tuple[Choice, ...]:
    """Not in pregnancy, nor where a pregnancy could not be looked for."""
    if c.s.pregnant or c.facts.unread(Subject.CONDITIONS, Subject.OBSERVATIONS):
        return ()
    return (remove_choice(c, order, "label-remove-folic-acid"),)


def _age_remark(c: Case) -> tuple[Line, ...]:
    if not c.s.under_age:
        return ()
    age = c.protocol.thresholds.min_age_years
    return (Line(c.protocol.cards["paediatric"].proposal.format(age=age)),)


def _pregnancy_remark(c: Case) -> tuple[Line, ...]:
    about = tuple(f.record for f in c.s.pregnancy)
    return (Line(c.protocol.say("pregnancy-folate"), about=about),) if about else ()
