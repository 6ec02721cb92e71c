"""What is this service for, for whom, and where does it end?

The words of the page /about, which are also its JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from fhir_mappers.terminology import value_sets
from regimen.protocol import Protocol

DISTRIBUTION: Final = "b12-cds"

INTENDED_USE: Final = (
    "Advice to a prescriber on an order for vitamin B12 or folic acid, in the moment it is chosen: "
    "the regimen that fits the recorded cause of deficiency, neurological findings and surgery, "
    "and orders that could do harm. It suggests draft orders and signs nothing."
)

USERS: Final = "Clinicians who may prescribe, inside an electronic health record. Not patients."

WORDING: Final = (
    "This service supports the judgement of a qualified healthcare professional and does not "
    "replace it. Its advice is made from the record data that each card lists, which may be "
    "incomplete. It is not for emergencies, and it is not cleared or marked as a medical device "
    "in any country."
)


@dataclass(frozen=True, slots=True)
class ProtocolState:
    """Which knowledge answers, and who stands behind it."""

    title: str
    profile: str
    version: str
    status: str
    approver: str
    effective: date
    last_reviewed: date
    next_review: date
    review_overdue: bool
    source: str
    content_hash: str


@dataclass(frozen=True, slots=True)
class About:
    software: str
    software_version: str
    intended_use: str
    users: str
    population: str
    excluded: tuple[str, ...]
    known_limits: tuple[str, ...]
    wording: str
    protocol: ProtocolState
    value_sets_version: str
    value_sets_hash: str


def about(protocol: Protocol, today: date) -> About:
    age = protocol.thresholds.min_age_years
    return About(
        software=DISTRIBUTION,
        software_version=software_version(),
        intended_use=INTENDED_USE,
        users=USERS,
        population=f"Patients of {age} years and over with an order for vitamin B12 or folic acid.",
        excluded=_excluded(age),
        known_limits=_known_limits(protocol),
        wording=WORDING,
        protocol=_state(protocol, today),
        value_sets_version=value_sets().version,
        value_sets_hash=value_sets().content_hash,
    )


def software_version() -> str:
    """The installed version; a source tree that was never installed has none."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "not installed"


def _state(protocol: Protocol, today: date) -> ProtocolState:
    known = protocol.knowledge
    return ProtocolState(
        title=known.title,
        profile=protocol.profile,
        version=known.version,
        status=known.review_status,
        approver=known.clinical_approver,
        effective=known.effective_date,
        last_reviewed=known.last_reviewed,
        next_review=known.next_review,
        review_overdue=protocol.review_overdue(today),
        source=known.source,
        content_hash=protocol.content_hash,
    )


def _excluded(age: int) -> tuple[str, ...]:
    return (
        f"Children under {age}: only checks for harm, and a card that refers to specialists.",
        "Hydroxocobalamin for cyanide poisoning and inborn errors of metabolism: another use.",
        "Any medicine other than vitamin B12, folic acid and levomefolate.",
    )


def _known_limits(protocol: Protocol) -> tuple[str, ...]:
    unread = sum(not citation.verified for citation in protocol.citations.values())
    draft = (
        ("The protocol is a draft: no clinician has signed it. Every card says so.",)
        if protocol.is_draft
        else ()
    )
    return (
        *draft,
        (
            f"{unread} of {len(protocol.citations)} cited sources have not been confirmed against "
            "their text; they are marked as unverified."
        ),
        (
            "Only coded facts are read. Free text never counts as a fact; at most it makes the "
            "service ask."
        ),
        (
            "A code that is in none of the value sets is not recognised. That nothing was "
            "recognised does not mean that the patient does not have it."
        ),
        (
            "What the record does not say, or could not be read, is named on the card where it "
            "matters; an empty answer means that the order was looked at and needs no comment."
        ),
        "Allergy, interaction and dose checks cover vitamin B12 and folic acid only.",
    )
