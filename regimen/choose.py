"""Which regimen, or which choice of regimens, does the protocol offer this patient?

Three independent choices compose it: product, loading, maintenance. Neurological involvement
decides loading, the most frequent applicable interval decides maintenance. What the record cannot
settle becomes several options with none recommended. `plan` shows the precedence, top to bottom.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from regimen import words
from regimen.bowel import Bariatric
from regimen.facts import Answer, Ingredient
from regimen.neurology import NeuroState
from regimen.phase import Stage
from regimen.protocol import Protocol
from regimen.recommendation import Phase, PhaseName, Product, Regimen
from regimen.schedule import Schedule
from regimen.situation import Cause, Situation


@dataclass(frozen=True, slots=True)
class Option:
    """A regimen on offer. `when`: the condition it is for, in words; `alternative`: offered beside
    the main one, never recommended."""

    regimen: Regimen
    neuro: bool = False
    when: str = ""
    alternative: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`row`: of the scenario table. `card`: of the card catalogue. `settled`: one option may be
    recommended. `prophylaxis`: no deficiency shown."""

    row: int
    card: str
    options: tuple[Option, ...]
    settled: bool
    prophylaxis: bool = False

    @property
    def main(self) -> tuple[Option, ...]:
        return tuple(o for o in self.options if not o.alternative)


def plan(s: Situation, protocol: Protocol) -> Plan | None:
    """E.2 and E.3. None: no regimen to offer (rows 15, 20, 22, 23, 28)."""
    loaded = s.phase.stage is Stage.LOADED
    if s.deficiency.level.is_deficient or (loaded and s.deficiency.level in ("none", "refuted")):
        return _treatment(s, protocol)
    if s.deficiency.level in ("none", "refuted"):
        return _prophylaxis(s, protocol)
    return None


# --- treatment of a deficiency ----------------------------------------------------------------


def _treatment(s: Situation, protocol: Protocol) -> Plan:
    options = _distinct([*_main_options(s, protocol), *_alternatives(s, protocol)])
    mains = [o for o in options if not o.alternative]
    if len(mains) == 1:  # nothing is left to choose, so it has no condition either
        options = tuple(o if o.alternative else replace(o, when="") for o in options)
        mains = [o for o in options if not o.alternative]
    return Plan(
        row=_row(s),
        card=_card(s, mains, protocol),
        options=options,
        settled=len(mains) == 1 and s.complete_record,
    )


def _main_options(s: Situation, protocol: Protocol) -> list[Option]:
    return [
        Option(
            regimen=treatment_regimen(s, protocol, neuro=neuro, monthly=monthly),
            neuro=neuro,
            when=_when(s, protocol, neuro=neuro, monthly=monthly),
        )
        for neuro in _neuro_axis(s)
        for monthly in _monthly_axis(s)
    ]


def _neuro_axis(s: Situation) -> tuple[bool, ...]:
    match s.neuro.state:
        case NeuroState.PRESENT:
            return (True,)
        case NeuroState.POSSIBLE | NeuroState.UNREAD:
            return (True, False)
        case _:
            return (False,)


def _monthly_axis(s: Situation) -> tuple[bool, ...]:
    match s.monthly:
        case Answer.YES:
            return (True,)
        case Answer.UNKNOWN:
            return (True, False)
        case _:
            return (False,)


def _when(s: Situation, protocol: Protocol, *, neuro: bool, monthly: bool) -> str:
    """The condition that a choice is for; empty where there is nothing to choose."""
    parts = []
    if len(_neuro_axis(s)) > 1:
        parts.append(protocol.say("choose-neuro" if neuro else "choose-standard"))
    if len(_monthly_axis(s)) > 1:
        threshold = words.number(protocol.thresholds.ileal_threshold_cm)
        key = _monthly_condition(s) if monthly else "choose-other"
        parts.append(protocol.say(key, threshold=threshold))
    return "; ".join(parts)


def _monthly_condition(s: Situation) -> str:
    unspecified = s.bariatric.kind is Bariatric.UNSPECIFIED
    if unspecified and s.ileum.over_threshold is Answer.UNKNOWN:
        return "choose-monthly-both"
    return "choose-monthly-bariatric" if unspecified else "choose-monthly-resection"


def _alternatives(s: Situation, protocol: Protocol) -> list[Option]:
    """E.3 rows 17-19: the other of the cancer regimen and the standard one, never recommended."""
    if not (s.cancer and protocol.policy.cancer_regimen) or s.avoid_cyanocobalamin:
        return []
    if s.neuro.state in (NeuroState.POSSIBLE, NeuroState.UNREAD):
        return []
    if s.neuro.state is NeuroState.PRESENT:
        when = protocol.say("label-cancer-option")
        return [Option(cancer_regimen(s, protocol), when=when, alternative=True)]
    options = []
    for monthly in _monthly_axis(s):
        other = treatment_regimen(s, protocol, neuro=False, monthly=monthly, cancer=False)
        conditions = [
            protocol.say("label-no-cancer"),
            _when(s, protocol, neuro=False, monthly=monthly),
        ]
        when = "; ".join(filter(None, conditions))
        options.append(Option(other, when=when, alternative=True))
    return options


def _distinct(options: list[Option]) -> tuple[Option, ...]:
    """Choices that come to the same orders are one choice."""
    return tuple({o.regimen: o for o in reversed(options)}.values())[::-1]


def treatment_regimen(
    s: Situation,
    protocol: Protocol,
    *,
    neuro: bool,
    monthly: bool,
    cancer: bool | None = None,
) -> Regimen:
    """E.2.3-5 for one reading of the facts. `cancer` None: as the record says."""
    policy = protocol.policy
    active = bool(s.cancer) and policy.cancer_regimen if cancer is None else cancer
    product = _product(s, protocol, cancer=active and not neuro)
    blocked = s.avoid_cyanocobalamin
    if neuro:
        loading = policy.loading_neuro
    elif active and not blocked:
        loading = policy.loading_cancer
    else:
        loading = policy.loading
    maintenance = _maintenance(protocol, neuro=neuro, monthly=monthly, cancer=active, s=s)
    phases = [
        *(
            protocol.phase(PhaseName.LOADING, key, product)
            for key in (loading if _needs_loading(s, protocol, neuro=neuro) else ())
        ),
        *(
            ()
            if _maintenance_optional(s, neuro=neuro)
            else (protocol.phase(PhaseName.MAINTENANCE, maintenance, product),)
        ),
    ]
    return Regimen(tuple(phases))


def cancer_regimen(s: Situation, protocol: Protocol) -> Regimen:
    """Row 17: cyanocobalamin daily on days 1-10, then monthly."""
    policy = protocol.policy
    product = protocol.products[policy.product_cancer]
    loading = policy.loading_cancer if _needs_loading(s, protocol, neuro=False) else ()
    return Regimen(
        (
            *(protocol.phase(PhaseName.LOADING, key, product) for key in loading),
            protocol.phase(PhaseName.MAINTENANCE, policy.maintenance_cancer, product),
        )
    )


def _product(s: Situation, protocol: Protocol, *, cancer: bool) -> Product:
    """E.2.3: Leber optic neuropathy, certain or possible, rules cyanocobalamin out."""
    policy = protocol.policy
    if s.avoid_cyanocobalamin:
        return protocol.products[policy.product_leber]
    return protocol.products[policy.product_cancer if cancer else policy.product]


def _needs_loading(s: Situation, protocol: Protocol, *, neuro: bool) -> bool:
    """E.2.4: unless loaded; and again for neurological signs that are new on maintenance."""
    if s.phase.stage is not Stage.LOADED:
        return True
    return neuro and new_on_maintenance(s, protocol)


def new_on_maintenance(s: Situation, protocol: Protocol) -> bool:
    """Row 25: neurological signs that began after maintenance did."""
    return (
        s.phase.stage is Stage.LOADED
        and s.neuro.state is NeuroState.PRESENT
        and s.neuro_new_on_maintenance
    )


def _maintenance_optional(s: Situation, *, neuro: bool) -> bool:
    """Row 26: after nitrous oxide, maintenance only if the cause goes on."""
    return (
        neuro
        and s.deficiency.nitrous_oxide
        and s.deficiency.level == "probable"
        and s.cause is not Cause.IRREVERSIBLE
        and s.phase.stage is not Stage.LOADED
    )


def _maintenance(
    protocol: Protocol, *, neuro: bool, monthly: bool, cancer: bool, s: Situation
) -> str:
    """E.2.5: the most frequent of those that apply."""
    policy = protocol.policy
    applicable = [policy.maintenance]
    if neuro:
        applicable.append(policy.maintenance_neuro)
    if monthly:
        ileal = s.bariatric.kind not in (Bariatric.ILEAL, Bariatric.UNSPECIFIED)
        applicable.append(policy.maintenance_ileal if ileal else policy.maintenance_bariatric)
    if cancer:
        applicable.append(policy.maintenance_cancer)
    # Of two schedules with the same shortest interval (every 2, every 2-3 months) the one without
    # the longer end is the more frequent.
    return min(
        applicable,
        key=lambda key: (
            protocol.schedules[key].schedule.interval_days,
            protocol.schedules[key].schedule.longest_interval_days,
        ),
    )


def _card(s: Situation, mains: list[Option], protocol: Protocol) -> str:
    """The entry of the card catalogue whose headline says this regimen, or this choice."""
    if len(mains) > 1:
        return _headline(_choice_card(s), mains, protocol, other="regimen-choice")
    key = _regimen_card(s, mains[0].regimen, protocol)
    return _headline(key, mains, protocol, other="regimen-other")


def _choice_card(s: Situation) -> str:
    """What the record does not settle: signs first, then the bowel."""
    if s.neuro.state is NeuroState.POSSIBLE:
        return "regimen-possible"
    if s.neuro.state is NeuroState.UNREAD:
        return "regimen-neuro-unread"
    unspecified = s.bariatric.kind is Bariatric.UNSPECIFIED and not s.ileum.resected
    return "regimen-bari-unspecified" if unspecified else "regimen-ileal-unknown"


def _regimen_card(s: Situation, regimen: Regimen, protocol: Protocol) -> str:
    neuro = s.neuro.state is NeuroState.PRESENT
    if neuro and regimen.loading is not None:
        return "regimen-nitrous" if regimen.maintenance is None else "regimen-neuro"
    monthly = regimen.maintenance is not None and is_monthly(regimen.maintenance.schedule, protocol)
    if regimen.loading is None:
        usual = protocol.policy.maintenance
        standard = regimen.maintenance is not None and regimen.maintenance.key == usual
        return "regimen-maint-monthly" if monthly and not standard else "regimen-maint"
    if regimen.loading.key in protocol.policy.loading_cancer:
        return "regimen-cancer"
    if monthly and s.ileum.over_threshold is Answer.YES:
        return "regimen-ileal"
    if monthly and s.bariatric.kind is Bariatric.ILEAL:
        return "regimen-bari"
    return "regimen-standard"


def is_monthly(schedule: Schedule, protocol: Protocol) -> bool:
    return schedule.longest_interval_days <= protocol.thresholds.monthly_max_days


def _headline(key: str, options: Iterable[Option], protocol: Protocol, *, other: str) -> str:
    """The card `key`, unless its headline names another product, dose or schedule than is
    offered: a profile may give what the catalogue was not written for. Then the card `other`."""
    names = protocol.cards[key].names
    return key if names is None or names.says(o.regimen for o in options) else other


def _row(s: Situation) -> int:
    """The row of the scenario table, for the explanation."""
    neuro, monthly = s.neuro.state, s.monthly
    if s.phase.stage is Stage.LOADED and neuro is not NeuroState.PRESENT:
        return 4
    if s.phase.stage is Stage.LOADED:
        return 25
    if neuro is NeuroState.PRESENT:
        return _neuro_row(s)
    if neuro in (NeuroState.POSSIBLE, NeuroState.UNREAD):
        return 3
    if s.cancer:
        return 21 if s.leber else (19 if monthly is Answer.YES else 17)
    return _bowel_row(s) or (27 if s.deficiency.dietary else 1)


def _bowel_row(s: Situation) -> int | None:
    if s.ileum.over_threshold is Answer.YES:
        return 5
    if s.bariatric.kind is Bariatric.ILEAL:
        return 11
    if s.ileum.over_threshold is Answer.UNKNOWN:
        return 9
    if s.bariatric.kind is Bariatric.UNSPECIFIED:
        return 16
    if s.ileum.resected:
        return 10
    if s.bariatric.kind is Bariatric.NON_ILEAL:
        return 14
    return None


def _neuro_row(s: Situation) -> int:
    """Rows 6 and 13 are rows 5 and 11 with signs; the other bowel rows hold for both."""
    if s.cancer:
        return 18
    with_signs = {5: 6, 11: 13}
    row = _bowel_row(s)
    if row is not None:
        return with_signs.get(row, row)
    return 26 if s.deficiency.nitrous_oxide else 2


# --- prophylaxis ------------------------------------------------------------------------------


def _prophylaxis(s: Situation, protocol: Protocol) -> Plan | None:
    """E.2.6, rows 7, 8, 12 (and 15 where the profile says so): no loading; of several the most
    frequent."""
    policy = protocol.policy
    offered: list[tuple[int, str, str]] = []
    over = s.ileum.over_threshold is Answer.YES
    if over and (s.crohns or policy.ileal_prophylaxis_any_cause):
        row = 7 if s.crohns else 8
        offered.append((row, "regimen-ileal-proph", policy.prophylaxis_ileal))
    if s.bariatric.kind is Bariatric.ILEAL:
        offered.append((12, "regimen-bari", policy.prophylaxis_bariatric))
    if s.bariatric.kind is Bariatric.NON_ILEAL and policy.prophylaxis_bariatric_non_ileal:
        schedule = policy.prophylaxis_bariatric_non_ileal
        offered.append((15, "regimen-bari-non-ileal", schedule))
    if not offered:
        return None
    row, card, schedule = min(
        offered, key=lambda o: protocol.schedules[o[2]].schedule.longest_interval_days
    )
    product = _product(s, protocol, cancer=False)
    phase: Phase = protocol.phase(PhaseName.MAINTENANCE, schedule, product)
    options = (Option(Regimen((phase,))),)
    return Plan(
        row=row,
        card=_headline(card, options, protocol, other="regimen-other-prophylaxis"),
        options=options,
        settled=s.complete_record,
        prophylaxis=True,
    )


def cyanocobalamin_interval_plan(s: Situation, protocol: Protocol) -> Plan:
    """A.4.9: cyanocobalamin ordered at two months or more: monthly, or the other product."""
    policy = protocol.policy
    options = [
        Option(Regimen((protocol.phase(PhaseName.MAINTENANCE, schedule, protocol.products[key]),)))
        for key, schedule in (
            ("cyanocobalamin", policy.maintenance_cyanocobalamin),
            ("hydroxocobalamin", policy.maintenance_hydroxocobalamin),
        )
    ]
    if s.avoid_cyanocobalamin:
        options = [
            o
            for o in options
            if o.regimen.phases[0].product.ingredient is Ingredient.HYDROXOCOBALAMIN
        ]
    card = _headline("regimen-cyano-interval", options, protocol, other="regimen-choice")
    return Plan(row=4, card=card, options=tuple(options), settled=False)
