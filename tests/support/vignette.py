"""What does a vignette file say?

A vignette is one patient, the orders picked, and all the cards that must come back, in words a
clinician reads. This module reads the TOML strictly: a key it does not know stops the run, so a
misspelt expectation cannot pass unnoticed. Turning facts into FHIR is `record`'s business.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
VIGNETTES = ROOT / "fixtures" / "vignettes"
RESOURCES = ROOT / "fixtures" / "resources"

Toml = dict[str, Any]


class VignetteError(ValueError):
    """The file says something the harness does not understand."""


@dataclass(frozen=True, slots=True)
class Words:
    """Words looked for in all text of the answer, upper or lower case.

    `groups`: of each group, at least one. `never`: none. `confirmed` False: the answer says that
    the deficiency is not confirmed; True: it does not say so.
    """

    groups: tuple[tuple[str, ...], ...] = ()
    never: tuple[str, ...] = ()
    confirmed: bool | None = None


@dataclass(frozen=True, slots=True)
class ExpectedCard:
    """One card. Each field that is not empty is checked; regimens are tuples of phase names."""

    topic: str
    indicators: tuple[str, ...]
    optional: bool = False
    regimen: tuple[str, ...] = ()  # settled: recommended, or the only suggestion with a drug
    alternative: tuple[tuple[str, ...], ...] = ()  # beside it, not recommended
    choose: tuple[tuple[str, ...], ...] = ()  # exactly these, none recommended
    one_of: tuple[tuple[str, ...], ...] = ()  # at least one of these, no other drug
    may_offer: tuple[tuple[str, ...], ...] = ()  # allowed besides, never recommended
    corrects: Mapping[str, str] = field(default_factory=dict)  # route, dose, product
    adds: tuple[str, ...] = ()  # created beside the draft, which stays
    removes: tuple[str, ...] = ()  # medicines whose draft is deleted
    keeps: tuple[str, ...] = ()  # medicines whose draft is never deleted
    no_drug: bool = False  # no suggestion changes a medicine
    tests: tuple[str, ...] = ()
    tests_any: tuple[str, ...] = ()
    referrals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expected:
    """The whole answer. No card listed, status 200: silence."""

    cards: tuple[ExpectedCard, ...] = ()
    statuses: tuple[int, ...] = (200,)
    words: Words = Words()


@dataclass(frozen=True, slots=True)
class Vignette:
    """One file. `covers` and `near_miss_of` name rows and points of the protocol."""

    id: str
    title: str
    as_of: date
    expected: Expected
    path: Path
    profile: str = "default"
    covers: tuple[str, ...] = ()
    near_miss_of: tuple[str, ...] = ()
    note: str = ""
    patient: Toml = field(default_factory=dict)
    record: Toml = field(default_factory=dict)
    orders: tuple[Toml, ...] = ()
    prefetch: str = "complete"  # complete, missing
    failed: tuple[str, ...] = ()  # resource types whose query failed at the client
    movable: bool = True  # False: says a year or month, which does not shift by days


_KEYS = frozenset(
    [
        "id",
        "title",
        "as_of",
        "profile",
        "covers",
        "near_miss_of",
        "note",
        "patient",
        "record",
        "order",
        "expect",
        "prefetch",
        "failed",
        "movable",
    ]
)
_CARD_KEYS = frozenset(
    [
        "topic",
        "indicator",
        "optional",
        "regimen",
        "alternative",
        "choose",
        "one_of",
        "may_offer",
        "corrects",
        "adds",
        "removes",
        "keeps",
        "no_drug",
        "tests",
        "tests_any",
        "referrals",
    ]
)


def _known(table: Toml, keys: frozenset[str], where: str) -> None:
    unknown = sorted(table.keys() - keys)
    if unknown:
        raise VignetteError(f"{where}: unknown key {', '.join(unknown)}")


def _strings(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _lists(value: Any) -> tuple[tuple[str, ...], ...]:
    return tuple(_strings(item) for item in value)


def _card(table: Toml, where: str) -> ExpectedCard:
    _known(table, _CARD_KEYS, where)
    return ExpectedCard(
        topic=table["topic"],
        indicators=_strings(table["indicator"]),
        optional=table.get("optional", False),
        regimen=_strings(table.get("regimen", ())),
        alternative=_lists(table.get("alternative", ())),
        choose=_lists(table.get("choose", ())),
        one_of=_lists(table.get("one_of", ())),
        may_offer=_lists(table.get("may_offer", ())),
        corrects=table.get("corrects", {}),
        adds=_strings(table.get("adds", ())),
        removes=_strings(table.get("removes", ())),
        keeps=_strings(table.get("keeps", ())),
        no_drug=table.get("no_drug", False),
        tests=_strings(table.get("tests", ())),
        tests_any=_strings(table.get("tests_any", ())),
        referrals=_strings(table.get("referrals", ())),
    )


def _words(table: Toml, where: str) -> Words:
    _known(table, frozenset({"all", "never", "confirmed"}), where)
    return Words(
        groups=_lists(table.get("all", ())),
        never=_strings(table.get("never", ())),
        confirmed=table.get("confirmed"),
    )


def _expected(table: Toml, where: str) -> Expected:
    _known(table, frozenset({"silence", "status", "card", "words"}), where)
    cards = tuple(_card(card, where) for card in table.get("card", ()))
    status = table.get("status", 200)
    statuses = (status,) if isinstance(status, int) else tuple(status)
    if bool(cards) == (table.get("silence", False) or 200 not in statuses):
        raise VignetteError(f"{where}: expect either cards, or silence, or another status")
    return Expected(cards, statuses, _words(table.get("words", {}), where))


def read_vignette(path: Path) -> Vignette:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    _known(table, _KEYS, str(path))
    return Vignette(
        id=table["id"],
        title=table["title"],
        as_of=table["as_of"],
        expected=_expected(table["expect"], table["id"]),
        path=path,
        profile=table.get("profile", "default"),
        covers=_strings(table.get("covers", ())),
        near_miss_of=_strings(table.get("near_miss_of", ())),
        note=table.get("note", ""),
        patient=table.get("patient", {}),
        record=table.get("record", {}),
        orders=tuple(table["order"]),
        prefetch=table.get("prefetch", "complete"),
        failed=_strings(table.get("failed", ())),
        movable=table.get("movable", True),
    )


@cache
def all_vignettes() -> tuple[Vignette, ...]:
    """Every vignette on disk, in the order of their ids."""
    found = [read_vignette(path) for path in sorted(VIGNETTES.glob("*/vignette.toml"))]
    return tuple(sorted(found, key=lambda vignette: vignette.id))


@cache
def resource_table(name: str) -> Toml:
    """A table of `fixtures/resources`: vocabulary, histories."""
    return tomllib.loads((RESOURCES / f"{name}.toml").read_text(encoding="utf-8"))


def word(section: str, name: str) -> Toml:
    """What the vocabulary says of one word: its codes and text."""
    try:
        found: Toml = resource_table("vocabulary")[section][name]
    except KeyError:
        raise VignetteError(f"{name!r} is not in the vocabulary of {section}") from None
    return found


def history(name: str) -> Iterator[tuple[str, Any]]:
    """The facts of a shared history, with those of the history it builds on."""
    table = resource_table("histories")[name]
    if "like" in table:
        yield from history(table["like"])
    yield from ((key, facts) for key, facts in table.items() if key != "like")
