"""May this protocol be used at the bedside?

A profile, or what a site lays over one, may change what is given and how it is said. It may not
lower or hide a danger, propose an order that the checks themselves would refuse, nor make an
evaluation fail: whatever is accepted here can be filled in, computed with and shown.
"""

from __future__ import annotations

import dataclasses
import re
import string
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from regimen.facts import Ingredient, Test
from regimen.recommendation import NEVER_SILENCED, Indicator, Topic

if TYPE_CHECKING:
    from regimen.protocol import CardText, NamedSchedule, Protocol, Thresholds

SUMMARY_LIMIT: Final = 139
ROWS: Final = 28
_VERSION_LIMIT: Final = 60  # it is part of every decision record
#: Controls, and what reorders or hides the text beside it.
_UNPRINTABLE: Final = re.compile(
    "[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)

#: A filled-in place of a text: its name, how it is formatted, how it is converted.
_Field = tuple[str, str, str]


class ProtocolError(ValueError):
    """The protocol data cannot be used. The message names the key."""


def check(protocol: Protocol, default: Mapping[str, Any]) -> None:
    """Raise ProtocolError for the first thing that is not sound. `default`: the default's data."""
    _check_knowledge(protocol)
    _check_thresholds(protocol, default["thresholds"])
    _check_products(protocol, default["products"])
    for named in protocol.schedules.values():
        _check_schedule(protocol, named)
    _check_policy(protocol)
    _check_sources(protocol)
    for key, card in protocol.cards.items():
        _check_card(protocol, key, card, default["cards"])
    _check_phrases(protocol.phrases, default["phrases"])
    _check_rows(protocol)
    if protocol.profile != "default" and not protocol.decisions:
        raise ProtocolError("decisions: a profile that differs says who decided and when")


# --- who stands behind it ---------------------------------------------------------------------


def _check_knowledge(protocol: Protocol) -> None:
    known = protocol.knowledge
    for name in ("id", "version", "title", "source"):
        check_text(getattr(known, name), f"knowledge.{name}")
    if len(known.version) > _VERSION_LIMIT:
        raise ProtocolError(f"knowledge.version: longer than {_VERSION_LIMIT} characters")
    if known.review_status not in ("draft", "clinically-approved"):
        raise ProtocolError("knowledge.review_status: not one of draft, clinically-approved")
    if not protocol.is_draft:  # cards then say who approved it
        check_text(known.clinical_approver, "knowledge.clinical_approver")


def _check_sources(protocol: Protocol) -> None:
    for key, statement in protocol.statements.items():
        check_text(statement.says, f"statements.{key}.says")
        for citation in statement.citations:
            _must_have(protocol.citations, citation, f"statements.{key}.citations")
    for key, source in protocol.citations.items():
        for name in ("title", "publisher"):
            check_text(getattr(source, name), f"citations.{key}.{name}")
        if source.url and not re.fullmatch(r"https?://[!-~]+", source.url):
            raise ProtocolError(f"citations.{key}.url: not an http or https address")
        if source.verified and not source.checked.strip():
            raise ProtocolError(f"citations.{key}.checked: says who verified it, and when")
    for key, reason in protocol.override_reasons.items():
        for name in ("system", "code", "display"):
            check_text(getattr(reason, name), f"override_reasons.{key}.{name}")


# --- numbers ----------------------------------------------------------------------------------

_LEAST: Final = Decimal("0.001")
_MOST: Final = Decimal(10) ** 9
#: A date, or a number of them, that the calendar can count back to.
_MOST_OF: Final = {"days": 36_500, "months": 1200, "years": 120, "doses": 100, "tolerance": 1}
_MAY_BE_ZERO: Final = frozenset(
    {
        "min_age_years",
        "neonate_days",
        "interval_tolerance",
        "bounds_tolerance_days",
        "folic_acid_silent_ug_per_day",
    }
)
#: These decide when a danger is shown: they may be made stricter than the default's, never laxer.
_NOT_ABOVE: Final = (
    "dose_critical_ug",
    "oral_critical_ug",
    "folic_acid_silent_ug_per_day",
    "lapse_months",  # for so long a dose counts as treatment
)
_NOT_BELOW: Final = (
    "antidote_dose_ug",  # from here on hydroxocobalamin by vein is not judged
    "oral_standard_ug_per_day",  # from here on B12 by mouth counts as treatment
)
_IN_ORDER: Final = (
    ("b12_total_low_ng_l", "b12_total_high_ng_l"),
    ("b12_total_low_pmol_l", "b12_total_high_pmol_l"),
    ("b12_active_low_pmol_l", "b12_active_high_pmol_l"),
    ("dose_low_ug", "usual_dose_ug"),
    ("usual_dose_ug", "dose_critical_ug"),
    ("oral_standard_ug_per_day", "oral_warning_ug_per_day"),
    ("monthly_min_days", "monthly_max_days"),
    ("two_months_min_days", "two_months_max_days"),
    ("three_months_min_days", "three_months_max_days"),
)


def _check_thresholds(protocol: Protocol, default: Mapping[str, Any]) -> None:
    thresholds = protocol.thresholds
    for field in dataclasses.fields(thresholds):
        _check_threshold(field.name, Decimal(getattr(thresholds, field.name)))
    for name in _NOT_ABOVE:
        if getattr(thresholds, name) > default[name]:
            raise ProtocolError(f"thresholds.{name}: must not be above the default's {_DANGER}")
    for name in _NOT_BELOW:
        if getattr(thresholds, name) < default[name]:
            raise ProtocolError(f"thresholds.{name}: must not be below the default's {_DANGER}")
    _check_order(thresholds)


_DANGER: Final = "(it would hide a danger)"


def _check_threshold(name: str, value: Decimal) -> None:
    most = _MOST_OF.get(name.rsplit("_", maxsplit=1)[-1], _MOST)
    fine = value <= most
    if not fine or not (value >= _LEAST or (value == 0 and name in _MAY_BE_ZERO)):
        least = "0" if name in _MAY_BE_ZERO else "above 0"
        raise ProtocolError(f"thresholds.{name}: must be {least} to {most}")


def _check_order(thresholds: Thresholds) -> None:
    for low, high in _IN_ORDER:
        if getattr(thresholds, low) > getattr(thresholds, high):
            raise ProtocolError(f"thresholds.{low}: must not be above {high}")


# --- what is given ----------------------------------------------------------------------------


def _check_products(protocol: Protocol, default: Mapping[str, Any]) -> None:
    """The codes of an order stand for exactly these products, so no profile changes them."""
    for key, product in protocol.products.items():
        for name, value in default[key].items():
            if getattr(product, name) != value:
                raise ProtocolError(f"products.{key}.{name}: must stay as in the default profile")


def _check_schedule(protocol: Protocol, named: NamedSchedule) -> None:
    where, said = f"schedules.{named.key}", named.schedule
    check_text(named.words, f"{where}.words")
    _must_have(protocol.statements, named.statement, f"{where}.statement")
    length = said.bounds.value if said.bounds else None
    given = [n for n in (said.frequency, said.period, said.period_max, length) if n is not None]
    if not all(_LEAST <= n <= _MOST for n in given):
        raise ProtocolError(f"{where}: frequency, period and bounds must be above 0")
    if said.frequency % 1 or (said.count is not None and said.count < 1):
        raise ProtocolError(f"{where}: frequency and count must be whole numbers from 1")
    if said.period_max is not None and said.period_max < said.period:
        raise ProtocolError(f"{where}.period_max: must not be below period")
    too_close = protocol.thresholds.too_close_hours - 1  # as an order of the prescriber is judged
    year = protocol.thresholds.finite_maintenance_months * 31
    if said.interval_days * 24 < too_close or said.longest_interval_days > year:
        raise ProtocolError(f"{where}: doses too close together, or too far apart")
    if said.count is not None and said.bounds is not None:
        off = abs(said.count * said.interval_days - said.bounds.days)
        if off > said.interval_days:
            raise ProtocolError(f"{where}.count: is not what the schedule gives in its bounds")


def _check_policy(protocol: Protocol) -> None:
    policy = protocol.policy
    for name in ("loading", "loading_neuro", "loading_cancer"):
        _check_loading(protocol, name, getattr(policy, name))
    for field in dataclasses.fields(policy):
        if field.name.startswith(("maintenance", "prophylaxis")):
            _check_maintenance(protocol, field.name, getattr(policy, field.name))
    for key in (policy.product, policy.product_cancer, policy.product_leber):
        _must_have(protocol.products, key, "policy: product")
    if protocol.products[policy.product_leber].ingredient is Ingredient.CYANOCOBALAMIN:
        raise ProtocolError("policy.product_leber: must not be cyanocobalamin")
    _check_topics_off(policy.topics_off)
    _check_choices(protocol)


def _check_choices(protocol: Protocol) -> None:
    policy = protocol.policy
    if policy.route_for_malabsorption not in ("any", "lifelong-causes", "off"):
        raise ProtocolError("policy.route_for_malabsorption: not one of any, lifelong-causes, off")
    if not set(policy.monitoring_tests) <= {test.value for test in Test}:
        raise ProtocolError("policy.monitoring_tests: not a test")
    for name in ("monitoring_months", "monitoring_stable_months"):
        if not 1 <= getattr(policy, name) <= _MOST_OF["years"]:
            raise ProtocolError(f"policy.{name}: must be 1 to {_MOST_OF['years']}")
    t = protocol.thresholds
    if not t.dose_low_ug <= policy.label_dose_accepted_ug <= t.usual_dose_ug:
        raise ProtocolError(
            "policy.label_dose_accepted_ug: must be from dose_low_ug to usual_dose_ug"
        )


def _check_topics_off(topics: Iterable[str]) -> None:
    for topic in topics:
        if topic not in {word.value for word in Topic}:
            raise ProtocolError("policy.topics_off: not a topic")
        # An answer without the card of what could not be read would look like "all is well".
        if topic in NEVER_SILENCED or topic == Topic.UNAVAILABLE:
            raise ProtocolError(f"policy.topics_off: {topic} cannot be switched off")


def _check_loading(protocol: Protocol, name: str, keys: tuple[str, ...]) -> None:
    if not keys:
        raise ProtocolError(f"policy.{name}: missing")
    for key in keys:
        _must_have(protocol.schedules, key, "policy: schedule")
        if protocol.schedules[key].schedule.interval_days >= protocol.thresholds.loading_below_days:
            raise ProtocolError(f"policy.{name}: {key} is too rare for loading")


def _check_maintenance(protocol: Protocol, name: str, key: str) -> None:
    """Maintenance is lifelong: a schedule with an end, or a loading one, is none."""
    if not key and name == "prophylaxis_bariatric_non_ileal":
        return
    _must_have(protocol.schedules, key, "policy: schedule")
    said = protocol.schedules[key].schedule
    if not said.open_ended or said.interval_days < protocol.thresholds.loading_below_days:
        raise ProtocolError(f"policy.{name}: {key} is not maintenance: it ends, or is for loading")


def _check_rows(protocol: Protocol) -> None:
    """All rows, each once and in order, and each pointing at something."""
    if [row.number for row in protocol.rows] != list(range(1, ROWS + 1)):
        raise ProtocolError(f"rows: not 1 to {ROWS}, each once and in order")
    for row in protocol.rows:
        where = f"rows[{row.number}]"
        _must_have(protocol.cards, row.card, f"{where}.card")
        if row.product:
            key = getattr(protocol.policy, row.product, "")
            _must_have(protocol.products, key, f"{where}.product")
        elif row.loading or row.maintenance:
            raise ProtocolError(f"{where}.product: missing")
        for entry in (*row.loading, *row.maintenance):
            try:
                found = protocol.schedules_of((entry,))
            except (KeyError, TypeError):
                found = ()
            if not found:
                raise ProtocolError(f"{where}: {entry} is not a schedule")


# --- cards and words --------------------------------------------------------------------------


def _check_card(
    protocol: Protocol, key: str, card: CardText, default: Mapping[str, Mapping[str, Any]]
) -> None:
    where = f"cards.{key}"
    if key not in default:
        raise ProtocolError(f"{where}: not in the default profile")
    usual = default[key]
    for statement in card.statements:
        _must_have(protocol.statements, statement, f"{where}.statements")
    for reason in card.reasons:
        _must_have(protocol.override_reasons, reason, f"{where}.reasons")
    # What may be switched off, and what never, goes by the topic.
    if card.topic != usual["topic"]:
        raise ProtocolError(f"{where}.topic: must stay as in the default profile")
    if usual["indicator"] == Indicator.CRITICAL and card.indicator is not Indicator.CRITICAL:
        raise ProtocolError(f"{where}.indicator: must stay critical")
    check_template(card.summary, usual["summary"], f"{where}.summary")
    check_template(card.proposal, usual["proposal"], f"{where}.proposal")
    if card.summary == usual["summary"] and _names(card) != usual.get("names"):
        raise ProtocolError(
            f"{where}.names: must say what the summary names, which is the default's"
        )
    if card.names is not None and card.names.product:
        _must_have(protocol.products, card.names.product, f"{where}.names.product")
    literal = "".join(part for part, *_ in string.Formatter().parse(card.summary))
    if len(literal) > SUMMARY_LIMIT:
        raise ProtocolError(f"{where}.summary: longer than {SUMMARY_LIMIT} characters")


def _names(card: CardText) -> dict[str, Any] | None:
    """What the summary is said to name, as it is written in the data."""
    if card.names is None:
        return None
    said = dataclasses.asdict(card.names)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in said.items()}


def _check_phrases(phrases: Mapping[str, Any], default: Mapping[str, str]) -> None:
    for key, phrase in phrases.items():
        if key not in default:
            raise ProtocolError(f"phrases.{key}: not in the default profile")
        check_template(phrase, default[key], f"phrases.{key}")


def check_template(text: Any, usual: str, where: str) -> None:
    """A text that a rule fills in: it knows the places of the default's text, and no others."""
    if usual or not isinstance(text, str):
        check_text(text, where)
    unknown = _fields(text, where) - _fields(usual, where)
    if unknown:
        names = ", ".join(sorted({name for name, _, _ in _fields(usual, where)}))
        raise ProtocolError(f"{where}: may be filled in with {names or 'nothing'} only")


def _fields(text: str, where: str) -> frozenset[_Field]:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        raise ProtocolError(f"{where}: a brace that is not closed, or not doubled") from None
    return frozenset(
        (name, form or "", conversion or "")
        for _, name, form, conversion in parts
        if name is not None
    )


def check_text(text: Any, where: str) -> None:
    """A text with something in it, on one line."""
    if not isinstance(text, str) or not text.strip() or _UNPRINTABLE.search(text):
        raise ProtocolError(f"{where}: must be a text on one line")


def is_date(value: Any) -> bool:
    """A day. A time of day is a `date` to Python, and cannot be compared with one."""
    return type(value) is date


def _must_have(table: Mapping[str, object], key: str, where: str) -> None:
    if key not in table:
        raise ProtocolError(f"{where}: {key} is not defined")
