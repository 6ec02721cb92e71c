"""The regimen card and its neighbours: what to give, what to ask, what to test.

Each function is one card: it answers with the card, or with why there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from regimen import words
from regimen.bowel import Bariatric
from regimen.calendar import within_days
from regimen.case import (
    Case,
    Result,
    b12_not_enough,
    card,
    gap_lines,
    not_confirmed,
    order_tests,
    remove_choice,
)
from regimen.choose import (
    Option,
    Plan,
    cancer_regimen,
    cyanocobalamin_interval_plan,
    is_monthly,
    new_on_maintenance,
    treatment_regimen,
)
from regimen.compare import Aspect, Comparison, Deviation, compare, same_rhythm
from regimen.deficiency import Level, lab_line
from regimen.facts import (
    Activity,
    Analyte,
    Answer,
    Concept,
    Ingredient,
    Order,
    OrderKind,
    Route,
    Specialty,
    Subject,
    Test,
)
from regimen.labs import below, newest
from regimen.neurology import NeuroState
from regimen.phase import Stage
from regimen.recommendation import (
    Choice,
    Indicator,
    Line,
    PhaseName,
    PrescribeRegimen,
    Recommendation,
    Refer,
    Regimen,
    records_of,
)
from regimen.safety import cobalamin_allergy
from regimen.situation import DECIDING, finding_line
from regimen.treatment import (
    average_daily_ug,
    daily_dose_ug,
    enough_by_mouth,
    is_running,
    running_injections,
)

# --- regimen ----------------------------------------------------------------------------------


def regimen(c: Case, absorbed: frozenset[Aspect]) -> Result:
    """The injection that was picked does not conform to the row above that applies: no schedule is
    stated, or product, dose, route, interval or duration differ, or loading is left out; with
    NEURO possible, also the standard regimen. Warning with NEURO present or possible where it gives
    less or states no schedule; and whatever NEURO is with a dose below `dose_low_ug`, an interval
    over `three_months_max_days` (cyanocobalamin: from `cyanocobalamin_max_interval_days` up) or
    more often than every `too_close_hours`, or loading left out in severe deficiency. None with a
    cobalamin allergy.

    `absorbed`: what a safety card of this answer already says, and is not said again.
    """
    reason = _no_regimen(c)
    if reason:
        return reason
    if c.s.inborn:
        because = tuple(finding_line("diagnosis", f, c.protocol) for f in c.s.inborn)
        return card(c, "regimen-specialist", because=because)
    offered = c.offered
    if offered is None:
        return "no row of the regimen table applies"
    running = [o for o in c.injections if _ends_running_loading(c, o)]
    if running:
        return _plateau(c, running[0], offered)
    judged = [(o, j) for o in c.injections if (j := _judge(c, o, offered, absorbed)) is not None]
    if not judged:
        return "the order conforms to the protocol"
    order, judgement = max(judged, key=lambda pair: (pair[1].rank, pair[0].record.reference))
    return _regimen_card(c, order, judgement)


def _no_regimen(c: Case) -> str:
    if not c.injections:
        return "no injectable B12 picked"
    if c.s.under_age:
        return "under the protocol's age"
    if cobalamin_allergy(c.facts):
        return "an allergy forbids every cobalamin"
    return ""


@dataclass(frozen=True, slots=True)
class _Judgement:
    """How an order falls short of what is offered, and how much that matters."""

    plan: Plan
    comparison: Comparison
    warning: bool

    @property
    def rank(self) -> tuple[bool, int]:
        return (self.warning, len(self.comparison.deviations))


def _judge(c: Case, order: Order, offered: Plan, absorbed: frozenset[Aspect]) -> _Judgement | None:
    """None: nothing to say about this order."""
    if Aspect.PRODUCT in absorbed:  # the product is being changed: judge the rest as of the other
        order = replace(order, ingredient=Ingredient.HYDROXOCOBALAMIN)
    judged = [compare(c, order, option).without(absorbed) for option in offered.options]
    # With neurological signs the cancer regimen is on offer, but not what the protocol suggests.
    # An order of our own suggestion is not questioned again: that choice has been made.
    signs = c.s.neuro.state is NeuroState.PRESENT and not order.suggested
    fitting = [j for j in judged if j.conforms and not (signs and j.option.alternative)]
    if fitting:
        asked = c.s.neuro.state is NeuroState.POSSIBLE and len(offered.main) > 1
        if not asked or any(j.option.neuro for j in fitting) or order.suggested:
            return None
        return _Judgement(offered, fitting[0], warning=True)
    mains = [j for j in judged if not j.option.alternative]
    closest = min(mains if signs else judged, key=lambda j: len(j.deviations))
    if closest.undetailed and not closest.deviations and _already_running(c, order, offered):
        return None
    if _fits_unread_reading(c, order, absorbed):
        return None
    if c.s.phase.unread and {d.aspect for d in closest.deviations} == {Aspect.LOADING}:
        return None  # loading may be on record, in the part that was not read
    if _cyanocobalamin_too_rarely(c, order, closest, offered):
        offered = cyanocobalamin_interval_plan(c.s, c.protocol)
        return _Judgement(offered, closest, warning=True)
    return _Judgement(offered, closest, warning=_is_warning(c, closest))


def _fits_unread_reading(c: Case, order: Order, absorbed: frozenset[Aspect]) -> bool:
    """A cancer may be on record in the part that was not read: its regimen is then fine."""
    if c.s.neuro.state is not NeuroState.UNREAD or not c.protocol.policy.cancer_regimen:
        return False
    option = Option(cancer_regimen(c.s, c.protocol))
    return compare(c, order, option).without(absorbed).conforms


def _is_warning(c: Case, found: Comparison) -> bool:
    """E.2.9 a-f."""
    if any(d.alarming for d in found.deviations):
        return True
    neuro = c.s.neuro.state in (NeuroState.PRESENT, NeuroState.POSSIBLE)
    return neuro and (found.undetailed or any(d.less for d in found.deviations))


def _already_running(c: Case, order: Order, offered: Plan) -> bool:
    """F.1: the same regimen is running already, and this order does not renew it."""
    return any(
        compare(c, other, option).conforms
        for other in running_injections(c.facts)
        if other.record.reference not in order.continues
        for option in offered.options
    )


def _cyanocobalamin_too_rarely(c: Case, order: Order, found: Comparison, offered: Plan) -> bool:
    """A.4.9: cyanocobalamin at two months or more, where hydroxocobalamin would be fine."""
    maintenance = offered.options[0].regimen.maintenance
    said = order.schedule
    if order.ingredient is not Ingredient.CYANOCOBALAMIN or maintenance is None or said is None:
        return False
    rare = said.longest_interval_days >= c.protocol.thresholds.cyanocobalamin_max_interval_days
    only_interval = {d.aspect for d in found.deviations} <= {Aspect.INTERVAL, Aspect.PRODUCT}
    return rare and only_interval and not is_monthly(maintenance.schedule, c.protocol)


def _regimen_card(c: Case, order: Order, judgement: _Judgement) -> Recommendation:
    found = judgement.comparison
    choices = _regimen_choices(c, order, judgement)
    named = _named(found)
    summary = _deviation_summary(c, named) if len(judgement.plan.main) == 1 else None
    return card(
        c,
        judgement.plan.card,
        indicator=Indicator.WARNING if judgement.warning else Indicator.INFO,
        summary=summary,
        regimen=words.brief(judgement.plan.options[0].regimen),
        because=(*_deviation_lines(c, named), *_because(c)),
        unknown=_unknown(c, judgement.plan),
        proposal=_proposal(choices),
        remarks=_remarks(c, order, judgement.plan),
        choices=(*choices, *_tests_beside(c, judgement.plan)),
        exclusive=len(choices) > 1,
        cites=_cites(c, judgement.plan),
    )


def _cites(c: Case, offered: Plan) -> tuple[str, ...]:
    """The statements behind what is on offer besides those of the card: the cancer regimen, and the
    month of ileal resection or bariatric surgery."""
    phases = [p for option in offered.options for p in option.regimen.phases]
    cancer = c.protocol.policy.loading_cancer
    monthly = any(
        p.name is PhaseName.MAINTENANCE and is_monthly(p.schedule, c.protocol) for p in phases
    )
    cited = []
    active = c.s.cancer and c.protocol.policy.cancer_regimen and not offered.prophylaxis
    if active and (monthly or any(p.key in cancer for p in phases)):
        cited.append("S15")
    if monthly and c.s.ileum.over_threshold is not Answer.NO:
        cited.append("S9")
    if monthly and c.s.bariatric.kind in (Bariatric.ILEAL, Bariatric.UNSPECIFIED):
        cited.append("S12")
    return tuple(cited)


def _named(found: Comparison) -> tuple[Deviation, ...]:
    """A.4.1: an order without a schedule is completed, not criticised; but a dose that may be a
    thousand times too low is always named."""
    if not found.undetailed:
        return found.deviations
    return tuple(d for d in found.deviations if d.aspect is Aspect.DOSE and d.alarming)


def _deviation_summary(c: Case, named: tuple[Deviation, ...]) -> str | None:
    if not named:
        return None
    worst = max(named, key=lambda d: (d.alarming, d.less))
    summary = c.protocol.cards["regimen-deviation"].summary
    ordered = f"dose {worst.ordered}" if worst.aspect is Aspect.DOSE else worst.ordered
    return summary.format(ordered=ordered, protocol=worst.protocol)


def _deviation_lines(c: Case, named: tuple[Deviation, ...]) -> tuple[Line, ...]:
    lines = [
        Line(c.protocol.say("deviation", ordered=d.ordered, protocol=d.protocol)) for d in named
    ]
    for d in named:
        if d.aspect is Aspect.DOSE:
            lines.append(_dose_line(c, d.ordered, alarming=d.alarming))
        if d.aspect is Aspect.LOADING and d.alarming:
            lines.append(Line(c.protocol.say("severe-deficiency")))
    return tuple(lines)


def _dose_line(c: Case, ordered: str, *, alarming: bool) -> Line:
    if not alarming:
        return Line(c.protocol.say("us-label-dose", dose=ordered))
    amounts = [
        d
        for o in c.injections
        for line in o.lines
        if (d := line.dose_ug) and words.dose(d) == ordered
    ]
    usual = c.protocol.thresholds.usual_dose_ug
    times = words.number(usual / amounts[0]) if amounts else ""
    return Line(c.protocol.say("dose-slip", dose=ordered, times=times))


def _regimen_choices(c: Case, order: Order, judgement: _Judgement) -> tuple[Choice, ...]:
    offered, aspects = judgement.plan, {d.aspect for d in judgement.comparison.deviations}
    maintenance_only = c.kinds(order) == {OrderKind.MAINTENANCE} and Aspect.LOADING not in aspects
    choices: dict[Regimen, Choice] = {}
    for option in offered.options:
        told = option.regimen
        if maintenance_only and told.maintenance is not None:
            told = Regimen((told.maintenance,))
        step = PrescribeRegimen(
            told,
            replaces=order.record.reference,
            skip_maintenance=len(told.phases) > 1 and _maintenance_in_session(c, order),
            renews=_running_maintenance(c, order),
        )
        label = _label(c, option, told)
        recommended = offered.settled and not option.alternative
        choices.setdefault(told, Choice(label, (step,), recommended=recommended))
    return tuple(choices.values())


def _label(c: Case, option: Option, told: Regimen) -> str:
    said = words.sentence(words.regimen(told))
    return f"{option.when}: {said}" if option.when else said


def _running_maintenance(c: Case, order: Order) -> str | None:
    """The running maintenance order that a new one takes the place of."""
    running = (o.record.reference for o in c.s.phase.running_maintenance)
    return next((ref for ref in running if ref != order.record.reference), None)


def _maintenance_in_session(c: Case, order: Order) -> bool:
    return any(
        OrderKind.MAINTENANCE in c.kinds(o) and o.route.is_parenteral
        for o in c.session_b12
        if o.record.reference != order.record.reference and not o.combination
    )


def _ends_running_loading(c: Case, order: Order) -> bool:
    """E.2.14: maintenance is picked while the alternate-day order of the record still runs."""
    return (
        c.s.neuro.state is NeuroState.PRESENT
        and bool(c.s.phase.running_loading)
        and c.kinds(order) == {OrderKind.MAINTENANCE}
        and not order.suggested
    )


def _plateau(c: Case, order: Order, offered: Plan) -> Result:
    maintenance = (
        treatment_regimen(
            c.s, c.protocol, neuro=True, monthly=c.s.monthly is Answer.YES
        ).maintenance
        or offered.options[0].regimen.phases[-1]
    )
    start = Regimen((maintenance,))
    choices = (
        remove_choice(c, order, "label-continue-loading"),
        Choice(
            c.protocol.say("label-start-maintenance", words=words.regimen(start)),
            (PrescribeRegimen(start, replaces=order.record.reference),),
        ),
    )
    return card(
        c,
        "regimen-plateau",
        summary=None if _on_alternate_days(c) else c.protocol.say("loading-running"),
        because=_because(c),
        unknown=_unknown(c, offered),
        remarks=(Line(c.protocol.say("monitoring-neuro")),),
        choices=choices,
    )


def _on_alternate_days(c: Case) -> bool:
    """Is the running loading order what the headline calls it?"""
    target = c.protocol.schedules["alternate-days"].schedule
    return any(
        o.schedule is not None and same_rhythm(o.schedule, target, c.protocol)
        for o in c.s.phase.running_loading
    )


# --- what the details say ---------------------------------------------------------------------


def _because(c: Case) -> tuple[Line, ...]:
    s, protocol = c.s, c.protocol
    lines: list[Line] = [*s.deficiency.because]
    if s.neuro.because:
        lines.extend(s.neuro.because)
    elif s.neuro.state is NeuroState.NONE:
        lines.extend(s.neuro.uncounted or (Line(protocol.say("neuro-none")),))
    if s.neuro.state is NeuroState.POSSIBLE:
        lines.append(Line(protocol.say("neuro-ask"), about=records_of(s.neuro.because)))
    if new_on_maintenance(s, protocol):
        lines.append(Line(protocol.say("neuro-new"), about=records_of(s.neuro.because)))
    lines.extend((*s.ileum.because, *s.bariatric.because))
    if s.crohns and s.ileum.resected:
        lines.append(finding_line("crohns", s.crohns[0], protocol))
    lines.extend(finding_line("cancer", f, protocol) for f in s.cancer)
    lines.extend(s.phase.because)
    lines.extend(s.cause_lines)
    lines.extend(finding_line("pregnancy", f, protocol) for f in s.pregnancy[:1])
    return tuple({line.text: line for line in lines}.values())


def _unknown(c: Case, offered: Plan) -> tuple[Line, ...]:
    s, protocol = c.s, c.protocol
    lines: list[Line] = [*s.deficiency.unknown, *s.ileum.unknown]
    if s.deficiency.level is Level.PROBABLE:
        lines.append(not_confirmed(c))
    if s.deficiency.level in (Level.NONE, Level.REFUTED) and not offered.prophylaxis:
        lines.append(Line(protocol.say("cause-not-recorded")))
    if s.age_years is None and not c.facts.unread(Subject.PATIENT):
        lines.append(Line(protocol.say("age-unknown")))
    if _starts(offered) and not _recent_counts(c):
        days = protocol.thresholds.recent_lab_days
        lines.append(Line(protocol.say("hb-k-absent", days=days)))
    return tuple(lines)


def _starts(offered: Plan) -> bool:
    return any(o.regimen.loading is not None for o in offered.options)


def _recent_counts(c: Case) -> bool:
    days = c.protocol.thresholds.recent_lab_days
    found = (newest(c.facts, a, c.protocol) for a in (Analyte.POTASSIUM, Analyte.HAEMOGLOBIN))
    return all(r is not None and within_days(r.on, c.facts.as_of, days) for r in found)


def _proposal(choices: tuple[Choice, ...]) -> tuple[Line, ...]:
    return tuple(Line(choice.label) for choice in choices)


def _remarks(c: Case, order: Order, offered: Plan) -> tuple[Line, ...]:
    s, protocol = c.s, c.protocol
    lines = []
    if s.neuro.state is NeuroState.PRESENT and s.deficiency.level is Level.PROBABLE:
        lines.append(Line(protocol.say("no-wait"), about=records_of(s.neuro.because)))
    if s.deficiency.nitrous_oxide:
        lines.append(_nitrous_stop(c))
    lines.extend(_bowel_remarks(c, offered))
    if not offered.prophylaxis:
        monitoring = protocol.say(
            "monitoring",
            months=protocol.policy.monitoring_months,
            stable=protocol.policy.monitoring_stable_months,
        )
        lines += [Line(monitoring), Line(protocol.say("monitoring-neuro"))]
    if s.phase.stage is Stage.LOADED:
        lines.append(Line(protocol.say("individual"), about=records_of(s.phase.because)))
    if s.deficiency.dietary:
        dietary = tuple(f.record for f in c.facts.found(Concept.DIETARY_B12_DEFICIENCY))
        lines.append(Line(protocol.say("dietary"), about=dietary))
    if s.pregnant and s.deficiency.level is Level.CONFIRMED:
        about = tuple(f.record for f in s.pregnancy)
        lines.append(Line(protocol.say("pregnancy-same"), about=about))
    if s.avoid_cyanocobalamin:
        about = tuple(f.record for f in (*s.leber, *s.leber_possible, *s.leber_family))
        lines.append(Line(protocol.say("leber-product"), about=about))
    hydroxocobalamin = order.ingredient is Ingredient.HYDROXOCOBALAMIN
    if hydroxocobalamin and order.route is Route.SUBCUTANEOUS:
        lines.append(Line(protocol.say("sc-hydroxocobalamin")))
    return (*lines, *_medicine_remarks(c))


def _nitrous_stop(c: Case) -> Line:
    used = c.facts.found(Concept.NITROUS_OXIDE_MISUSE, Concept.NITROUS_OXIDE_MEDICAL)
    return Line(c.protocol.say("nitrous-stop"), about=tuple(f.record for f in used))


def _bowel_remarks(c: Case, offered: Plan) -> list[Line]:
    s, protocol = c.s, c.protocol
    threshold = words.number(protocol.thresholds.ileal_threshold_cm)
    lines = []
    over = s.ileum.over_threshold is Answer.YES
    if offered.prophylaxis and over and not s.crohns:
        lines.append(protocol.say("ileum-extrapolated"))
    if offered.prophylaxis and over and s.crohns:
        lines.append(protocol.say("ileum-segment"))
    if over and protocol.policy.maintenance_ileal != "monthly":
        lines.append(protocol.say("ileum-monthly-option", threshold=threshold))
    if s.bariatric.kind is Bariatric.ILEAL and offered.card != "regimen-bari":
        lines.append(protocol.cards["regimen-bari"].proposal)
    if s.bariatric.kind is Bariatric.NON_ILEAL:
        lines.append(protocol.say("bariatric-options"))
    about = records_of((*s.ileum.because, *s.ileum.unknown, *s.bariatric.because))
    return [Line(text, about=about) for text in lines]


MEDICINES = {
    Ingredient.METFORMIN: "metformin",
    Ingredient.ACID_SUPPRESSANT: "acid-suppressant",
    Ingredient.COLCHICINE: "colchicine",
    Ingredient.CHLORAMPHENICOL: "chloramphenicol",
}


def _medicine_remarks(c: Case) -> tuple[Line, ...]:
    """F.14: a line, never a card. And platelets too low for an injection into muscle."""
    lines = []
    for ingredient, key in MEDICINES.items():
        taken = [o for o in c.facts.orders if o.ingredient is ingredient and is_running(o, c.facts)]
        if taken:
            lines.append(Line(c.protocol.say(key), (taken[0].record,)))
    platelets = newest(c.facts, Analyte.PLATELETS, c.protocol)
    if platelets is not None and below(platelets, c.protocol.thresholds.platelets_low):
        lines.append(lab_line("thrombocytopenia", platelets, c.protocol))
    return tuple(lines)


def _tests_beside(c: Case, offered: Plan) -> tuple[Choice, ...]:
    """MMA where the deficiency is only probable; otherwise the monitoring of S16."""
    if offered.prophylaxis or offered.card == "regimen-cyano-interval":
        return ()
    choices: tuple[Choice, ...] = ()
    if c.s.deficiency.level is Level.PROBABLE:
        choices = order_tests(c, (Test.MMA,))
    tests = tuple(Test(t) for t in c.protocol.policy.monitoring_tests)
    if tests:
        months = c.protocol.policy.monitoring_months
        choices += order_tests(c, tests, label="label-monitoring", every_months=months)
    return choices


# --- referral, evidence, risk, symptoms, route, unavailable -----------------------------------


def referral(c: Case) -> Result:
    """S4: a B12 order, and NEURO present by a sensory, motor or gait finding or by one that names
    B12 as its cause. Not for a specialty that was asked within `referral_recent_days` or is in
    this session.
    """
    if not c.b12:
        return "no B12 order"
    if c.s.under_age:
        return "under the protocol's age"
    if not c.s.neuro.needs_referral:
        return "no unexplained sensory, motor or gait finding"
    days = c.protocol.thresholds.referral_recent_days
    made = {
        r.specialty
        for r in c.facts.requests
        if r.specialty and (r.draft or within_days(r.record.on, c.facts.as_of, days))
    }
    wanted = [sp for sp in Specialty if sp not in made]
    if not wanted:
        return "neurology and haematology are asked already"
    choices = tuple(
        Choice(c.protocol.say(f"label-refer-{sp.value}"), (Refer(sp),)) for sp in wanted
    )
    return card(c, "referral", because=c.s.neuro.because, choices=choices, exclusive=False)


BLOODS = (Test.SERUM_B12, Test.FOLATE, Test.FBC)
# A child, an operation or a course of injections on record: then this card is wrong.
SPEAK_AGAINST_EVIDENCE = tuple(s for s in DECIDING if s is not Subject.ALLERGIES)


def evidence(c: Case) -> Result:
    """Row 23: a B12 order with DEF none or refuted, and no row with a regimen applies. A warning
    with NEURO present. Not for a renewal, a supplement of at most `multivitamin_ug_per_day`,
    oral B12 after bariatric surgery that leaves the ileum, where the risk card comes, or where
    a part of the record that may speak against it could not be read.
    """
    reason = _no_evidence_card(c)
    if reason:
        return reason
    because = (
        *c.s.deficiency.because,
        *c.s.ileum.because,
        *c.s.bariatric.because,
        Line(c.protocol.say("no-deficiency-found")),
    )
    unknown = (*c.s.deficiency.unknown, *c.s.ileum.unknown)
    remarks = []
    if _is_bariatric(c):
        about = records_of(c.s.bariatric.because)
        remarks.append(Line(c.protocol.say("bariatric-options"), about=about))
    if c.s.deficiency.nitrous_oxide:
        remarks.append(_nitrous_stop(c))
    lines = tuple(remarks)
    if c.s.neuro.state is NeuroState.PRESENT:
        return _urgent_evidence(c, (*because, *c.s.neuro.because), unknown, lines)
    return card(
        c,
        "evidence",
        because=because,
        unknown=unknown,
        remarks=lines,
        choices=order_tests(c, (*BLOODS, Test.MMA)),
        exclusive=False,
    )


def _no_evidence_card(c: Case) -> str:
    orders = [o for o in c.b12 if not _is_supplement(c, o)]
    if not orders:
        return "no B12 order at a treatment dose"
    if c.s.under_age:
        return "under the protocol's age"
    if c.s.inborn:
        return "an inborn error of B12 metabolism is recorded"
    if c.s.deficiency.level not in (Level.NONE, Level.REFUTED):
        return "a deficiency is on record, or could not be looked for"
    if c.facts.unread(*SPEAK_AGAINST_EVIDENCE):
        return "what would make this card wrong could not be read"
    if c.offered is not None:
        return "a row of the regimen table applies"
    if _at_risk(c) and c.s.neuro.state is not NeuroState.PRESENT:
        return "the risk card says it"
    if all(_continues(c, o) for o in orders):
        return "the order renews one on record"
    if c.s.bariatric.kind is Bariatric.NON_ILEAL and all(o.route.is_enteral for o in orders):
        return "oral prophylaxis after bariatric surgery"
    return ""


def _is_supplement(c: Case, order: Order) -> bool:
    daily = daily_dose_ug(order)
    return (
        order.route.is_enteral
        and daily is not None
        and daily <= c.protocol.thresholds.multivitamin_ug_per_day
    )


def _continues(c: Case, order: Order) -> bool:
    """A renewal: it names an earlier order, of B12 where that order is on record."""
    on_record = {o.record.reference: o for o in c.facts.orders}
    return any(
        ref not in on_record or on_record[ref].ingredient.is_cobalamin for ref in order.continues
    )


def _is_bariatric(c: Case) -> bool:
    return c.s.bariatric.kind in (Bariatric.NON_ILEAL, Bariatric.UNSPECIFIED)


def _urgent_evidence(
    c: Case, because: tuple[Line, ...], unknown: tuple[Line, ...], remarks: tuple[Line, ...]
) -> Result:
    """Row 23 with neurological signs: bloods now, and the neurological regimen on offer."""
    told = treatment_regimen(c.s, c.protocol, neuro=True, monthly=c.s.monthly is Answer.YES)
    offer: tuple[Choice, ...] = ()
    option = Option(told, neuro=True)
    if not cobalamin_allergy(c.facts):
        unfit = [o for o in c.b12 if not compare(c, o, option).conforms]
        offer = tuple(
            Choice(
                words.sentence(words.regimen(told)),
                (PrescribeRegimen(told, replaces=o.record.reference),),
            )
            for o in unfit[:1]
        )
    return card(
        c,
        "evidence-neuro",
        because=because,
        unknown=unknown,
        proposal=_proposal(offer),
        remarks=remarks,
        choices=(*order_tests(c, (*BLOODS, Test.MMA), urgent=True), *offer),
        exclusive=False,
    )


def risk(c: Case) -> Result:
    """S14, row 22: a B12 order; Crohn's disease, not in remission, with a recorded extent in the
    ileum of more than `crohns_extent_cm`; no resection known to be over `ileal_threshold_cm`;
    DEF none; PHASE not loaded. Test, do not treat.
    """
    if not c.b12 or c.s.under_age:
        return "no B12 order in an adult"
    if not _at_risk(c):
        return "no ileal Crohn's disease over 30 cm without resection and without a recent result"
    lines = [
        Line(
            c.protocol.say("crohns-extent", length=e.as_reported, on=words.day(e.record.on)),
            (e.record,),
        )
        for e in c.facts.extents
    ]
    lines.extend(finding_line("crohns", f, c.protocol) for f in c.s.crohns[:1])
    return card(
        c,
        "risk",
        because=tuple(lines),
        unknown=c.s.deficiency.unknown,
        choices=order_tests(c, (Test.SERUM_B12, Test.MMA, Test.HOMOCYSTEINE)),
        exclusive=False,
    )


def _at_risk(c: Case) -> bool:
    active = [f for f in c.s.crohns if f.activity is not Activity.REMISSION]
    limit = c.protocol.thresholds.crohns_extent_cm
    newest_extent = sorted(
        c.facts.extents, key=lambda e: (e.record.on is not None, e.record.on or c.facts.as_of)
    )
    return (
        bool(active)
        and bool(newest_extent)
        and newest_extent[-1].length.longer_than(limit) is Answer.YES
        and c.s.ileum.over_threshold is not Answer.YES
        and c.s.deficiency.level is Level.NONE
        and c.s.phase.stage is not Stage.LOADED
    )


def symptoms(c: Case) -> Result:
    """S19, row 24: PHASE loaded, an active symptom that is not neurological, began after
    maintenance did and within `symptom_recent_months`, and a maintenance order of a longer
    interval than `monthly_min_days` was picked. A new neurological finding is for the regimen
    card.
    """
    if c.s.under_age or not c.s.recurring_symptoms:
        return "no symptom that began on maintenance in the last 6 months"
    if c.s.neuro.state is NeuroState.PRESENT and c.s.neuro_new_on_maintenance:
        return "new neurological signs call for the neurological regimen"
    if cobalamin_allergy(c.facts):
        return "an allergy forbids every cobalamin"
    orders = [o for o in c.injections if _is_usual_maintenance(c, o)]
    if not orders:
        return "no maintenance order at the usual interval picked"
    order = orders[0]
    choices = tuple(_more_often(c, order, key) for key in MORE_OFTEN)
    return card(
        c,
        "symptoms",
        because=(*c.s.recurring_symptoms, *c.s.phase.because),
        proposal=_proposal(choices),
        choices=choices,
    )


MORE_OFTEN = ("every-4-weeks", "every-2-weeks", "twice-a-week")


def _is_usual_maintenance(c: Case, order: Order) -> bool:
    """Maintenance less often than every 4 weeks; a shorter interval is the answer already."""
    said = order.schedule
    if said is None or OrderKind.MAINTENANCE not in c.kinds(order):
        return False
    return said.interval_days > c.protocol.thresholds.monthly_min_days


def _more_often(c: Case, order: Order, key: str) -> Choice:
    policy = c.protocol.policy
    product = c.protocol.products.get(order.ingredient.value, c.protocol.products[policy.product])
    if c.s.avoid_cyanocobalamin:
        product = c.protocol.products[policy.product_leber]
    told = Regimen((c.protocol.phase(PhaseName.MAINTENANCE, key, product),))
    label = words.sentence(words.regimen(told))
    return Choice(label, (PrescribeRegimen(told, order.record.reference),))


def route(c: Case) -> Result:
    """F.3: a B12 order by mouth or nose with DEF confirmed or probable. Warning with NEURO
    present; info with NEURO possible, malabsorption, severe deficiency (see the choices between
    sources), by nose before loading, or by mouth below `oral_standard_ug_per_day` a day on
    average. Not where oral B12 of at least that much is running already, unless NEURO is
    present.
    """
    orders = [o for o in c.enteral if not _renews_oral(c, o)]
    if not orders or c.s.under_age or cobalamin_allergy(c.facts):
        return "no new oral or nasal B12 order in an adult who may have an injection"
    offered = c.offered
    if offered is None or not c.s.deficiency.level.is_deficient:
        return "no deficiency on record"
    order = orders[0]
    key, indicator, lines = _route_reason(c, order)
    if not key:
        return "oral treatment is an acceptable alternative here"
    there = b12_not_enough(c)
    choices = tuple(
        Choice(
            _label(c, option, option.regimen),
            (PrescribeRegimen(option.regimen, replaces=order.record.reference),),
            recommended=offered.settled and not option.alternative,
        )
        for option in offered.options
    )
    return card(
        c,
        key,
        indicator=indicator,
        because=(*lines, *c.s.deficiency.because, *there.too_little),
        unknown=(*_unknown(c, offered), *there.unknown),
        proposal=_proposal(choices),
        remarks=_medicine_remarks(c),
        choices=choices,
        exclusive=len(choices) > 1,
    )


def _route_reason(c: Case, order: Order) -> tuple[str, Indicator, tuple[Line, ...]]:
    policy, s = c.protocol.policy, c.s
    if s.neuro.state is NeuroState.PRESENT:
        return "route", Indicator.WARNING, s.neuro.because
    if s.neuro.state is NeuroState.POSSIBLE:
        return "route", Indicator.INFO, s.neuro.because
    wide = policy.route_for_malabsorption == "any" and bool(s.malabsorption)
    narrow = policy.route_for_malabsorption == "lifelong-causes" and s.lifelong_cause
    if wide or narrow:
        return "route", Indicator.INFO, s.malabsorption
    if policy.route_for_severe and s.deficiency.severe:
        return "route", Indicator.INFO, ()
    nasal = order.route is Route.NASAL
    if nasal and policy.route_for_nasal and s.phase.stage is Stage.NOT_LOADED:
        return "route-nasal", Indicator.INFO, ()
    average = average_daily_ug(order)
    standard = c.protocol.thresholds.oral_standard_ug_per_day
    low = not nasal and average is not None and average < standard
    if low and policy.route_for_low_oral_dose:
        return "route-low-dose", Indicator.INFO, ()
    return "", Indicator.INFO, ()


def _renews_oral(c: Case, order: Order) -> bool:
    """Settled on oral treatment already, without neurological signs."""
    if c.s.neuro.state is NeuroState.PRESENT:
        return False
    if c.facts.unread(Subject.ORDERS):
        return True  # the order it renews may be in the part that was not read
    return any(
        o.ingredient.is_cobalamin
        and o.route.is_enteral
        and is_running(o, c.facts)
        and enough_by_mouth(o, c.protocol) is Answer.YES
        for o in c.facts.orders
    )


def unavailable(c: Case) -> Result:
    """A part of the record that decides was not sent or not read, or a query for any part failed.
    On other cards of the answer it is named as well.
    """
    if not (c.b12 or c.folic_acid or c.ended):
        return "nothing of ours picked"
    lines = gap_lines(c)
    if not lines:
        return "everything was read"
    if c.s.complete_record and not _failed(c):
        return "what was not supplied does not decide the advice"
    whole = c.s.deficiency.level is Level.UNAVAILABLE
    return card(c, "unavailable" if whole else "unavailable-partly")


def _failed(c: Case) -> bool:
    """A query that was tried and failed, as opposed to one the site does not make."""
    return any(g.kind in ("server_error", "unreadable", "truncated") for g in c.facts.gaps)
