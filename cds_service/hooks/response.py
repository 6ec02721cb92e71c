"""What does an answer look like on the wire?

The models write what CDS Hooks 2.0 defines and leave out what is not there. Tests hold every answer
to the standard's invariants and to our own contract.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from fhir_mappers.elements import Json
from regimen.facts import Gap
from regimen.recommendation import Indicator, RuleOutcome, Topic

SelectionBehavior = Literal["at-most-one", "any"]


def new_uuid() -> str:
    return str(uuid.uuid4())


class _Wire(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """An element of an answer: camelCase names, nothing for what is absent."""


class Coding(_Wire, frozen=True, kw_only=True):
    code: str
    system: str
    display: str | None = None


class Source(_Wire, frozen=True, kw_only=True):
    label: str
    url: str | None = None
    icon: str | None = None
    topic: Coding | None = None


class Link(_Wire, frozen=True, kw_only=True):
    label: str
    url: str
    type: Literal["absolute", "smart"]
    app_context: str | None = None


class Action(_Wire, frozen=True, kw_only=True):
    """`resource`: the new or whole updated resource. `resource_id`: `Type/id` of one to delete."""

    type: Literal["create", "update", "delete"]
    description: str
    resource: Json | None = None
    resource_id: str | None = None


class Suggestion(_Wire, frozen=True, kw_only=True):
    label: str
    uuid: str = msgspec.field(default_factory=new_uuid)
    is_recommended: bool = False
    actions: tuple[Action, ...] = ()


class Card(_Wire, frozen=True, kw_only=True):
    summary: str
    indicator: Indicator
    source: Source
    uuid: str = msgspec.field(default_factory=new_uuid)
    detail: str | None = None
    suggestions: tuple[Suggestion, ...] = ()
    selection_behavior: SelectionBehavior | None = None
    override_reasons: tuple[Coding, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service says: cards for the client; the rest for the log and the record."""

    cards: tuple[Card, ...] = ()
    topics: tuple[Topic, ...] = ()
    gaps: tuple[Gap, ...] = ()
    rules: tuple[str, ...] = ()  # of the protocol, one for each topic
    outcomes: tuple[RuleOutcome, ...] = ()  # every rule that was looked at; none: not ours


_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def encode_cards(cards: Sequence[Card]) -> bytes:
    """The body of an answer. Decimals are written as the numbers they are, digit for digit."""
    return _ENCODER.encode({"cards": cards})
