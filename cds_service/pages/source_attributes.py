"""What must a user be able to know about an evidence-based intervention?

The thirteen source attributes of 45 CFR 170.315(b)(11)(iv)(A), answered for this service. A
deployer who changes the protocol answers them anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from regimen.protocol import Protocol


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute in the order of the rule. `used`: None where it is no yes-or-no question."""

    number: int
    name: str
    answer: str
    used: bool | None = None


def source_attributes(protocol: Protocol) -> tuple[Attribute, ...]:
    return (*_origin(protocol), *_use_of_data(protocol))


def _origin(protocol: Protocol) -> tuple[Attribute, ...]:
    known = protocol.knowledge
    released = f"Effective {known.effective_date}, last reviewed {known.last_reviewed}"
    return (
        Attribute(1, "Bibliographic citation", _citations(protocol)),
        Attribute(
            2,
            "Developer",
            "The authors of this open source project. No clinician has approved the protocol yet."
            if protocol.is_draft
            else "The authors of this open source project. "
            f"Clinically approved by {known.clinical_approver}.",
        ),
        Attribute(
            3,
            "Funding source of the technical implementation",
            "None is declared by the project. A deployer adds its own.",
        ),
        Attribute(
            4,
            "Release and revision dates",
            f"{released}, next review {known.next_review}; version {known.version}, "
            f"profile {protocol.profile}.",
        ),
    )


def _citations(protocol: Protocol) -> str:
    cited = [
        f"{c.publisher}: {c.title} ({c.year}{'' if c.verified else ', unverified'})"
        for c in protocol.citations.values()
    ]
    return f"Derived from: {protocol.knowledge.source}. Cited: {'; '.join(cited)}."


def _use_of_data(protocol: Protocol) -> tuple[Attribute, ...]:
    age = protocol.thresholds.min_age_years
    not_used = "Not read, and not used."
    return (
        Attribute(5, "Use of race", not_used, used=False),
        Attribute(6, "Use of ethnicity", not_used, used=False),
        Attribute(7, "Use of language", not_used, used=False),
        Attribute(8, "Use of sexual orientation", not_used, used=False),
        Attribute(9, "Use of gender identity", not_used, used=False),
        Attribute(
            10,
            "Use of sex",
            "Patient.gender is not used. Pregnancy, where it is recorded, is.",
            used=False,
        ),
        Attribute(
            11,
            "Use of date of birth",
            f"Age: under {age} years the protocol does not apply, and the card says so. Where no "
            "date of birth is recorded the adult protocol is used, and the card says that too.",
            used=True,
        ),
        Attribute(
            12,
            "Use of social determinants of health data",
            "Not used. Recorded recreational use of nitrous oxide and a recorded dietary cause "
            "are read as clinical findings.",
            used=False,
        ),
        Attribute(
            13,
            "Use of health status assessment data",
            "Not used. Problems, laboratory results, operations, medicines, allergies and family "
            "history are.",
            used=False,
        ),
    )
