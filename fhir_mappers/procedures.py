"""What was done to this patient's bowel and stomach, and how much ileum was removed?

Only what was completed counts; what may have been done raises a question. A length is measured
apart from its operation: the two are brought together here, each length once. A code alone
never says how long the resected piece was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from fhir_mappers import elements as el
from fhir_mappers.conditions import bypass_concept
from fhir_mappers.elements import Json
from fhir_mappers.observations import Measurement, sites_of
from fhir_mappers.terminology import Code, settle, value_sets
from regimen.facts import (
    Activity,
    Certainty,
    Concept,
    DoseGiven,
    Finding,
    Ingredient,
    Length,
    RecordRef,
    Resection,
    Route,
)


@dataclass(frozen=True, slots=True)
class Operated:
    """Everything the Procedures of a record, and the lengths measured in them, say."""

    resections: tuple[Resection, ...]
    findings: tuple[Finding, ...]
    doses: tuple[DoseGiven, ...]


@dataclass(frozen=True, slots=True)
class _Operation:
    """One Procedure that was done, or perhaps done (`certain` False)."""

    record: RecordRef
    when: el.Moment | None
    certain: bool
    elsewhere: bool
    codes: tuple[Code, ...]  # of all its codings, before exclusions are heard

    @property
    def settled(self) -> tuple[Code, ...]:
        return settle(self.codes)

    def in_set(self, *names: str) -> Code | None:
        return next((code for code in self.settled if code.value_set in names), None)

    @property
    def day(self) -> tuple[date, date] | None:
        """The days it can have been on: one day, or all of "2024"."""
        return (self.when.day, self.when.last_day) if self.when else None


def read_procedures(
    resources: Sequence[Json], lengths: Sequence[Measurement], as_of: date
) -> Operated:
    operations, undone = _operations(resources, as_of)
    measured = _match(_ileal(operations), _usable(lengths, operations, undone))
    perhaps = _perhaps_resections(operations, {ref for m in lengths for ref in m.part_of})
    return Operated(
        resections=tuple(_resections(measured)),
        findings=(*_possible_resections(measured), *perhaps, *_other_findings(operations)),
        doses=tuple(_doses(operations)),
    )


# --- which operations were done -----------------------------------------------------------------

# An operation of unknown status may have been done; all other statuses say that it was not, or
# not yet, or not to its end.
_PERHAPS = frozenset({"unknown", ""})


def _operations(resources: Sequence[Json], as_of: date) -> tuple[list[_Operation], set[str]]:
    """The operations done or perhaps done, and the references of those that were not."""
    operations, undone = [], set()
    for resource in sorted(resources, key=el.resource_ref):
        status = (el.text(resource.get("status")) or "").lower()
        when = el.moment_in(resource, "performed") or el.moment_in(resource, "occurrence")
        planned = when is not None and when.day > as_of + timedelta(days=1)
        if planned or el.flag(resource.get("notDone")):
            status = "not-done"
        if status != "completed" and status not in _PERHAPS:
            undone.add(el.resource_ref(resource))
            continue
        operations.append(_operation(resource, when, certain=status == "completed"))
    return operations, undone


def _operation(resource: Json, when: el.Moment | None, *, certain: bool) -> _Operation:
    codes = value_sets().matches_concept(el.as_dict(resource.get("code")))
    label = codes[0].label if codes else ""
    record = RecordRef(el.resource_ref(resource), when.day if when else None, label)
    return _Operation(record, when, certain, sites_of(resource).elsewhere, codes)


# --- ileal resections and their lengths ---------------------------------------------------------

_DEFINITE = "ileal-resection-definite"
_POSSIBLE = ("ileal-resection-possible", "ileal-loss-indirect-evidence", "ileal-urinary-diversion")


@dataclass(frozen=True, slots=True)
class _Removed:
    """An operation that removed ileum (`definite`) or may have, with the lengths measured in it.

    Without an operation (`day` of the length): a length that the record ties to none we know.
    """

    record: RecordRef
    day: tuple[date, date] | None
    definite: bool
    complete: bool = False
    length: Measurement | None = None


def _ileal(operations: Iterable[_Operation]) -> list[_Removed]:
    found = []
    for operation in operations:
        if not operation.certain or operation.elsewhere:
            continue
        definite, possible = operation.in_set(_DEFINITE), operation.in_set(*_POSSIBLE)
        code = definite or possible
        if code is not None:
            record = replace(operation.record, label=code.label)
            complete = any(c.attributes.get("complete") for c in operation.settled)
            found.append(_Removed(record, operation.day, definite is not None, complete))
    return found


def _usable(
    lengths: Iterable[Measurement], operations: Iterable[_Operation], undone: set[str]
) -> list[Measurement]:
    """The lengths that are of ileum and of no operation that was not done or was elsewhere."""
    by_ref = {operation.record.reference: operation for operation in operations}
    usable = []
    for length in lengths:
        known = [by_ref[ref] for ref in length.part_of if ref in by_ref]
        not_it = any(ref in undone for ref in length.part_of)
        if length.elsewhere or not_it or any(operation.elsewhere for operation in known):
            continue
        if any(not operation.certain for operation in known):
            continue  # perhaps never done: the operation itself raises the question
        usable.append(length)
    return sorted(usable, key=lambda m: (m.moment, m.record.reference))


def _match(ileal: Sequence[_Removed], lengths: Sequence[Measurement]) -> list[_Removed]:
    """Each operation with its newest length; each length that has no operation by itself."""
    by_ref = {removed.record.reference: removed for removed in ileal}
    linked: dict[str, list[Measurement]] = {}
    loose: list[Measurement] = []
    for length in lengths:
        if length.part_of:
            ref = next((ref for ref in length.part_of if ref in by_ref), length.part_of[0])
            linked.setdefault(ref, []).append(length)
        else:
            loose.append(length)
    removed = [
        replace(r, length=_newest(linked.pop(r.record.reference, ()))) for r in by_ref.values()
    ]
    removed = _without_duplicates(removed)
    removed += [_by_itself(group) for group in linked.values()]
    return _with_loose(removed, loose)


def _newest(lengths: Sequence[Measurement]) -> Measurement | None:
    """A later length of the same operation corrects an earlier one; two at once are neither."""
    if not lengths:
        return None
    last = max(length.moment for length in lengths)
    newest = [length for length in lengths if length.moment == last]
    if len({length.length for length in newest}) == 1:
        return newest[0]
    return replace(newest[0], length=None, as_reported="")


def _by_itself(lengths: Sequence[Measurement]) -> _Removed:
    length = _newest(lengths)
    first = lengths[0].record
    record = length.record if length else first
    return _Removed(record, _day(record), definite=True, length=length)


def _day(record: RecordRef) -> tuple[date, date] | None:
    return (record.on, record.on) if record.on else None


def _without_duplicates(removed: Sequence[_Removed]) -> list[_Removed]:
    """One operation recorded twice, on the same date and with no length that differs, is one."""
    kept: list[_Removed] = []
    for one in sorted(removed, key=_most_telling_first):
        twin = next((k for k in kept if _same_operation(k, one)), None)
        perhaps = next((k for k in kept if _perhaps_same_operation(k, one)), None)
        if twin is None and perhaps is not None:
            kept[kept.index(perhaps)] = _once_or_more(perhaps, 2)
        elif twin is None:
            kept.append(one)
        elif one.complete and not twin.complete:
            kept[kept.index(twin)] = replace(twin, complete=True)
    return kept


def _most_telling_first(removed: _Removed) -> tuple[bool, bool, str]:
    return (removed.length is None, not removed.definite, removed.record.reference)


def _same_operation(kept: _Removed, other: _Removed) -> bool:
    if kept.day is None and other.day is None:
        same_name = kept.record.label == other.record.label
        return same_name and (other.length is None or _same_length(kept, other))
    if kept.day != other.day:
        return False
    return other.length is None or _same_length(kept, other)


def _perhaps_same_operation(kept: _Removed, other: _Removed) -> bool:
    """ "2024-03" and "2024-03-12" may be one operation, or two of one length: it is not known."""
    if kept.day is None or other.day is None or kept.day == other.day:
        return False
    overlap = kept.day[0] <= other.day[1] and other.day[0] <= kept.day[1]
    return overlap and kept.record.label == other.record.label and _same_length(kept, other)


def _once_or_more(removed: _Removed, times: int) -> _Removed:
    """A length that was recorded so many times: from once to all of them together."""
    measured = removed.length
    if measured is None or measured.length is None:
        return removed
    length = whole = measured.length
    for _ in range(times - 1):
        whole += length
    span = Length(length.low, whole.high, length.low_open, whole.high_open)
    reported = f"{measured.as_reported}, recorded {times} times"
    return replace(removed, length=replace(measured, length=span, as_reported=reported))


def _same_length(one: _Removed, other: _Removed) -> bool:
    return (
        one.length is not None
        and other.length is not None
        and one.length.length == other.length.length
    )


def _with_loose(removed: list[_Removed], loose: Sequence[Measurement]) -> list[_Removed]:
    """Lengths that name no operation: those of the same day, else the only one left, take them."""
    rest: list[list[Measurement]] = []
    for group in _by_day(loose):
        target = _of_that_day(removed, group[0])
        if target is None:
            rest.append(group)
        elif target.length is None:
            removed[removed.index(target)] = replace(target, length=_newest(group))
        # else: the operation has a length of its own, and this one repeats it
    unmeasured = [r for r in removed if r.length is None]
    unmeasured = [r for r in unmeasured if r.definite] or unmeasured
    if len(rest) == 1 and len(unmeasured) == 1 and not _before(rest[0][0], unmeasured[0]):
        target = unmeasured[0]
        removed[removed.index(target)] = replace(target, length=_newest(rest[0]))
        return removed
    return [*removed, *_alone(rest)]


def _by_day(lengths: Sequence[Measurement]) -> list[list[Measurement]]:
    groups: dict[object, list[Measurement]] = {}
    for length in lengths:
        key: object = length.record.on or ("undated", length.length)
        groups.setdefault(key, []).append(length)
    return list(groups.values())


def _of_that_day(removed: Sequence[_Removed], length: Measurement) -> _Removed | None:
    """The operation on the day of the length; one without a length of its own first."""
    on = length.record.on
    same = [r for r in removed if on is not None and r.day == (on, on)]
    return min(same, key=lambda r: (r.length is not None, not r.definite), default=None)


def _before(length: Measurement, removed: _Removed) -> bool:
    """Measured before the operation: then it is not of that operation."""
    on = length.record.on
    return on is not None and removed.day is not None and on < removed.day[0]


def _alone(groups: Sequence[Sequence[Measurement]]) -> Iterator[_Removed]:
    """Lengths without any operation. The same length on several days may be one or several."""
    same: dict[Length | None, list[_Removed]] = {}
    for group in groups:
        one = _by_itself(group)
        same.setdefault(one.length.length if one.length else None, []).append(one)
    for repeated in same.values():
        yield _once_or_more(repeated[0], len(repeated)) if len(repeated) > 1 else repeated[0]


def _resections(removed: Iterable[_Removed]) -> Iterator[Resection]:
    for one in removed:
        if one.length is not None and one.length.length is not None:
            length = one.length
            yield Resection(one.record, length.length, one.complete, length.as_reported)
        elif one.definite:
            yield Resection(one.record, None, one.complete)


def _possible_resections(removed: Sequence[_Removed]) -> Iterator[Finding]:
    """Operations that may have taken ileum: ask."""
    days = {one.day for one in removed if one.definite and one.day is not None}
    for one in removed:
        measured = one.length is not None and one.length.length is not None
        if not one.definite and not measured and one.day not in days:
            yield _finding(Concept.ILEAL_LOSS_POSSIBLE, one.record)


def _perhaps_resections(operations: Iterable[_Operation], measured: set[str]) -> Iterator[Finding]:
    """Resections that may have been done, by their code or because a length names them: ask."""
    for operation in operations:
        code = operation.in_set(_DEFINITE, *_POSSIBLE)
        named = code is not None or operation.record.reference in measured
        if named and not operation.certain and not operation.elsewhere:
            label = code.label if code else operation.record.label
            record = replace(operation.record, label=label or "Operation on the ileum")
            yield _finding(Concept.ILEAL_LOSS_POSSIBLE, record, Certainty.UNCONFIRMED)


# --- bypasses, stomach, nitrous oxide -----------------------------------------------------------

_STOMACH: dict[str, Concept] = {
    "gastrectomy-total": Concept.GASTRECTOMY_TOTAL,
    "gastrectomy-partial": Concept.GASTRECTOMY_PARTIAL,
    "bariatric-gastric-bypass": Concept.BARIATRIC_NON_ILEAL,
    "bariatric-sleeve": Concept.BARIATRIC_NON_ILEAL,
    "bariatric-restrictive-band": Concept.BARIATRIC_NON_ILEAL,
    "bariatric-unspecified-status": Concept.BARIATRIC_UNSPECIFIED,
}
_BYPASSES = ("bariatric-malabsorptive-ileal", "ileal-bypass")
_REVERSED = "ileal-bypass-reversed-exclude"


def _other_findings(operations: Sequence[_Operation]) -> Iterator[Finding]:
    reversals = [o for o in operations if o.certain and o.in_set(_REVERSED)]
    for operation in operations:
        yield from _stomach(operation)
        code = operation.in_set(*_BYPASSES)
        if code is not None:
            concept = _bypass(operation, code, reversals)
            if concept is not None:
                yield _done(concept, operation, code)
        gas = operation.in_set("drug-nitrous-oxide")
        if gas is not None and not gas.attributes.get("misuse"):
            yield _done(Concept.NITROUS_OXIDE_MEDICAL, operation, gas)


def _stomach(operation: _Operation) -> Iterator[Finding]:
    """One finding a concept, in however many code systems the operation is coded."""
    first: dict[Concept, Code] = {}
    for code in operation.settled:
        if code.value_set in _STOMACH:
            first.setdefault(_STOMACH[code.value_set], code)
    for concept, code in first.items():
        yield _done(concept, operation, code)


def _bypass(operation: _Operation, code: Code, reversals: Sequence[_Operation]) -> Concept | None:
    """What a bypass means today. None: it was reversed later, or on the same day."""
    ileal = code.value_set == "bariatric-malabsorptive-ileal"
    concept = Concept.BARIATRIC_ILEAL if ileal else bypass_concept(code)
    if not operation.certain and concept is Concept.BARIATRIC_ILEAL:
        concept = Concept.BARIATRIC_UNSPECIFIED
    for reversal in reversals:
        if reversal.day is None or operation.day is None:
            # which came first is not known: neither the bypass nor its absence is certain
            if concept is Concept.BARIATRIC_ILEAL:
                concept = Concept.BARIATRIC_UNSPECIFIED
        elif reversal.day[0] >= operation.day[1] or reversal.day == operation.day:
            return None
        elif reversal.day[1] >= operation.day[0] and concept is Concept.BARIATRIC_ILEAL:
            concept = Concept.BARIATRIC_UNSPECIFIED  # "2020" and "2020-05": either order
    return concept


def _done(concept: Concept, operation: _Operation, code: Code) -> Finding:
    certainty = Certainty.CONFIRMED if operation.certain else Certainty.UNCONFIRMED
    return _finding(concept, replace(operation.record, label=code.label), certainty)


def _finding(
    concept: Concept, record: RecordRef, certainty: Certainty = Certainty.CONFIRMED
) -> Finding:
    """What an operation removed stays removed: it is active."""
    return Finding(concept, record, record.on, None, certainty, Activity.ACTIVE)


# --- injections recorded as procedures ----------------------------------------------------------

# A treatment code with a route says that it was given, not that it is due, planned or stopped.


def _doses(operations: Iterable[_Operation]) -> Iterator[DoseGiven]:
    for operation in operations:
        code = next((c for c in operation.settled if c.fact == "b12-treatment"), None)
        if code is not None and operation.certain and "route" in code.attributes:
            yield DoseGiven(
                record=replace(operation.record, label=code.label),
                ingredient=Ingredient.OTHER_COBALAMIN,
                on=operation.record.on,
                route=Route(str(code.attributes["route"])),
            )
