"""What does the protocol advise for this patient and these selected orders?

`recommend` is the whole of it. `evaluate` also says which rules were looked at, and why each fired
or did not, so that an answer can be explained.

A rule that raises takes no other rule down, and is never a silence: what it would have said is not
known, and a card says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from regimen import advice, safety
from regimen.case import Case, Result, card, case
from regimen.choose import Plan
from regimen.compare import Aspect
from regimen.facts import PatientFacts
from regimen.folate import folate
from regimen.protocol import Protocol
from regimen.recommendation import (
    NEVER_SILENCED,
    Indicator,
    Line,
    Recommendation,
    RuleOutcome,
    Topic,
    records_of,
)
from regimen.situation import Situation, situation

# E.2.15: within one indicator, in this order.
ORDER = (
    Topic.DOSE,
    Topic.IV_ROUTE,
    Topic.ALLERGY,
    Topic.LEBER,
    Topic.FOLATE,
    Topic.STOP,
    Topic.REGIMEN,
    Topic.REFERRAL,
    Topic.ROUTE,
    Topic.DUPLICATE,
    Topic.POTASSIUM,
    Topic.SYMPTOMS,
    Topic.PREGNANCY,
    Topic.RISK,
    Topic.EVIDENCE,
    Topic.UNAVAILABLE,
    Topic.PAEDIATRIC,
    Topic.MONITORING,
)


CHECK_FAILED = "check-failed"


@dataclass(frozen=True, slots=True)
class Failure:
    """A rule that raised. `error` may quote the record: log its type, never its message."""

    rule: str
    error: Exception


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The advice, the facts it was computed from, and every rule that was looked at.

    `offered`: the regimens the protocol has for them, whether or not a card had to say so.
    """

    recommendations: tuple[Recommendation, ...]
    outcomes: tuple[RuleOutcome, ...]
    situation: Situation
    offered: Plan | None = None
    failures: tuple[Failure, ...] = ()

    @property
    def undecidable(self) -> bool:
        """What the advice depends on was not read, and the orders alone give nothing to say."""
        topics = {r.topic for r in self.recommendations}
        if self.failures:  # then the answer has more to say than what was not read
            return False
        return topics == {Topic.UNAVAILABLE} and self.situation.deficiency.level == "unavailable"


def recommend(facts: PatientFacts, protocol: Protocol) -> tuple[Recommendation, ...]:
    """The cards' worth of advice, most urgent first; empty when there is nothing to add."""
    return evaluate(facts, protocol).recommendations


def evaluate(facts: PatientFacts, protocol: Protocol) -> Evaluation:
    s = situation(facts, protocol)
    if facts.deceased:
        outcome = RuleOutcome("all", fired=False, why="the patient has died")
        return Evaluation((), (outcome,), s)
    c = case(facts, s, protocol)
    results = _results(c)
    failures = tuple(r for r in results.values() if isinstance(r, Failure))
    shown = [
        r
        for r in results.values()
        if isinstance(r, Recommendation) and not _switched_off(r, protocol)
    ]
    if failures:
        shown = [_unsettled(r) for r in shown if r.topic is not Topic.UNAVAILABLE]
        shown.append(_check_failed(c, failures))
    return Evaluation(
        recommendations=_in_order(shown, protocol.thresholds.cap_non_critical),
        outcomes=tuple(_outcome(rule, result, facts) for rule, result in results.items()),
        situation=s,
        offered=c.offered,
        failures=failures,
    )


_Results = dict[str, Result | Failure]


def _results(c: Case) -> _Results:
    """Safety first, whatever the age and the evidence; then the regimen and its neighbours."""
    results: _Results = {}

    def ask(rule: str, function: Callable[[Case], Result]) -> None:
        try:
            results[rule] = function(c)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other rules must answer
            results[rule] = Failure(rule, error)

    ask("dose", safety.dose)
    ask("ivroute", safety.iv_route)
    ask("allergy", safety.allergy)
    ask("leber", safety.leber)
    ask("folate", folate)
    ask("stop", safety.stop)
    ask("regimen", lambda c: advice.regimen(c, _absorbed(results)))
    ask("referral", advice.referral)
    ask("route", advice.route)
    ask("duplicate", lambda c: safety.duplicate(c, proposes_loading=_proposes_loading(c)))
    ask("potassium", safety.potassium)
    ask("symptoms", advice.symptoms)
    ask("pregnancy", safety.pregnancy)
    ask("risk", advice.risk)
    ask("evidence", advice.evidence)
    ask("unavailable", advice.unavailable)
    ask("paediatric", safety.paediatric)
    return results


def _check_failed(c: Case, failures: tuple[Failure, ...]) -> Recommendation:
    """Which checks were not made. In place of the card of what was not read, which it includes."""
    checks = ", ".join(c.protocol.say(f"check-{f.rule}") for f in failures)
    return card(c, CHECK_FAILED, unknown=(Line(c.protocol.say("check-list", checks=checks)),))


def _unsettled(r: Recommendation) -> Recommendation:
    """The same, with nothing recommended: the check that was not made may forbid it."""
    return replace(r, choices=tuple(replace(choice, recommended=False) for choice in r.choices))


def _absorbed(results: _Results) -> frozenset[Aspect]:
    """A.4.4: what a safety card says is not said again as a deviation."""
    pairs = {
        "dose": Aspect.DOSE,
        "ivroute": Aspect.ROUTE,
        "leber": Aspect.PRODUCT,
        "stop": Aspect.DURATION,
    }
    return frozenset(
        aspect for rule, aspect in pairs.items() if isinstance(results[rule], Recommendation)
    )


def _proposes_loading(c: Case) -> bool:
    return c.offered is not None and c.offered.options[0].regimen.loading is not None


def _outcome(rule: str, result: Result | Failure, facts: PatientFacts) -> RuleOutcome:
    if isinstance(result, Failure):
        return RuleOutcome(rule, fired=False, why="could not run: an error in the rule")
    if isinstance(result, Recommendation):
        records = records_of(result.because)
        return RuleOutcome(rule, fired=True, why=result.summary, records=records)
    if facts.restricted:  # why not may tell what is there
        return RuleOutcome(rule, fired=False, why="not told: the record has restricted entries")
    return RuleOutcome(rule, fired=False, why=result)


def _switched_off(r: Recommendation, protocol: Protocol) -> bool:
    locked = r.topic in NEVER_SILENCED and r.indicator is Indicator.CRITICAL
    return r.topic in protocol.policy.topics_off and not locked


def _in_order(found: list[Recommendation], cap: int) -> tuple[Recommendation, ...]:
    """Critical first; of the others at most `cap`, the least urgent left out. That a check failed
    is never left out."""
    ordered = sorted(found, key=lambda r: (-r.indicator.rank, ORDER.index(r.topic)))
    critical = [r for r in ordered if r.indicator is Indicator.CRITICAL]
    failed = [r for r in ordered if r.rule == CHECK_FAILED]
    others = [r for r in ordered if r not in critical and r not in failed]
    return (*critical, *others[: max(cap - len(failed), 0)], *failed)
