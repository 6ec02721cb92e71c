"""One call's question: which selected orders are to be judged, and for what."""

from __future__ import annotations

from dataclasses import dataclass, replace

from regimen import words
from regimen.calendar import within_days
from regimen.choose import Plan, plan
from regimen.facts import (
    Answer,
    Concept,
    Gap,
    GapKind,
    Ingredient,
    Order,
    OrderKind,
    OrderStatus,
    PatientFacts,
    Route,
    Test,
)
from regimen.protocol import Protocol
from regimen.recommendation import (
    Choice,
    Indicator,
    Line,
    OrderTests,
    PrescribeRegimen,
    Recommendation,
    RemoveDraft,
    Topic,
)
from regimen.situation import Situation
from regimen.treatment import enough_by_mouth, is_running, kinds, stopped_in_session

ENDS = (OrderStatus.STOPPED, OrderStatus.ON_HOLD)

# What a rule answers: its card, or in a few words why it has none.
Result = Recommendation | str


@dataclass(frozen=True, slots=True)
class Case:
    facts: PatientFacts
    s: Situation
    protocol: Protocol
    b12: tuple[Order, ...]  # selected B12 orders of one ingredient, not ended, for deficiency
    combinations: tuple[Order, ...]  # selected products with B12 among other ingredients
    folic_acid: tuple[Order, ...]
    ended: tuple[Order, ...]  # selected B12 orders that are a stop or a hold
    offered: Plan | None  # the regimens the protocol offers; None: no row applies

    @property
    def injections(self) -> tuple[Order, ...]:
        return tuple(o for o in self.b12 if o.route.is_parenteral or o.route is Route.UNKNOWN)

    @property
    def enteral(self) -> tuple[Order, ...]:
        return tuple(o for o in self.b12 if o.route.is_enteral)

    def kinds(self, order: Order) -> frozenset[OrderKind]:
        return kinds(order, self.protocol)

    @property
    def session_b12(self) -> tuple[Order, ...]:
        """B12 orders of the session that are being ordered, selected or not."""
        return tuple(
            o for o in self.facts.session if o.ingredient.is_cobalamin and o.status not in ENDS
        )


def case(facts: PatientFacts, s: Situation, protocol: Protocol) -> Case:
    picked = [o for o in facts.selected if not _other_indication(o, facts, protocol)]
    ordered = [o for o in picked if o.status not in (*ENDS, OrderStatus.COMPLETED)]
    cobalamins = [o for o in ordered if o.ingredient.is_cobalamin]
    return Case(
        facts=facts,
        s=s,
        protocol=protocol,
        b12=tuple(o for o in cobalamins if not o.combination),
        combinations=tuple(o for o in cobalamins if o.combination),
        folic_acid=tuple(o for o in ordered if o.ingredient is Ingredient.FOLIC_ACID),
        ended=tuple(o for o in picked if o.ingredient.is_cobalamin and o.status in ENDS),
        offered=plan(s, protocol),
    )


def _other_indication(order: Order, facts: PatientFacts, protocol: Protocol) -> bool:
    """F.4, E.2.2: hydroxocobalamin by vein for cyanide or an inborn error is not ours at all.

    Not at 1 g without a recorded indication: 1000 mg is just what a slip of units looks like.
    """
    if order.ingredient is not Ingredient.HYDROXOCOBALAMIN:
        return False
    if order.antidote and order.route in (Route.INTRAVENOUS, Route.PARENTERAL, Route.UNKNOWN):
        return True
    if order.route is not Route.INTRAVENOUS:
        return False
    high = order.dose_ug is not None and order.dose_ug >= protocol.thresholds.antidote_dose_ug
    return high or bool(facts.found(Concept.CYANIDE, Concept.INBORN_COBALAMIN_ERROR))


# --- building cards ---------------------------------------------------------------------------


def card(
    c: Case,
    key: str,
    *,
    indicator: Indicator | None = None,
    summary: str | None = None,
    because: tuple[Line, ...] = (),
    unknown: tuple[Line, ...] = (),
    proposal: tuple[Line, ...] = (),
    remarks: tuple[Line, ...] = (),
    choices: tuple[Choice, ...] = (),
    exclusive: bool = True,
    cites: tuple[str, ...] = (),
    **values: object,
) -> Recommendation:
    """The catalogue's card `key`, filled in. What could not be read is named on every card."""
    text = c.protocol.cards[key]
    said = text.proposal.format(**values)
    level = indicator or text.indicator
    asked = (Line(c.protocol.say("critical-reason")),) if level is Indicator.CRITICAL else ()
    made = Recommendation(
        topic=text.topic,
        indicator=level,
        rule=key,
        summary=summary or text.summary.format(**values),
        because=because,
        unknown=(*unknown, *gap_lines(c)),
        proposal=(*((Line(said),) if said else ()), *proposal),
        remarks=(*remarks, *asked),
        choices=choices,
        exclusive=exclusive,
        statements=tuple(dict.fromkeys((*text.statements, *cites))),
        override_reasons=text.reasons,
    )
    return _discreet(made, c, own_words=summary is None) if c.facts.restricted else made


def _discreet(r: Recommendation, c: Case, *, own_words: bool) -> Recommendation:
    """The same, quoting no record that is labelled as restricted. Of a regimen, where what is on
    record chooses the headline, the statement and the rule, these say nothing of it either."""
    hidden = any(line.restricted for line in r.because)
    r = replace(
        r,
        because=_quotable(r.because, c),
        unknown=_quotable(r.unknown, c),
        remarks=_quotable(r.remarks, c),
    )
    if not hidden or r.topic is not Topic.REGIMEN:
        return r
    settled = any(choice.recommended for choice in r.choices)
    choices = tuple(_plainly(choice) if settled else choice for choice in r.choices)
    return replace(
        r,
        rule=r.topic.value,
        summary=c.protocol.say("restricted-regimen") if own_words else r.summary,
        proposal=tuple(Line(choice.label) for choice in choices if not _is_tests(choice)),
        choices=choices,
        statements=(),
    )


def _is_tests(choice: Choice) -> bool:
    return all(isinstance(step, OrderTests) for step in choice.steps)


def _plainly(choice: Choice) -> Choice:
    """Named by its regimen alone, and not by whom it is for."""
    for step in choice.steps:
        if isinstance(step, PrescribeRegimen):
            return replace(choice, label=words.sentence(words.regimen(step.regimen)))
    return choice


def _quotable(lines: tuple[Line, ...], c: Case) -> tuple[Line, ...]:
    kept = tuple(line for line in lines if not line.restricted)
    return kept if kept == lines else (*kept, Line(c.protocol.say("restricted")))


def gap_lines(c: Case) -> tuple[Line, ...]:
    """One line per part of the record that was not, or not fully, read."""
    worst: dict[str, Gap] = {}
    for gap in c.facts.gaps:
        if gap.kind is not GapKind.OTHER_PATIENT:
            worst.setdefault(gap.subject.value, gap)
    return tuple(
        Line(
            c.protocol.say(
                "gap",
                subject=c.protocol.say(f"subject-{subject}"),
                kind=c.protocol.say(f"gap-{gap.kind.value}"),
            )
        )
        for subject, gap in sorted(worst.items())
    )


@dataclass(frozen=True, slots=True)
class NotEnough:
    """B12 on record that does not count as treatment, in words."""

    too_little: tuple[Line, ...] = ()  # by mouth, less than 1000 microgram a day
    unknown: tuple[Line, ...] = ()  # how much a day cannot be told


def b12_not_enough(c: Case) -> NotEnough:
    """Running B12 that is not shown to be enough: by mouth, by an unknown way, or an injection that
    does not say since when."""
    gone = stopped_in_session(c.facts)
    standard = words.dose(c.protocol.thresholds.oral_standard_ug_per_day)
    lines: dict[Answer, list[Line]] = {Answer.NO: [], Answer.UNKNOWN: []}
    for order in c.facts.orders:
        if not order.ingredient.is_cobalamin or order.combination:
            continue
        if not is_running(order, c.facts) or order.record.reference in gone:
            continue
        if order.route.is_parenteral:
            if order.start is None:
                text = c.protocol.say("b12-start-unknown", order=words.sentence(words.order(order)))
                lines[Answer.UNKNOWN].append(Line(text, (order.record,)))
            continue
        enough = enough_by_mouth(order, c.protocol)
        if enough is Answer.NO and order.route is Route.UNKNOWN:
            enough = Answer.UNKNOWN  # rare doses may be injections
        if enough is not Answer.YES:
            key = "b12-too-little" if enough is Answer.NO else "b12-amount-unknown"
            text = c.protocol.say(key, order=words.sentence(words.order(order)), standard=standard)
            lines[enough].append(Line(text, (order.record,)))
    return NotEnough(tuple(lines[Answer.NO]), tuple(lines[Answer.UNKNOWN]))


TEST_NAMES = {
    Test.SERUM_B12: "serum B12",
    Test.ACTIVE_B12: "active B12",
    Test.MMA: "methylmalonic acid (MMA)",
    Test.HOMOCYSTEINE: "homocysteine",
    Test.FOLATE: "folate",
    Test.FBC: "full blood count",
    Test.POTASSIUM: "potassium",
    Test.IF_ANTIBODY: "intrinsic factor antibody",
}


def order_tests(
    c: Case,
    tests: tuple[Test, ...],
    *,
    label: str = "label-tests",
    urgent: bool = False,
    every_months: int | None = None,
    note: str = "",
) -> tuple[Choice, ...]:
    """A suggestion that orders the tests not already requested; none if all are. MMA only where
    it could still tell something."""
    days = c.protocol.thresholds.referral_recent_days
    requested = {
        r.test for r in c.facts.requests if r.draft or within_days(r.record.on, c.facts.as_of, days)
    }
    wanted = tuple(
        t for t in tests if t not in requested and (t is not Test.MMA or c.s.deficiency.mma_useful)
    )
    if not wanted:
        return ()
    names = ", ".join(TEST_NAMES[t] for t in wanted)
    step = OrderTests(wanted, urgent=urgent, every_months=every_months, note=note)
    return (Choice(c.protocol.say(label, words=names), (step,)),)


def not_confirmed(c: Case) -> Line:
    """Of a probable deficiency: never "confirmed"; and what could confirm it."""
    useful = c.s.deficiency.mma_useful
    return Line(c.protocol.say("not-confirmed-mma" if useful else "not-confirmed"))


def remove_choice(c: Case, order: Order, label: str = "label-remove") -> Choice:
    return Choice(c.protocol.say(label), (RemoveDraft(order.record.reference),))
