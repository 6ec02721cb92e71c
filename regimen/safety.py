"""The never-events and order-time checks. They are computed apart from the regimen, whatever the
age and the evidence, and they accumulate.

Each function is one check: it answers with its card, or with why there is none.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from regimen import words
from regimen.calendar import within_days
from regimen.case import Case, Result, b12_not_enough, card, order_tests, remove_choice
from regimen.deficiency import Level, lab_line
from regimen.facts import (
    Allergen,
    Allergy,
    Analyte,
    Answer,
    Concept,
    Flag,
    Ingredient,
    Order,
    OrderKind,
    OrderStatus,
    PatientFacts,
    Route,
    Subject,
    Test,
)
from regimen.labs import below, in_unit, newest_first
from regimen.phase import Stage
from regimen.protocol import Protocol
from regimen.recommendation import (
    Choice,
    CorrectDraft,
    Indicator,
    KeepOrder,
    Line,
    PrescribeRegimen,
    Product,
)
from regimen.schedule import DAYS, Unit
from regimen.situation import Cause, Situation, finding_line
from regimen.treatment import (
    daily_dose_ug,
    is_b12_treatment,
    is_parenteral_b12,
    is_running,
    running_injections,
    stopped_in_session,
)

# Where a cause of malabsorption would be recorded.
CAUSES = (Subject.CONDITIONS, Subject.OBSERVATIONS, Subject.PROCEDURES)


# --- what is wrong with one order, and its correction -----------------------------------------


def highest_dose_ug(order: Order) -> Decimal | None:
    return max((line.dose_ug for line in order.lines if line.dose_ug is not None), default=None)


def dose_too_high(order: Order, protocol: Protocol) -> Indicator | None:
    """F.5. A volume of unknown strength has no dose here, and so is never "high"."""
    t = protocol.thresholds
    amount = highest_dose_ug(order)
    if amount is None:
        return None
    if order.route.is_enteral:
        daily = daily_dose_ug(order) or amount
        if amount >= t.oral_critical_ug:
            return Indicator.CRITICAL
        return Indicator.WARNING if daily > t.oral_warning_ug_per_day else None
    if amount >= t.dose_critical_ug:
        return Indicator.CRITICAL
    return Indicator.WARNING if amount > t.usual_dose_ug else None


def dose_too_low(order: Order, protocol: Protocol) -> bool:
    """E.2.9 d: an injection so small that it may be a slip of units."""
    amount = order.dose_ug
    low = amount is not None and amount < protocol.thresholds.dose_low_ug
    return low and not order.route.is_enteral


def dose_is_wrong(order: Order, protocol: Protocol) -> bool:
    return dose_too_high(order, protocol) is not None or dose_too_low(order, protocol)


def given_by_vein(order: Order) -> bool:
    return any(line.route is Route.INTRAVENOUS for line in order.lines)


def leber_conflict(order: Order, s: Situation) -> bool:
    return order.ingredient is Ingredient.CYANOCOBALAMIN and s.avoid_cyanocobalamin


def cobalamin_allergy(facts: PatientFacts) -> tuple[Allergy, ...]:
    """The allergies that forbid every cobalamin: to a cobalamin, or severe to cobalt."""
    return tuple(
        a
        for a in facts.allergies
        if a.allergen is Allergen.COBALAMIN or (a.allergen is Allergen.COBALT and a.severe)
    )


def correction(c: Case, order: Order, label: str, **values: object) -> tuple[Choice, ...]:
    """One suggestion that puts right all that is dangerous in this order at once, so that no
    suggestion of one card contains what another forbids. None with a cobalamin allergy."""
    if cobalamin_allergy(c.facts):
        return ()
    switch = leber_conflict(order, c.s)
    if switch and order.route.is_enteral:
        return _switch_to_injection(c, order)
    product = c.protocol.products["hydroxocobalamin"] if switch else None
    usual = product or _usual_dose(order, c.protocol)
    unsaid = order.dose_ug is None and not order.route.is_enteral
    rewrite = dose_is_wrong(order, c.protocol) or switch or unsaid
    step = CorrectDraft(
        draft=order.record.reference,
        product=product,
        dose=usual if rewrite else None,
        route=Route.INTRAMUSCULAR if given_by_vein(order) else None,
    )
    return (Choice(c.protocol.say(label, **values), (step,), recommended=c.s.complete_record),)


def _switch_to_injection(c: Case, order: Order) -> tuple[Choice, ...]:
    """From tablets or spray to the injection its schedule changes too: the protocol's regimen, or
    where it has none, no order."""
    offered = c.offered
    if offered is None or c.s.under_age:
        return (remove_choice(c, order),)
    return tuple(
        Choice(
            c.protocol.say("label-product-regimen", words=words.regimen(option.regimen)),
            (PrescribeRegimen(option.regimen, replaces=order.record.reference),),
            recommended=offered.settled,
        )
        for option in offered.main
    )


def _usual_dose(order: Order, protocol: Protocol) -> Product:
    key = order.ingredient.value
    return protocol.products.get(key, protocol.products["cyanocobalamin"])


# --- the checks -------------------------------------------------------------------------------


def iv_route(c: Case) -> Result:
    """S21: a cyanocobalamin order by vein (critical), or another cobalamin by vein (warning). Not
    hydroxocobalamin as an antidote, from `antidote_dose_ug` up, or with cyanide poisoning or an
    inborn error of cobalamin metabolism on record.
    """
    orders = [o for o in c.b12 if given_by_vein(o)]
    if not orders:
        return "no B12 order by vein"
    cyano = [o for o in orders if o.ingredient is not Ingredient.HYDROXOCOBALAMIN]
    order = (cyano or orders)[0]
    key = "ivroute" if order.ingredient is Ingredient.CYANOCOBALAMIN else "ivroute-hydroxocobalamin"
    return card(c, key, because=_ordered(order), choices=correction(c, order, "label-route"))


def dose(c: Case) -> Result:
    """F.5: one injected dose above `usual_dose_ug` (warning) or from `dose_critical_ug` up
    (critical); by mouth or nose above `oral_warning_ug_per_day` a day (warning), or one dose
    from `oral_critical_ug` up (critical). A dose that is not stated, and a volume of unknown
    strength, is never too high; one too low is a deviation of the regimen card.
    """
    high = [(dose_too_high(o, c.protocol), o) for o in c.b12]
    found = sorted(
        [(level, o) for level, o in high if level is not None],
        key=lambda pair: (pair[0].rank, highest_dose_ug(pair[1]) or Decimal(0)),
        reverse=True,
    )
    if not found:
        return "no dose above the usual"
    level, order = found[0]
    usual = c.protocol.thresholds.usual_dose_ug
    amount = highest_dose_ug(order) or usual
    label = words.dose(usual)
    key = "dose-oral" if order.route.is_enteral and level is Indicator.WARNING else "dose"
    return card(
        c,
        key,
        indicator=level,
        because=_ordered(order),
        choices=correction(c, order, "label-dose", dose=label),
        amount=_milligrams(amount),
        times=words.number(amount / usual),
    )


def _milligrams(micrograms: Decimal) -> str:
    return f"{words.number(micrograms / 1000)} mg"


def allergy(c: Case) -> Result:
    """F.9: with any B12 order, also in a combination: an allergy to a cobalamin, or a severe one
    to cobalt (critical); another to cobalt (warning); to benzyl alcohol or parabens, where an
    injection that is not preservative-free was picked (warning). Refuted and ended allergies do
    not count.
    """
    orders = (*c.b12, *c.combinations)
    if not orders:
        return "no B12 order"
    forbidding = cobalamin_allergy(c.facts)
    if forbidding:
        choices = tuple(remove_choice(c, o) for o in orders)
        return card(c, "allergy", because=_allergy_lines(c, forbidding), choices=choices)
    cobalt = tuple(a for a in c.facts.allergies if a.allergen is Allergen.COBALT)
    if cobalt:
        return card(c, "allergy-cobalt", because=_allergy_lines(c, cobalt))
    preserved = [o for o in c.b12 if o.preserved and o.route.is_parenteral]
    to_preservative = tuple(a for a in c.facts.allergies if a.allergen is Allergen.PRESERVATIVE)
    if to_preservative and preserved:
        return card(c, "allergy-preservative", because=_allergy_lines(c, to_preservative))
    return "no allergy to cobalamin, cobalt or preservatives on record"


def _allergy_lines(c: Case, found: tuple[Allergy, ...]) -> tuple[Line, ...]:
    return tuple(
        Line(
            c.protocol.say(
                "allergy-severe" if a.severe else "allergy",
                label=a.record.label,
                since=words.since(a.record.on),
            ),
            (a.record,),
        )
        for a in found
    )


def leber(c: Case) -> Result:
    """F.10: with a cyanocobalamin order by any route, also in a combination: Leber optic
    neuropathy on record, verified and not ended (critical); unverified, ended, a code that may
    mean it, or in the family (warning). Never with hydroxocobalamin.
    """
    orders = [o for o in (*c.b12, *c.combinations) if o.ingredient is Ingredient.CYANOCOBALAMIN]
    if not orders:
        return "no cyanocobalamin order"
    if c.s.leber:
        lines = tuple(finding_line("leber", f, c.protocol) for f in c.s.leber)
        return card(c, "leber", because=lines, choices=_switch(c, orders[0]))
    doubtful = [finding_line("leber", f, c.protocol) for f in c.s.leber_possible]
    family = [finding_line("leber-family", f, c.protocol) for f in c.s.leber_family]
    if doubtful or family:
        lines = tuple(doubtful + family)
        return card(c, "leber-warning", because=lines, choices=_switch(c, orders[0]))
    return "no Leber optic neuropathy on record"


def _switch(c: Case, order: Order) -> tuple[Choice, ...]:
    if order.combination:
        return (remove_choice(c, order),)
    return correction(c, order, "label-product")


def stop(c: Case) -> Result:
    """S10, F.16: a B12 order is stopped, put on hold or not to be given, and no other B12
    treatment goes on; or maintenance is ordered to end before `finite_maintenance_months`.
    CAUSE irreversible: a stop is critical, a hold and an end are warnings. CAUSE unknown: info.
    CAUSE reversible, or end-of-life care: no card. With a cobalamin allergy: info, whatever the
    cause.
    """
    there = b12_not_enough(c)
    ended = [o for o in c.ended if not _is_clean_up(c, o)]
    limited = [o for o in c.injections if _is_time_limited(c, o)]
    if not ended and not limited:
        return "no B12 order is stopped, held or time-limited without a replacement"
    if c.facts.found(Concept.END_OF_LIFE):
        return "end-of-life care is recorded"
    if cobalamin_allergy(c.facts):
        lines = _allergy_lines(c, cobalamin_allergy(c.facts))
        return card(c, "stop-allergy", because=(*lines, *c.s.cause_lines))
    if c.s.cause is Cause.REVERSIBLE:
        return "the recorded cause is reversible"
    if c.s.cause is Cause.UNKNOWN:
        if c.facts.unread(*CAUSES):
            return "the cause could not be looked for"
        if not c.protocol.policy.stop_cause_unknown:
            return "no cause on record; this profile is then silent"
        order = (ended or limited)[0]
        unknown = (Line(c.protocol.say("cause-not-recorded")), *there.unknown)
        because = (*_ordered(order), *there.too_little)
        return card(c, "stop-unknown", because=because, unknown=unknown, choices=_keep(c, order))
    because = (*c.s.cause_lines, *there.too_little)
    if ended:
        stopped = [o for o in ended if o.status is OrderStatus.STOPPED]
        order = (stopped or ended)[0]
        key = "stop" if stopped else "stop-hold"
    else:
        order, key = limited[0], "stop-finite"
    return card(c, key, because=because, unknown=there.unknown, choices=_keep(c, order))


def _keep(c: Case, order: Order) -> tuple[Choice, ...]:
    """Take the stop back; not an order that another check forbids or corrects.

    A stop that says no dose or no schedule would come back as an order that nobody could give: it
    is removed instead, and what is on record stays as it is.
    """
    if _is_unsafe(c, order):
        return ()
    if order.status in (OrderStatus.STOPPED, OrderStatus.ON_HOLD):
        if order.dose_ug is None or order.schedule is None:
            removed = remove_choice(c, order, "label-keep-undetailed")
            return (replace(removed, recommended=c.s.complete_record),)
        label = c.protocol.say("label-keep")
    else:
        open_ended = replace(order.schedule, count=None, bounds=None) if order.schedule else None
        label = c.protocol.say("label-no-end", words=words.schedule(open_ended))
    step = KeepOrder(order.record.reference)
    return (Choice(label, (step,), recommended=c.s.complete_record),)


def _is_unsafe(c: Case, order: Order) -> bool:
    conflict = leber_conflict(order, c.s) or bool(cobalamin_allergy(c.facts))
    return conflict or given_by_vein(order) or dose_is_wrong(order, c.protocol)


def _is_clean_up(c: Case, order: Order) -> bool:
    """Other B12 treatment goes on: ordered in this session, or running in the record."""
    gone = stopped_in_session(c.facts) | order.continues | {order.record.reference}
    # Where B12 is not to be given, what runs in the record is what is meant, not a replacement.
    running = () if order.forbids else (o for o in c.facts.orders if is_running(o, c.facts))
    # What is being ordered may lack its details (E.1); what runs must be known to be enough.
    fit = (Answer.YES, Answer.UNKNOWN)
    replacements = (
        *(o for o in c.session_b12 if is_b12_treatment(o, c.protocol) in fit),
        *(o for o in running if is_b12_treatment(o, c.protocol) is Answer.YES),
    )
    return any(
        o.record.reference not in gone and OrderKind.ONCE not in c.kinds(o) for o in replacements
    )


def _is_time_limited(c: Case, order: Order) -> bool:
    """Maintenance that ends within 12 months: 364 days do, 365 do not. Loading ends by design."""
    said = order.schedule
    if said is None or c.kinds(order) != {OrderKind.MAINTENANCE}:
        return False
    length = said.length_days
    year = int(c.protocol.thresholds.finite_maintenance_months * DAYS[Unit.MONTH])
    return length is not None and length < year


def duplicate(c: Case, *, proposes_loading: bool) -> Result:
    """F.8: an injection beside a running one, or two picked at once; not a renewal of it, not one
    this session stops, not loading beside maintenance, not two orders of one group.

    An order without a schedule is taken for what the regimen would make of it.
    """
    gone = stopped_in_session(c.facts)
    for order in c.injections:
        if c.kinds(order) == {OrderKind.UNDETERMINED} and proposes_loading:
            continue
        for other in running_injections(c.facts):
            if other.record.reference not in gone and _competes(c, order, other):
                text = c.protocol.say(
                    "duplicate",
                    product=words.order(other),
                    on=words.day(other.start),
                )
                return card(
                    c,
                    "duplicate",
                    because=(Line(text, (other.record,)),),
                    choices=(remove_choice(c, order),),
                )
    return _selected_twice(c)


def _selected_twice(c: Case) -> Result:
    picked = [o for o in c.injections if is_parenteral_b12(o)]
    for index, first in enumerate(picked):
        for second in picked[index + 1 :]:
            if _competes(c, second, first):
                line = Line(c.protocol.say("duplicate-selected"))
                return card(c, "duplicate", because=(line,), choices=(remove_choice(c, second),))
    return "no other running B12 injection order"


def _competes(c: Case, order: Order, other: Order) -> bool:
    if order.record.reference == other.record.reference:
        return False
    if other.record.reference in order.continues or order.record.reference in other.continues:
        return False
    if order.group and order.group == other.group:
        return False
    ordered, running = c.kinds(order), c.kinds(other)
    pair = {OrderKind.LOADING, OrderKind.MAINTENANCE}
    return not (ordered != running and ordered | running == pair)


def potassium(c: Case) -> Result:
    """F.13: a loading order, or any injection where PHASE is not loaded, with the newest potassium
    below `potassium_low_mmol_l` or haemoglobin below `haemoglobin_severe_g_l` (in pregnancy
    `haemoglobin_severe_pregnant_g_l`), not older than `recent_lab_days`.
    """
    starts = [o for o in c.injections if _starts_treatment(c, o)]
    if not starts:
        return "no loading or first injection picked"
    t = c.protocol.thresholds
    limit = t.haemoglobin_severe_pregnant_g_l if c.s.pregnant else t.haemoglobin_severe_g_l
    lines = [
        *_recently_low(c, Analyte.POTASSIUM, t.potassium_low_mmol_l, Flag.LOW, Flag.CRITICALLY_LOW),
        *_recently_low(c, Analyte.HAEMOGLOBIN, limit, Flag.CRITICALLY_LOW),
    ]
    if not lines:
        return "potassium and haemoglobin of the last 30 days are not low, or absent"
    choices = order_tests(
        c,
        (Test.POTASSIUM,),
        urgent=True,
        note="Now, and again 48 hours after the first B12 injection",
    )
    return card(c, "potassium", because=tuple(lines), choices=choices)


def _recently_low(c: Case, analyte: Analyte, cut_off: Decimal, *flags: Flag) -> list[Line]:
    """The newest result, if it is below; by one of these flags where it came without a number."""
    judged = [
        r
        for r in c.facts.results(analyte)
        if not r.preliminary
        and within_days(r.on, c.facts.as_of, c.protocol.thresholds.recent_lab_days)
        and (in_unit(r) is not None or (r.value is None and r.flag is not None))
    ]
    latest = next(iter(newest_first(judged, c.protocol)), None)
    if latest is None:
        return []
    if latest.value is None:
        said = latest.flag in flags
        return [lab_line("lab-low-flag", latest, c.protocol)] if said else []
    return [lab_line("lab", latest, c.protocol)] if below(latest, cut_off) else []


def _starts_treatment(c: Case, order: Order) -> bool:
    if OrderKind.LOADING in c.kinds(order):
        return True
    return c.s.phase.stage is Stage.NOT_LOADED and not c.s.phase.unread


def pregnancy(c: Case) -> Result:
    """F.11: a B12 order in pregnancy, unless DEF is confirmed: total B12 is falsely low in
    pregnancy. A recorded pregnancy status counts for `pregnancy_status_months`.
    """
    if not c.b12:
        return "no B12 order"
    if not c.s.pregnant:
        return "no pregnancy on record"
    if c.s.deficiency.level is Level.CONFIRMED:
        return "the deficiency is demonstrated"
    because = tuple(finding_line("pregnancy", f, c.protocol) for f in c.s.pregnancy)
    choices = order_tests(c, (Test.ACTIVE_B12, Test.MMA))
    return card(
        c,
        "pregnancy",
        because=(*because[:1], *c.s.deficiency.because),
        choices=choices,
        exclusive=False,
    )


def paediatric(c: Case) -> Result:
    """F.12: a B12 order under `min_age_years`, by the latest possible date of birth. The cards
    regimen, referral, route, symptoms, risk and evidence do not come then. An unknown age is
    treated as adult, and said.
    """
    if not c.b12:
        return "no B12 order"
    if not c.s.under_age:
        return "of the protocol's age, or age unknown"
    person = (c.facts.person,)
    because = [Line(c.protocol.say("age", years=c.s.age_years), about=person)]
    neonate = c.s.age_days is not None and c.s.age_days < c.protocol.thresholds.neonate_days
    if neonate:
        because.append(Line(c.protocol.say("neonate"), about=person))
    elif born := c.facts.found(Concept.PREMATURE):
        about = tuple(f.record for f in born)
        because.append(Line(c.protocol.say("premature"), about=about))
    return card(c, "paediatric", because=tuple(because), age=c.protocol.thresholds.min_age_years)


def _ordered(order: Order) -> tuple[Line, ...]:
    text = words.order(order)
    return (Line(words.sentence(text), (order.record,)),)
