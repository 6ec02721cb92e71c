"""Whatever a site may lay over the protocol, does it leave every evaluation whole and every danger
critical?

An overlay is refused, or it is used: what check-config accepts must never fail at the bedside.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cds_service.errors import BadRequest, DataUnavailable
from cds_service.hooks.order_select import explained
from cds_service.hooks.request import decode_order_select, decode_request
from cds_service.hooks.response import Answer, encode_cards
from cds_service.services import Services
from cds_service.settings import Settings
from cds_service.tenants import Tenant
from regimen.protocol import Protocol, build_protocol, load_protocol, overlay, profile_data
from regimen.protocol_check import ProtocolError
from regimen.recommendation import NEVER_SILENCED
from tests.properties.patients import examples
from tests.support.response_check import check_response
from tests.support.vignette import Vignette, all_vignettes
from tests.vignettes.generate import request_of

Path = tuple[str, ...]
DEFAULT = profile_data("default")
OWN_DECISION = {
    "key": "overrides",
    "reason": "differences of this site",
    "source": "the overrides file of the tenant",
    "decided_by": "Dr Approver",
    "decided_on": date(2026, 1, 2),
}


def with_change(path: Path, value: Any) -> Protocol:
    """The default profile with one value changed, as an overlay does it. Raises ProtocolError."""
    changes: dict[str, Any] = {path[-1]: value}
    for step in reversed(path[:-1]):
        changes = {step: changes}
    data = overlay(copy.deepcopy(DEFAULT), changes, "overrides")
    data["decisions"] = [OWN_DECISION]
    return build_protocol("default", data)


@dataclass(frozen=True, slots=True)
class Asked:
    """A call, what the default protocol's answer rests on, and its critical topics."""

    body: bytes
    as_of: date
    rules: frozenset[str]
    dangers: frozenset[str]


def answer(body: bytes, as_of: date, protocol: Protocol) -> Answer:
    """The answer, checked; whatever fails on the way is raised."""
    services = Services(Settings(), lambda: as_of, protocol, Tenant(id="site"))
    request = decode_request(body)
    found = explained(decode_order_select(request.context), request, services)
    if found.evaluation is not None and found.evaluation.failures:
        raise found.evaluation.failures[0].error
    check_response(encode_cards(found.answer.cards))
    return found.answer


def critical(given: Answer) -> frozenset[str]:
    found = zip(given.topics, given.cards, strict=True)
    return frozenset(topic for topic, card in found if card.indicator == "critical")


@cache
def cases() -> tuple[Asked, ...]:
    """A few vignettes that between them show every card that vignettes show."""
    left = [asked for vignette in all_vignettes() if (asked := asked_of(vignette)).rules]
    chosen: list[Asked] = []
    shown: frozenset[str] = frozenset()
    while best := max(
        (a for a in left if a.rules - shown), key=lambda a: len(a.rules - shown), default=None
    ):
        shown |= best.rules
        chosen.append(best)
    return tuple(chosen)


def asked_of(vignette: Vignette) -> Asked:
    body = json.dumps(request_of(vignette)).encode()
    try:
        given = answer(body, vignette.as_of, load_protocol())
    except (DataUnavailable, BadRequest):
        given = Answer()
    return Asked(body, vignette.as_of, frozenset(given.rules), critical(given))


def leaves(table: Any, path: Path = ()) -> Iterator[Path]:
    if not isinstance(table, dict) or not table:
        yield path
        return
    for key, value in table.items():
        yield from leaves(value, (*path, key))


def value_at(path: Path) -> Any:
    value: Any = DEFAULT
    for step in path:
        value = value[step]
    return value


PATHS = sorted(set(leaves(DEFAULT)) - {("rows",)})
BAD_VALUES: list[Any] = [
    "",
    " ",
    "x",
    "x {amount}",
    "{}",
    "{0}",
    "{label!r}",
    "{label.a}",
    "{on:d}",
    "{",
    "}",
    "x\n- y",
    "\u202e",
    "x" * 5000,
    "<b>x</b> [a](b)",
    0,
    1,
    -1,
    3,
    10**30,
    True,
    False,
    Decimal("NaN"),
    Decimal("Infinity"),
    Decimal("0.5"),
    Decimal("1E-999"),
    [],
    ["x"],
    [1],
    {},
    {"value": 0, "unit": "wk"},
    date(2020, 1, 1),
    datetime(2020, 1, 1),  # noqa: DTZ001  as TOML has it
]
#: What stands at one place of the default is a likely mistake at another.
VALUES = st.one_of(
    st.sampled_from(BAD_VALUES),
    st.sampled_from(PATHS).map(value_at),
    st.integers(-5, 10**7),
)


@pytest.mark.fault("O07")
@given(path=st.sampled_from(PATHS), value=VALUES)
@example(path=("cards", "allergy", "proposal"), value="x {amount}")
@example(path=("phrases", "allergy"), value=3)
@example(path=("thresholds", "usual_dose_ug"), value=0)
@example(path=("thresholds", "lab_window_days"), value=10**30)
@example(path=("schedules", "monthly", "frequency"), value=0)
@example(path=("knowledge", "next_review"), value=datetime(2027, 1, 1))  # noqa: DTZ001
@examples(60)
def test_an_overlay_is_refused_or_leaves_every_answer_whole(path: Path, value: Any) -> None:
    try:
        protocol = with_change(path, value)
    except ProtocolError:
        return
    for asked in cases():
        given = answer(asked.body, asked.as_of, protocol)
        if path[0] != "thresholds":  # whether there is a danger may depend on the numbers
            assert critical(given) >= asked.dangers


def test_the_cases_show_every_danger() -> None:
    assert {topic for asked in cases() for topic in asked.dangers} == NEVER_SILENCED
