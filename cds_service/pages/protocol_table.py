"""What does the page /about/protocol show of a protocol?

The scenario table and the settings, in words; everything else is on the Protocol as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from cds_service.protocol_page import phase_words, row_statements
from regimen.protocol import Protocol
from regimen.words import number


@dataclass(frozen=True, slots=True)
class ScenarioRow:
    """One situation, what is given in it, the card that says so, and where it comes from."""

    number: int
    facts: str
    note: str
    loading: str
    maintenance: str
    card: str
    statements: tuple[str, ...]


def scenario_rows(protocol: Protocol) -> tuple[ScenarioRow, ...]:
    return tuple(
        ScenarioRow(
            number=row.number,
            facts=row.facts,
            note=row.note,
            loading=phase_words(protocol, row.loading, row.product),
            maintenance=phase_words(protocol, row.maintenance, row.product),
            card=row.card,
            statements=row_statements(protocol, row),
        )
        for row in protocol.rows
    )


def settings_of(part: Any) -> Iterator[tuple[str, str]]:
    """The names and values of the thresholds, or of the policy."""
    for one in fields(part):
        yield one.name.replace("_", " "), _words(getattr(part, one.name))


def _words(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case Decimal():
            return number(value)
        case tuple():
            return ", ".join(map(str, value)) or "none"
        case _:
            return str(value) or "none"
