"""What does the protocol advise for this patient and these selected orders?

`recommend` is the whole of it. `evaluate` also says which rules were looked at, and why each fired
or did not, so that an answer can be explained.
"""

from __future__ import annotations

from dataclasses import dataclass

from regimen import advice, safety
from regimen.case import Case, Result, case
from regimen.compare import Aspect
from regimen.facts import PatientFacts
from regimen.folate import folate
from regimen.protocol import ALWAYS_ON, Protocol
from regimen.recommendation import Indicator, Recommendation, RuleOutcome, Topic
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


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The advice, the facts it was computed from, and every rule that was looked at."""

    recommendations: tuple[Recommendation, ...]
    outcomes: tuple[RuleOutcome, ...]
    situation: Situation

    @property
    def undecidable(self) -> bool:
        """What the advice depends on was not read, and the orders alone give nothing to say."""
        topics = {r.topic for r in self.recommendations}
        return topics == {Topic.UNAVAILABLE} and self.situation.deficiency.level == "unavailable"


def recommend(facts: PatientFacts, protocol: Protocol) -> tuple[Recommendation, ...]:
    """The cards' worth of advice, most urgent first; empty when there is nothing to add."""
    return evaluate(facts, protocol).recommendations


def evaluate(facts: PatientFacts, protocol: Protocol) -> Evaluation:
    s = situation(facts, protocol)
    if facts.deceased:
        outcome = RuleOutcome("all", fired=False, why="the patient has died")
        return Evaluation((), (outcome,), s)
    results = _results(case(facts, s, protocol))
    shown = [
        r
        for r in results.values()
        if isinstance(r, Recommendation) and not _switched_off(r, protocol)
    ]
    return Evaluation(
        recommendations=_in_order(shown, protocol.thresholds.cap_non_critical),
        outcomes=tuple(_outcome(rule, result) for rule, result in results.items()),
        situation=s,
    )


def _results(c: Case) -> dict[str, Result]:
    """Safety first, whatever the age and the evidence; then the regimen and its neighbours."""
    results: dict[str, Result] = {
        "dose": safety.dose(c),
        "ivroute": safety.iv_route(c),
        "allergy": safety.allergy(c),
        "leber": safety.leber(c),
        "folate": folate(c),
        "stop": safety.stop(c),
    }
    results["regimen"] = advice.regimen(c, _absorbed(results))
    results["referral"] = advice.referral(c)
    results["route"] = advice.route(c)
    results["duplicate"] = safety.duplicate(c, proposes_loading=_proposes_loading(c))
    results["potassium"] = safety.potassium(c)
    results["symptoms"] = advice.symptoms(c)
    results["pregnancy"] = safety.pregnancy(c)
    results["risk"] = advice.risk(c)
    results["evidence"] = advice.evidence(c)
    results["unavailable"] = advice.unavailable(c)
    results["paediatric"] = safety.paediatric(c)
    return results


def _absorbed(results: dict[str, Result]) -> frozenset[Aspect]:
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


def _outcome(rule: str, result: Result) -> RuleOutcome:
    if isinstance(result, Recommendation):
        records = tuple(r for line in result.because for r in line.records)
        return RuleOutcome(rule, fired=True, why=result.summary, records=records)
    return RuleOutcome(rule, fired=False, why=result)


def _switched_off(r: Recommendation, protocol: Protocol) -> bool:
    locked = r.topic in ALWAYS_ON and r.indicator is Indicator.CRITICAL
    return r.topic in protocol.policy.topics_off and not locked


def _in_order(found: list[Recommendation], cap: int) -> tuple[Recommendation, ...]:
    """Critical first; of the others at most `cap`, the least urgent left out."""
    ordered = sorted(found, key=lambda r: (-r.indicator.rank, ORDER.index(r.topic)))
    critical = [r for r in ordered if r.indicator is Indicator.CRITICAL]
    others = [r for r in ordered if r.indicator is not Indicator.CRITICAL]
    return (*critical, *others[:cap])
