"""Does the picked order already conform to what the protocol offers, in any equivalent encoding?

A dose, route or schedule that is not stated is never a deviation; but an order without a schedule
cannot conform either: the regimen completes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from regimen import words
from regimen.case import Case
from regimen.choose import Option
from regimen.facts import (
    DoseLine,
    Ingredient,
    Order,
    OrderKind,
    Route,
    Subject,
)
from regimen.neurology import NeuroState
from regimen.phase import Stage
from regimen.protocol import Protocol, Thresholds
from regimen.recommendation import Phase, Regimen
from regimen.schedule import Schedule
from regimen.treatment import is_parenteral_b12, kind_of


class Aspect(StrEnum):
    PRODUCT = "product"
    DOSE = "dose"
    ROUTE = "route"
    INTERVAL = "interval"
    DURATION = "duration"
    LOADING = "loading"


@dataclass(frozen=True, slots=True)
class Deviation:
    """One way in which the order differs. `less`: it gives less than the protocol; `alarming`: by
    itself reason for a warning (E.2.9 b-f)."""

    aspect: Aspect
    ordered: str
    protocol: str
    less: bool = False
    alarming: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    option: Option
    deviations: tuple[Deviation, ...] = ()
    undetailed: bool = False  # no schedule that could be read

    @property
    def conforms(self) -> bool:
        return not self.deviations and not self.undetailed

    def without(self, aspects: frozenset[Aspect]) -> Comparison:
        """The same, with what a safety card says already left out."""
        kept = tuple(d for d in self.deviations if d.aspect not in aspects)
        return Comparison(self.option, kept, self.undetailed)


def compare(c: Case, order: Order, option: Option) -> Comparison:
    """The order against one option, phase by phase (E.2.8)."""
    found: dict[tuple[Aspect, str], Deviation] = {}
    undetailed = True
    for line in order.lines:
        kind = kind_of(line, c.protocol)
        undetailed = undetailed and kind is OrderKind.UNDETERMINED
        phase = _phase_for(kind, option.regimen)
        for deviation in (
            *_schedule(c, order, line, kind, option.regimen),
            *_product(c, order, kind, phase),
            *_dose(line, c.protocol),
            *_route(order, line, phase),
        ):
            found.setdefault((deviation.aspect, deviation.ordered), deviation)
    return Comparison(option, tuple(found.values()), undetailed)


def _phase_for(kind: OrderKind, regimen: Regimen) -> Phase:
    if kind is OrderKind.MAINTENANCE and regimen.maintenance is not None:
        return regimen.maintenance
    return regimen.phases[0]


# --- schedule ---------------------------------------------------------------------------------


def _schedule(
    c: Case, order: Order, line: DoseLine, kind: OrderKind, regimen: Regimen
) -> list[Deviation]:
    said = line.schedule
    if said is None:
        return []
    if kind is OrderKind.ONCE:
        return [
            Deviation(
                Aspect.INTERVAL,
                c.protocol.say("single-dose"),
                regimen.phases[0].words,
                less=True,
            )
        ]
    if kind is OrderKind.LOADING:
        return _loading(c, said, regimen)
    return _maintenance(c, order, said, regimen)


def _loading(c: Case, said: Schedule, regimen: Regimen) -> list[Deviation]:
    too_close = said.interval_days * 24 < c.protocol.thresholds.too_close_hours - 1
    phases = [p for p in regimen.phases if p.name == "loading"]
    if not phases:
        if c.s.recurring_symptoms and not too_close:  # S19, S26: up to daily where symptoms recur
            return []
        return [
            Deviation(
                Aspect.INTERVAL,
                words.schedule(said),
                regimen.phases[0].words,
                alarming=too_close,
            )
        ]
    target = next((p for p in phases if same_rhythm(said, p.schedule, c.protocol)), phases[0])
    if not same_rhythm(said, target.schedule, c.protocol):
        return [
            Deviation(
                Aspect.INTERVAL,
                words.schedule(said),
                target.words,
                less=said.interval_days > target.schedule.interval_days
                or (target.schedule.open_ended and not said.open_ended),
                alarming=too_close,
            )
        ]
    return _duration(said, target, c.protocol)


def same_rhythm(said: Schedule, target: Schedule, protocol: Protocol) -> bool:
    """Are the doses as far apart, within the tolerance? For how long is another question."""
    wanted = target.interval_days
    tolerance = wanted * protocol.thresholds.interval_tolerance
    return (
        abs(said.interval_days - wanted) <= tolerance
        and abs(said.longest_interval_days - wanted) <= tolerance
    )


def _duration(said: Schedule, target: Phase, protocol: Protocol) -> list[Deviation]:
    """2 weeks are 14 days or 6 doses; an open-ended loading order must not end by itself (S3)."""
    wanted = target.schedule
    if wanted.open_ended:
        if said.open_ended:
            return []
        return [Deviation(Aspect.DURATION, words.schedule(said), target.words, less=True)]
    if said.open_ended:
        return [Deviation(Aspect.DURATION, protocol.say("no-end"), target.words)]
    by_count = said.count is None or said.count == wanted.count
    by_bounds = said.bounds is None or (
        wanted.bounds is not None
        and abs(said.bounds.days - wanted.bounds.days) <= protocol.thresholds.bounds_tolerance_days
    )
    if by_count and by_bounds:
        return []
    length, usual = said.length_days, wanted.length_days
    less = length is not None and usual is not None and length < usual
    return [Deviation(Aspect.DURATION, words.schedule(said), target.words, less=less)]


def _maintenance(c: Case, order: Order, said: Schedule, regimen: Regimen) -> list[Deviation]:
    deviations = []
    if regimen.loading is not None and not _loading_elsewhere(c, order):
        loading = regimen.loading.words
        deviations.append(
            Deviation(
                Aspect.LOADING,
                c.protocol.say("loading-omitted"),
                c.protocol.say("loading-omitted-protocol", words=loading),
                less=True,
                alarming=c.s.deficiency.severe,
            )
        )
    target = regimen.maintenance
    return deviations if target is None else [*deviations, *_interval(c, order, said, target)]


def _loading_elsewhere(c: Case, order: Order) -> bool:
    """E.2.8: loading in this order, in the same session, or running in the record."""
    if OrderKind.LOADING in c.kinds(order):
        return True
    in_session = any(
        other is not order
        and is_parenteral_b12(other)
        and other.status in ("draft", "active", "unknown")
        and OrderKind.LOADING in c.kinds(other)
        for other in c.facts.session
    )
    return in_session or bool(c.s.phase.running_loading)


def _interval(c: Case, order: Order, said: Schedule, target: Phase) -> list[Deviation]:
    """S26: more frequent is fine down to 14 days. Less frequent is a deviation."""
    t = c.protocol.thresholds
    longest = said.longest_interval_days
    cyano = order.ingredient is Ingredient.CYANOCOBALAMIN
    too_rare = cyano and longest >= t.cyanocobalamin_max_interval_days
    if longest <= _longest_conforming_days(c, target) and not too_rare:
        return []
    ordered, wanted = words.schedule(said), target.words
    if too_rare:  # the interval is wrong for this product
        ordered, wanted = f"cyanocobalamin {ordered}", f"{target.product.name} {wanted}"
    alarming = too_rare or longest > t.three_months_max_days
    return [Deviation(Aspect.INTERVAL, ordered, wanted, less=True, alarming=alarming)]


def _longest_conforming_days(c: Case, target: Phase) -> Decimal:
    """The longest interval that still is this maintenance. S5: after neurological signs anything
    from 2 to 3 months conforms, though 2 is preferred."""
    t = c.protocol.thresholds
    wanted = target.schedule.longest_interval_days
    neuro = c.s.neuro.state is not NeuroState.NONE
    if neuro and target.key == c.protocol.policy.maintenance_neuro and wanted > t.monthly_max_days:
        wanted = max(
            wanted, c.protocol.schedules["every-2-3-months"].schedule.longest_interval_days
        )
    return _window_end(wanted, t)


def _window_end(days: Decimal, t: Thresholds) -> Decimal:
    for low, high in (
        (t.monthly_min_days, t.monthly_max_days),
        (t.two_months_min_days, t.two_months_max_days),
        (t.three_months_min_days, t.three_months_max_days),
    ):
        if low <= days <= high:
            return high
    return days


# --- product, dose, route ---------------------------------------------------------------------


def _product(c: Case, order: Order, kind: OrderKind, phase: Phase) -> list[Deviation]:
    """E.2.10: the other cobalamin is a deviation only before loading; monthly cyanocobalamin is
    maintenance like any other."""
    wanted = phase.product.ingredient
    if order.ingredient is wanted:
        return []
    pair = {Ingredient.HYDROXOCOBALAMIN, Ingredient.CYANOCOBALAMIN}
    usual_pair = {order.ingredient, wanted} == pair
    if usual_pair and kind is OrderKind.MAINTENANCE:
        return []
    if usual_pair and c.s.phase.stage is not Stage.NOT_LOADED:
        return []
    # In the cancer row either product conforms, as long as the regimen is one of those offered.
    if (
        usual_pair
        and c.s.cancer
        and c.protocol.policy.cancer_regimen
        and not c.s.avoid_cyanocobalamin
    ):
        return []
    # Leber optic neuropathy may be in the part that was not read: hydroxocobalamin is then fine.
    unread = c.facts.unread(Subject.CONDITIONS)
    if unread and order.ingredient is Ingredient.HYDROXOCOBALAMIN:
        return []
    return [Deviation(Aspect.PRODUCT, order.ingredient.value, phase.product.name)]


def _dose(line: DoseLine, protocol: Protocol) -> list[Deviation]:
    """Below 1000 microgram; more than that is for the dose card."""
    amount = line.dose_ug
    if amount is None or amount >= protocol.policy.label_dose_accepted_ug:
        return []
    return [
        Deviation(
            Aspect.DOSE,
            words.dose(amount),
            words.dose(protocol.thresholds.usual_dose_ug),
            less=True,
            alarming=amount < protocol.thresholds.dose_low_ug,
        )
    ]


def _route(order: Order, line: DoseLine, phase: Phase) -> list[Deviation]:
    """S22: cyanocobalamin is given IM or SC; hydroxocobalamin is licensed IM only."""
    fine = {Route.INTRAMUSCULAR, Route.PARENTERAL, Route.UNKNOWN}
    if order.ingredient is Ingredient.CYANOCOBALAMIN:
        fine.add(Route.SUBCUTANEOUS)
    if line.route in fine:
        return []
    said = words.ROUTE_WORDS.get(line.route, line.route.value)
    return [Deviation(Aspect.ROUTE, said, words.ROUTE_WORDS[phase.route])]
