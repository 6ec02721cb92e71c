"""What does the protocol say, in a form that a person can review?

`overview`: one profile in plain text. `difference`: where two profiles part, and who decided it.
`decision_table`: everything on one page of Markdown, kept as docs/protocol.md. All of it is made
from the protocol's data, the first sentence of each rule and the names of the vignettes; no
clinical content is written here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any, Final

from regimen import advice, folate, safety
from regimen.facts import Route
from regimen.protocol import (
    PROFILES,
    CardText,
    Citation,
    Decision,
    Protocol,
    Row,
    load_protocol,
    profile_data,
)
from regimen.recommendation import Product
from regimen.words import ROUTE_WORDS, number

#: Examples of a checkout; an installed package comes without them.
VIGNETTES: Final = Path(__file__).parents[1] / "fixtures" / "vignettes"

#: Every rule in the order in which it is asked, with the function or module that says what it does.
RULES: Final[Mapping[str, object]] = {
    "dose": safety.dose,
    "ivroute": safety.iv_route,
    "allergy": safety.allergy,
    "leber": safety.leber,
    "folate": folate,
    "stop": safety.stop,
    "regimen": advice.regimen,
    "referral": advice.referral,
    "route": advice.route,
    "duplicate": safety.duplicate,
    "potassium": safety.potassium,
    "symptoms": advice.symptoms,
    "pregnancy": safety.pregnancy,
    "risk": advice.risk,
    "evidence": advice.evidence,
    "unavailable": advice.unavailable,
    "paediatric": safety.paediatric,
}

_ENTRY: Final = re.compile(r"^(?P<key>[a-z0-9_]+) = [^#\n]*#[ ]*(?P<comment>.+)$", re.MULTILINE)
NOTHING: Final = "none"


# --- words for the data -----------------------------------------------------------------------


def review_state(protocol: Protocol) -> str:
    """ "draft: no clinician has signed it", or who approved it."""
    known = protocol.knowledge
    if protocol.is_draft:
        return "draft: no clinician has signed it, so it is not for clinical use"
    return f"approved by {known.clinical_approver}"


def _product(product: Product) -> str:
    return f"{product.name} {product.dose_words} {ROUTE_WORDS[Route.INTRAMUSCULAR]}"


def phase_words(protocol: Protocol, entries: Sequence[str], product: str) -> str:
    """What a row gives in one phase: "hydroxocobalamin 1 mg IM every month, indefinitely"."""
    if not entries:
        return NOTHING
    choices = [
        ", then ".join(named.words for named in protocol.schedules_of((entry,)))
        for entry in entries
    ]
    given = protocol.products[getattr(protocol.policy, product)]
    return f"{_product(given)} {'; or '.join(dict.fromkeys(choices))}"


def row_statements(protocol: Protocol, row: Row) -> tuple[str, ...]:
    """The statements a row carries out: of its card, then of its schedules."""
    named = protocol.schedules_of((*row.loading, *row.maintenance))
    found = [*protocol.cards[row.card].statements, *(n.statement for n in named)]
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=1)
def _comments() -> dict[str, str]:
    """Key → the comment beside it in the default profile: where a number or choice comes from."""
    text = resources.files("regimen").joinpath("protocol/default.toml").read_text("utf-8")
    return {match["key"]: match["comment"].strip() for match in _ENTRY.finditer(text)}


def _settings(part: object) -> Iterator[tuple[str, str, str]]:
    """(key, value, comment) of the thresholds or the policy."""
    for one in fields(part):  # type: ignore[arg-type]
        yield one.name, _value(getattr(part, one.name)), _comments().get(one.name, "")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(str, value)) or NOTHING
        case None | "":
            return NOTHING
        case _:
            return number(value) if hasattr(value, "normalize") else str(value)


def _citation(cited: Citation) -> str:
    section = f", {cited.section}" if cited.section else ""
    checked = f"verified: {cited.checked}" if cited.verified else "not verified"
    return f"{cited.publisher}, {cited.title} ({cited.year}){section}; {checked}"


def _sentence(rule: object) -> str:
    """The first paragraph of a rule's docstring."""
    return " ".join((rule.__doc__ or "").strip().partition("\n\n")[0].split())


# --- one profile in plain text ----------------------------------------------------------------


def overview(protocol: Protocol) -> str:
    """A profile on one screen: what is given, in which situation, at which thresholds."""
    known = protocol.knowledge
    head = [
        f"{known.title}: profile {protocol.profile}, version {known.version}",
        f"  state        {review_state(protocol)}",
        f"  reviewed     {known.last_reviewed}, next review {known.next_review}",
        f"  source       {known.source}",
        f"  content      {protocol.content_hash}",
        f"  switched off {_value(protocol.policy.topics_off)}",
    ]
    sections = (
        ("Products", [_product(p) for p in protocol.products.values()]),
        (
            "Schedules",
            [f"{s.key:20} {s.words} ({s.statement})" for s in protocol.schedules.values()],
        ),
        ("Situations", list(chain.from_iterable(_situation(protocol, r) for r in protocol.rows))),
        ("Thresholds", [_setting(*line) for line in _settings(protocol.thresholds)]),
        ("Choices between sources", [_setting(*line) for line in _settings(protocol.policy)]),
    )
    blocks = ["\n".join(head)]
    for title, lines in sections:
        blocks.append("\n".join([title, *(f"  {line}" for line in lines)]))
    return "\n\n".join(blocks)


def _situation(protocol: Protocol, row: Row) -> Iterator[str]:
    card = protocol.cards[row.card]
    yield f"{row.number:>2}  {row.facts}"
    if row.product:
        yield f"    loading:     {phase_words(protocol, row.loading, row.product)}"
        yield f"    maintenance: {phase_words(protocol, row.maintenance, row.product)}"
    yield f"    card:        {row.card} ({card.indicator})"
    if row.note:
        yield f"    note:        {row.note}"


def _setting(key: str, value: str, comment: str) -> str:
    return f"{key:34} {value:24} {comment}".rstrip()


# --- two profiles -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """A key on which two profiles differ, and the decisions of the profiles that changed it."""

    key: str
    values: tuple[str, str]
    decisions: tuple[tuple[str, Decision], ...]  # (profile, decision)


def differences(a: str, b: str) -> tuple[Difference, ...]:
    """Every key with different values in profiles `a` and `b`, in the order of the files."""
    left, right = _flat(profile_data(a)), _flat(profile_data(b))
    return tuple(
        Difference(
            key,
            (_value(left.get(key)), _value(right.get(key))),
            tuple((name, d) for name in (a, b) for d in _decisions(name, key)),
        )
        for key in dict.fromkeys((*left, *right))
        if left.get(key) != right.get(key)
    )


def _decisions(profile: str, key: str) -> list[Decision]:
    """The decisions of a profile that cover a key: they name it, or the table it is in."""
    return [
        decision
        for decision in load_protocol(profile).decisions
        if any(f"{key}.".startswith(f"{named.strip()}.") for named in decision.key.split(","))
    ]


def _flat(data: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if key == "decisions":
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{path}{key}.")
        else:
            flat[f"{path}{key}"] = value
    return flat


def difference(a: str, b: str) -> str:
    """Each key on which two profiles differ: both values, who decided, when, why, the source."""
    blocks = [_difference(a, b, found) for found in differences(a, b)]
    return "\n\n".join(blocks) or f"{a} and {b} are the same."


def _difference(a: str, b: str, found: Difference) -> str:
    lines = [found.key, *(f"  {n:9} {v}" for n, v in zip((a, b), found.values, strict=True))]
    for profile, decision in found.decisions:
        cited = load_protocol(profile).citations[decision.source]
        lines.append(f"  decided   {decision.decided_on} for {profile} by {decision.decided_by}")
        lines.append(f"  why       {decision.reason}")
        lines.append(f"  source    {_citation(cited)}")
    if not found.decisions:
        lines.append("  decided   not recorded")
    return "\n".join(lines)


# --- the decision table -----------------------------------------------------------------------

_INTRODUCTION: Final = """\
Generated by `make docs` from `regimen/protocol/*.toml`, the rules in `regimen/` and the vignettes;
do not edit. `b12-cds protocol show` prints one profile, `b12-cds protocol show --diff default us`
where two differ. The [glossary](glossary.md#marks) explains marks such as E.3, F.5 or K4."""

_ONE_REGIMEN: Final = """\
One regimen card an answer. An order that conforms already, in any equivalent encoding, gets none.
The indicator is that of the catalogue. An order that gives less than the protocol to a patient with
a neurological finding, or that differs alarmingly, raises it to warning."""

_NO_VIGNETTES: Final = """\
The vignettes are part of the source repository and not of the installed package: this table was
made without them."""

_EVERY_RULE: Final = """\
Each is asked on every call, in this order, and answers with its card or with why it has none;
`b12-cds evaluate --explain` prints both. Cards are sorted critical, warning, info. Besides critical
ones at most {cap} are shown."""


@dataclass(frozen=True, slots=True)
class Example:
    """A vignette as the table names it."""

    id: str
    folder: str
    covers: tuple[str, ...]
    near_miss_of: tuple[str, ...]

    @property
    def target(self) -> str:
        """What the link `[V01]` of the page leads to."""
        return f"[{self.id}]: ../fixtures/vignettes/{self.folder}/vignette.toml"


def examples(folder: Path) -> tuple[Example, ...]:
    """The vignettes in `folder`, in the order of their ids; none where there is no such folder."""
    found = []
    for path in folder.glob("*/vignette.toml"):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        covers, near = data.get("covers", ()), data.get("near_miss_of", ())
        found.append(Example(data["id"], path.parent.name, tuple(covers), tuple(near)))
    return tuple(sorted(found, key=lambda example: (example.id[0], int(example.id[1:]))))


def decision_table(vignettes: Path = VIGNETTES) -> str:
    """The protocol as one page of Markdown."""
    protocol = load_protocol("default")
    known = examples(vignettes)
    sections = (
        _head(protocol),
        _scenarios(protocol, known),
        _rules(protocol),
        _catalogue(protocol),
        _numbers("Thresholds", "threshold", protocol.thresholds),
        _numbers("Choices between sources", "choice", protocol.policy),
        _schedules(protocol),
        *(_profile(name) for name in PROFILES if name != "default"),
        _statements(protocol),
        _citations(protocol),
        _override_reasons(protocol),
        *(["\n".join(_targets(known))] if known else []),
    )
    return "\n\n".join(sections) + "\n"


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)


def _code(text: str) -> str:
    return f"`{text}`"


def _refs(statements: Iterable[str]) -> str:
    return " ".join(f"[{key}](#{key.lower()})" for key in statements)


def _head(protocol: Protocol) -> str:
    known = protocol.knowledge
    facts = [
        ("knowledge", f"{known.title} (`{known.id}`)"),
        ("version", f"{known.version}, content `{protocol.content_hash}`"),
        ("state", review_state(protocol)),
        ("in force from", str(known.effective_date)),
        ("last reviewed", str(known.last_reviewed)),
        ("next review", str(known.next_review)),
        ("source", known.source),
    ]
    return "\n\n".join(
        [
            "# The protocol as a decision table",
            _INTRODUCTION,
            _table(("", ""), facts),
        ]
    )


def _targets(known: Iterable[Example]) -> Iterator[str]:
    """The link targets of the vignettes that the scenario table names."""
    for example in known:
        if any(mark.startswith("E.3 row ") for mark in (*example.covers, *example.near_miss_of)):
            yield example.target


def _scenarios(protocol: Protocol, known: Sequence[Example]) -> str:
    columns = ["row", "facts", "loading", "maintenance", "card", "indicator", "statements"]
    columns += ["vignettes", "near misses"] if known else []
    lines = []
    for row in protocol.rows:
        mark = f"E.3 row {row.number}"
        shown = [f"[{e.id}]" for e in known if mark in e.covers]
        missed = [f"[{e.id}]" for e in known if mark in e.near_miss_of]
        note = f". {row.note}" if row.note else ""
        line = [
            str(row.number),
            f"**{row.facts}**{note}",
            phase_words(protocol, row.loading, row.product),
            phase_words(protocol, row.maintenance, row.product),
            _code(row.card),
            protocol.cards[row.card].indicator.value,
            _refs(row_statements(protocol, row)),
        ]
        lines.append([*line, " ".join(shown), " ".join(missed)] if known else line)
    parts = [
        "## Which regimen",
        _ONE_REGIMEN,
        _table(columns, lines),
    ]
    if not known:
        parts.append(_NO_VIGNETTES)
    return "\n\n".join(parts)


def _rules(protocol: Protocol) -> str:
    lines = [
        [
            str(n),
            _code(rule),
            _sentence(function),
            " ".join(_code(c) for c in _cards(protocol, rule)),
        ]
        for n, (rule, function) in enumerate(RULES.items(), start=1)
    ]
    return "\n\n".join(
        [
            "## The rules",
            _EVERY_RULE.format(cap=protocol.thresholds.cap_non_critical),
            _table(("", "rule", "what it looks for", "cards"), lines),
        ]
    )


def _cards(protocol: Protocol, topic: str) -> list[str]:
    return [key for key, card in protocol.cards.items() if card.topic == topic]


def _catalogue(protocol: Protocol) -> str:
    lines = [_card(key, card) for key, card in protocol.cards.items()]
    columns = ("card", "topic", "indicator", "summary", "what it suggests first", "statements")
    return "\n\n".join(["## The card catalogue", _table(columns, lines)])


def _card(key: str, card: CardText) -> list[str]:
    words = (_code(key), card.topic.value, card.indicator.value, card.summary, card.proposal)
    return [*words, _refs(card.statements)]


def _numbers(title: str, kind: str, part: object) -> str:
    lines = [(_code(key), value, comment) for key, value, comment in _settings(part)]
    return "\n\n".join([f"## {title}", _table((kind, "value", "where it comes from"), lines)])


def _schedules(protocol: Protocol) -> str:
    lines = [
        (_code(named.key), named.words, _refs([named.statement]))
        for named in protocol.schedules.values()
    ]
    return "\n\n".join(["## Schedules", _table(("schedule", "words", "statement"), lines)])


def _profile(name: str) -> str:
    lines = [
        (
            _code(found.key),
            found.values[0],
            found.values[1],
            "; ".join(_decided(name, decision) for _, decision in found.decisions),
        )
        for found in differences("default", name)
    ]
    columns = ("key", "default", name, "decided")
    return "\n\n".join([f"## Profile {name}: what differs", _table(columns, lines)])


def _decided(profile: str, decision: Decision) -> str:
    cited = load_protocol(profile).citations[decision.source]
    who = f"{decision.decided_on}, {decision.decided_by}"
    return f"{decision.reason}. {cited.publisher} {cited.year}. {who}"


def _statements(protocol: Protocol) -> str:
    lines = [
        (
            f'<a id="{key.lower()}"></a>{key}',
            statement.says,
            ", ".join(_code(c) for c in statement.citations),
        )
        for key, statement in protocol.statements.items()
    ]
    return "\n\n".join(
        [
            "## Statements",
            "What the source protocol says, each with the sources it is to be compared with.",
            _table(("", "statement", "citations"), lines),
        ]
    )


def _citations(protocol: Protocol) -> str:
    lines = [(_code(c.key), _citation(c), c.url) for c in protocol.citations.values()]
    return "\n\n".join(
        [
            "## Citations",
            "A citation is verified only when a named reader has signed that the text was seen.",
            _table(("citation", "source", "address"), lines),
        ]
    )


def _override_reasons(protocol: Protocol) -> str:
    lines = [
        (
            _code(reason.code),
            reason.display,
            "the project's own" if reason.system == "local" else reason.system,
            " ".join(_code(k) for k, card in protocol.cards.items() if key in card.reasons),
        )
        for key, reason in protocol.override_reasons.items()
    ]
    columns = ("code", "display", "system", "cards")
    return "\n\n".join(["## Override reasons", _table(columns, lines)])
