"""What is given, at which thresholds, in which words: the protocol as data.

`load_protocol("default")` reads `protocol/default.toml`; any other profile is an overlay on it that
holds only what differs. A protocol with a hole in it (a missing or unknown key, a reference to
nothing, a summary that is too long) is refused with a `ProtocolError` that names the key.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from importlib import resources
from typing import Any, Literal, TypeVar, get_args

from regimen.facts import Ingredient, Route
from regimen.protocol_check import ProtocolError, check, is_date
from regimen.recommendation import (
    Indicator,
    Phase,
    PhaseName,
    Product,
    Regimen,
    Topic,
)
from regimen.schedule import Duration, Schedule, Unit

ProfileName = Literal["default", "uk-nice", "us"]
PROFILES: tuple[str, ...] = get_args(ProfileName)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Which knowledge this is and who stands behind it."""

    id: str
    version: str
    title: str
    source: str
    effective_date: date
    last_reviewed: date
    next_review: date
    review_status: str  # draft | clinically-approved
    clinical_approver: str


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Every number the rules compare with. Units are in the names."""

    min_age_years: int
    b12_total_low_ng_l: Decimal
    b12_total_high_ng_l: Decimal
    b12_total_low_pmol_l: Decimal
    b12_total_high_pmol_l: Decimal
    b12_active_low_pmol_l: Decimal
    b12_active_high_pmol_l: Decimal
    b12_severe_ng_l: Decimal
    b12_severe_pmol_l: Decimal
    mma_raised_umol_l: Decimal
    homocysteine_raised_umol_l: Decimal
    egfr_impaired: Decimal
    haemoglobin_severe_g_l: Decimal
    haemoglobin_severe_pregnant_g_l: Decimal
    mcv_high_fl: Decimal
    platelets_low: Decimal
    potassium_low_mmol_l: Decimal
    lab_window_days: int
    recent_lab_days: int
    treatment_before_sample_months: int
    oral_treatment_ug_per_day: Decimal
    ileal_threshold_cm: Decimal
    crohns_extent_cm: Decimal
    loaded_doses: int
    loaded_within_days: int
    loaded_dose_ug: Decimal
    loading_recent_days: int
    lapse_months: int
    neuro_recent_months: int
    symptom_recent_months: int
    pregnancy_status_months: int
    pregnancy_months: int
    nitrous_oxide_recent_months: int
    referral_recent_days: int
    loading_below_days: Decimal
    too_close_hours: Decimal
    interval_tolerance: Decimal
    bounds_tolerance_days: Decimal
    monthly_min_days: Decimal
    monthly_max_days: Decimal
    two_months_min_days: Decimal
    two_months_max_days: Decimal
    three_months_min_days: Decimal
    three_months_max_days: Decimal
    cyanocobalamin_max_interval_days: Decimal
    usual_dose_ug: Decimal
    dose_low_ug: Decimal
    dose_critical_ug: Decimal
    oral_warning_ug_per_day: Decimal
    oral_critical_ug: Decimal
    oral_standard_ug_per_day: Decimal
    multivitamin_ug_per_day: Decimal
    antidote_dose_ug: Decimal
    folic_acid_silent_ug_per_day: Decimal
    folic_acid_high_ug_per_day: Decimal
    finite_maintenance_months: int
    cap_non_critical: int
    neonate_days: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Where sources disagree: the profile's choice, by name."""

    product: str
    product_cancer: str
    product_leber: str
    loading: tuple[str, ...]
    loading_neuro: tuple[str, ...]
    loading_cancer: tuple[str, ...]
    maintenance: str
    maintenance_neuro: str
    maintenance_ileal: str
    maintenance_bariatric: str
    maintenance_cancer: str
    maintenance_cyanocobalamin: str
    maintenance_hydroxocobalamin: str
    prophylaxis_ileal: str
    prophylaxis_bariatric: str
    prophylaxis_bariatric_non_ileal: str  # "" = none
    ileal_prophylaxis_any_cause: bool
    cancer_regimen: bool
    label_dose_accepted_ug: Decimal  # lowest parenteral dose that is not a deviation
    monitoring_tests: tuple[str, ...]  # () = no laboratory monitoring
    monitoring_months: int
    monitoring_stable_months: int
    route_for_malabsorption: str  # any | lifelong-causes | off
    route_for_low_oral_dose: bool
    route_for_severe: bool
    route_for_nasal: bool
    stop_cause_unknown: bool
    topics_off: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NamedSchedule:
    """A schedule of the protocol with its words, its statement and the words of the source."""

    key: str
    schedule: Schedule
    words: str
    statement: str


@dataclass(frozen=True, slots=True)
class Headline:
    """The orders that a summary says in words of its own, so that it is printed with no others.

    `product`: a key of the products, "" where it names none. `dose_ug`: 0 where it names none.
    `loading`: the words of the schedules it names, in their order; `maintenance`: those of every
    schedule it is true of; () where it names none.
    """

    product: str
    dose_ug: Decimal
    loading: tuple[str, ...]
    maintenance: tuple[str, ...]

    def says(self, regimens: Iterable[Regimen]) -> bool:
        """Is it true of all that is on offer?"""
        return all(self._is_of(one) for one in regimens)

    def _is_of(self, regimen: Regimen) -> bool:
        phases = regimen.phases
        product_said = not self.product or all(p.product.name == self.product for p in phases)
        dose_said = not self.dose_ug or all(p.product.dose_ug == self.dose_ug for p in phases)
        loading = tuple(p.words for p in phases if p.name is PhaseName.LOADING)
        loading_said = not self.loading or loading == self.loading
        follows = regimen.maintenance
        return (
            product_said
            and dose_said
            and loading_said
            and (not self.maintenance or follows is None or follows.words in self.maintenance)
        )


@dataclass(frozen=True, slots=True)
class CardText:
    """One entry of the card catalogue. `names`: None where the summary names no order, or fills
    in the one that is proposed."""

    topic: Topic
    indicator: Indicator
    summary: str
    proposal: str
    statements: tuple[str, ...]
    reasons: tuple[str, ...]
    names: Headline | None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the scenario table, as the decision table prints it.

    `loading`, `maintenance`: entries of the policy, or schedules; several are a choice. `product`:
    an entry of the policy, "" where nothing is given.
    """

    number: int
    facts: str
    loading: tuple[str, ...]
    maintenance: tuple[str, ...]
    product: str
    card: str
    note: str


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of the source protocol, with the source it was checked against."""

    id: str
    says: str
    citations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Citation:
    """A source. `verified`: the text was seen, by whom and when; otherwise say so."""

    key: str
    title: str
    publisher: str
    year: int
    section: str
    url: str
    verified: bool
    checked: str


@dataclass(frozen=True, slots=True)
class OverrideReason:
    key: str
    system: str
    code: str
    display: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a profile differs from the default: who decided what, when, from which source."""

    key: str
    reason: str
    source: str
    decided_by: str
    decided_on: date


@dataclass(frozen=True, slots=True, eq=False)  # one is itself, and can be the key of a cache
class Protocol:
    profile: str
    knowledge: Knowledge
    thresholds: Thresholds
    policy: Policy
    products: Mapping[str, Product]
    schedules: Mapping[str, NamedSchedule]
    cards: Mapping[str, CardText]
    rows: tuple[Row, ...]
    phrases: Mapping[str, str]
    statements: Mapping[str, Statement]
    citations: Mapping[str, Citation]
    override_reasons: Mapping[str, OverrideReason]
    decisions: tuple[Decision, ...]
    content_hash: str

    def say(self, key: str, **values: object) -> str:
        """The phrase `key`, filled in."""
        return self.phrases[key].format(**values)

    def phase(self, name: PhaseName, schedule: str, product: Product) -> Phase:
        named = self.schedules[schedule]
        return Phase(
            name=name,
            key=schedule,
            product=product,
            route=Route.INTRAMUSCULAR,
            schedule=named.schedule,
            words=named.words,
        )

    def schedules_of(self, entries: tuple[str, ...]) -> tuple[NamedSchedule, ...]:
        """The schedules that entries of a row stand for in this profile."""
        named: list[str] = []
        for entry in entries:
            said = getattr(self.policy, entry, entry)
            named.extend((said,) if isinstance(said, str) else said)
        return tuple(self.schedules[key] for key in named)

    def review_overdue(self, today: date) -> bool:
        return today > self.knowledge.next_review

    @property
    def is_draft(self) -> bool:
        return self.knowledge.review_status != "clinically-approved"


# --- reading ----------------------------------------------------------------------------------


@lru_cache(maxsize=len(PROFILES))
def load_protocol(profile: str = "default") -> Protocol:
    """The named profile. Raises ProtocolError (unknown profile, hole in the data)."""
    return build_protocol(profile, profile_data(profile))


def profile_data(profile: str) -> dict[str, Any]:
    """The profile's data: the default with the overlay on top."""
    if profile not in PROFILES:
        raise ProtocolError(f"profile: not one of {', '.join(PROFILES)}")
    data = _read("default")
    return data if profile == "default" else overlay(data, _read(profile), profile)


def overlay(base: dict[str, Any], changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`base` with `changes` laid over it; a change to a key the base does not have is refused."""
    merged = dict(base)
    for key, value in changes.items():
        # A new schedule can be named in the policy; any other new key is a misspelt one.
        new = where.endswith(".schedules") or (key == "decisions" and "." not in where)
        if key not in base and not new:
            raise ProtocolError(f"{where}.{key}: not in the default profile")
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = overlay(base[key], value, f"{where}.{key}")
        else:
            merged[key] = value
    return merged


def build_protocol(profile: str, data: Mapping[str, Any]) -> Protocol:
    """A Protocol from its data. Raises ProtocolError naming the first hole."""
    protocol = Protocol(
        profile=profile,
        knowledge=_record(Knowledge, _table(data, "knowledge"), "knowledge"),
        thresholds=_record(Thresholds, _table(data, "thresholds"), "thresholds"),
        policy=_record(Policy, _table(data, "policy"), "policy"),
        products={k: _product(k, v) for k, v in _table(data, "products").items()},
        schedules={k: _schedule(k, v) for k, v in _table(data, "schedules").items()},
        cards={k: _card(k, v) for k, v in _table(data, "cards").items()},
        rows=tuple(
            _record(Row, r, f"rows[{i}]") for i, r in enumerate(data.get("rows", []), start=1)
        ),
        phrases=dict(_table(data, "phrases")),
        statements={
            k: _record(Statement, {"id": k, **v}, f"statements.{k}")
            for k, v in _table(data, "statements").items()
        },
        citations={
            k: _record(Citation, {"key": k, **v}, f"citations.{k}")
            for k, v in _table(data, "citations").items()
        },
        override_reasons={
            k: _record(OverrideReason, {"key": k, **v}, f"override_reasons.{k}")
            for k, v in _table(data, "override_reasons").items()
        },
        decisions=tuple(
            _record(Decision, d, f"decisions[{i}]") for i, d in enumerate(data.get("decisions", []))
        ),
        content_hash=hashlib.sha256(repr(_sorted(data)).encode()).hexdigest()[:16],
    )
    check(protocol, _read("default"))
    return protocol


def _read(profile: str) -> dict[str, Any]:
    text = resources.files("regimen").joinpath(f"protocol/{profile}.toml").read_text("utf-8")
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ProtocolError(f"{profile}.toml: not TOML") from error


def _sorted(data: Any) -> Any:
    if isinstance(data, Mapping):
        return [(k, _sorted(data[k])) for k in sorted(data)]
    return data


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = data.get(key)
    if not isinstance(table, Mapping):
        raise ProtocolError(f"{key}: missing")
    return table


def _record(kind: type[T], data: Mapping[str, Any], where: str) -> T:
    """A dataclass from a table with exactly its fields, of exactly their types."""
    fields = {f.name: str(f.type) for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise ProtocolError(f"{where}.{key}: unknown")
    values = {}
    for name, type_name in fields.items():
        if name not in data:
            raise ProtocolError(f"{where}.{name}: missing")
        values[name] = _value(data[name], type_name, f"{where}.{name}")
    return kind(**values)


def _value(value: Any, type_name: str, where: str) -> Any:
    match type_name:
        case "Decimal" if isinstance(value, int | Decimal) and not isinstance(value, bool):
            if Decimal(value).is_finite():  # TOML has nan and inf, which no rule can compare with
                return Decimal(value)
        case "int" if isinstance(value, int) and not isinstance(value, bool):
            return value
        case "bool" if isinstance(value, bool):
            return value
        case "str" if isinstance(value, str):
            return value
        case "date" if is_date(value):
            return value
        case "tuple[str, ...]" if isinstance(value, list) and all(
            isinstance(v, str) for v in value
        ):
            return tuple(value)
    raise ProtocolError(f"{where}: not a {type_name}")


def _product(key: str, data: Mapping[str, Any]) -> Product:
    where = f"products.{key}"
    try:
        return Product(
            ingredient=Ingredient(data["ingredient"]),
            name=data["name"],
            dose_ug=Decimal(data["dose_ug"]),
            dose_value=Decimal(data["dose_value"]),
            dose_unit=data["dose_unit"],
            dose_words=data["dose_words"],
        )
    except (KeyError, ValueError, TypeError, ArithmeticError) as error:
        raise ProtocolError(f"{where}: {type(error).__name__} in {error}") from error


def _schedule(key: str, data: Mapping[str, Any]) -> NamedSchedule:
    where = f"schedules.{key}"
    try:
        bounds, count = data.get("bounds"), data.get("count")
        return NamedSchedule(
            key=key,
            words=_value(data["words"], "str", f"{where}.words"),
            statement=_value(data["statement"], "str", f"{where}.statement"),
            schedule=Schedule(
                frequency=_value(data["frequency"], "Decimal", f"{where}.frequency"),
                period=_value(data["period"], "Decimal", f"{where}.period"),
                unit=Unit(data["unit"]),
                period_max=(
                    _value(data["period_max"], "Decimal", f"{where}.period_max")
                    if "period_max" in data
                    else None
                ),
                count=None if count is None else _value(count, "int", f"{where}.count"),
                bounds=None if bounds is None else _bounds(bounds, f"{where}.bounds"),
            ),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise _named(error, where) from error


def _bounds(data: Mapping[str, Any], where: str) -> Duration:
    return Duration(_value(data["value"], "Decimal", f"{where}.value"), Unit(data["unit"]))


def _card(key: str, data: Mapping[str, Any]) -> CardText:
    where = f"cards.{key}"
    try:
        return CardText(
            topic=Topic(data["topic"]),
            indicator=Indicator(data["indicator"]),
            summary=_value(data["summary"], "str", f"{where}.summary"),
            proposal=_value(data["proposal"], "str", f"{where}.proposal"),
            statements=_value(data["statements"], "tuple[str, ...]", f"{where}.statements"),
            reasons=_value(data["reasons"], "tuple[str, ...]", f"{where}.reasons"),
            names=_record(Headline, data["names"], f"{where}.names") if "names" in data else None,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise _named(error, where) from error


def _named(error: Exception, where: str) -> ProtocolError:
    """The error with the entry it is in, unless it says so itself."""
    if isinstance(error, ProtocolError):
        return error
    return ProtocolError(f"{where}: {type(error).__name__} in {error}")
