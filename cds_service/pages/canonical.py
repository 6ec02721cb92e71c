"""What do the canonical URLs that the service emits resolve to?

FHIR R4 resources of the project's own: the code systems of its topics, record codes and override
reasons, its value sets, its protocol as a PlanDefinition, and what this server can do. Nothing
here is about a patient.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, Final

from cds_service.errors import UnknownResource
from cds_service.pages.about import INTENDED_USE, USERS, WORDING, software_version
from fhir_mappers.elements import Json
from fhir_mappers.terminology import FOLDER, SYSTEMS, value_sets
from regimen.protocol import Citation, Protocol
from regimen.recommendation import Topic

PLAN: Final = "b12-im"
PUBLISHER: Final = "The authors of this project"

TOPICS: Final[Mapping[Topic, str]] = {
    Topic.REGIMEN: "The regimen to give, or how the order differs from it",
    Topic.REFERRAL: "Urgent neurology and haematology advice",
    Topic.EVIDENCE: "No deficiency on record: take bloods before the first dose",
    Topic.UNAVAILABLE: "Part of the record could not be read: what was not considered",
    Topic.RISK: "At risk without deficiency: test",
    Topic.SYMPTOMS: "Symptoms recur on maintenance",
    Topic.ROUTE: "Oral or nasal B12 picked where the injection is the standard",
    Topic.IV_ROUTE: "Intravenous route",
    Topic.DOSE: "Dose far above the usual, as when mg and microgram are mixed up",
    Topic.FOLATE: "Folic acid before B12",
    Topic.STOP: "Stopping or limiting lifelong B12",
    Topic.DUPLICATE: "A second parenteral B12 order",
    Topic.ALLERGY: "Cobalamin, cobalt or excipient allergy",
    Topic.LEBER: "Leber optic neuropathy and cyanocobalamin",
    Topic.PAEDIATRIC: "Under the age the protocol is for",
    Topic.PREGNANCY: "Pregnancy without demonstrated deficiency",
    Topic.POTASSIUM: "Risk of hypokalaemia at loading",
    Topic.MONITORING: "B12 and homocysteine due",
}


# --- code systems -----------------------------------------------------------------------------


def code_system(name: str, protocol: Protocol, public_url: str) -> Json:
    """One of the project's code systems. Raises UnknownResource."""
    match name:
        case "card-topic":
            concepts = [
                {"code": topic.value, "display": topic.value, "definition": says}
                for topic, says in TOPICS.items()
            ]
            title, about = "Card topics", "What a card of this service is about"
        case "override-reason":
            concepts = [
                {"code": reason.code, "display": reason.display}
                for reason in protocol.override_reasons.values()
                if reason.system == "local"
            ]
            title = "Override reasons"
            about = "Reasons to decline a card that no standard code system has"
        case "record":
            concepts = [
                {"code": code.code, "display": code.display}
                for code in value_sets().in_set("record")
            ]
            title = "Lengths of ileum"
            about = "Observations of a length of ileum, which no standard code system has"
        case _:
            raise UnknownResource
    url = SYSTEMS["record"] if name == "record" else f"{public_url}/fhir/CodeSystem/{name}"
    return _head("CodeSystem", name, url, title, about, protocol) | {
        "caseSensitive": True,
        "content": "complete",
        "count": len(concepts),
        "concept": concepts,
    }


def _head(kind: str, name: str, url: str, title: str, about: str, protocol: Protocol) -> Json:
    """What all canonical resources begin with."""
    return {
        "resourceType": kind,
        "id": name,
        "url": url,
        "version": protocol.knowledge.version,
        "name": _computable(title),
        "title": title,
        "status": "draft" if protocol.is_draft else "active",
        "experimental": False,
        "date": protocol.knowledge.effective_date.isoformat(),
        "publisher": PUBLISHER,
        "description": about,
    }


def _computable(title: str) -> str:
    """A name as FHIR wants it: letters and digits, a capital first."""
    words = re.findall(r"[A-Za-z0-9]+", title)
    name = "".join(word[0].upper() + word[1:] for word in words)
    return name if name[0].isalpha() else f"Set{name}"


# --- value sets -------------------------------------------------------------------------------


def value_set(name: str, protocol: Protocol, public_url: str) -> Json:
    """A shipped value set, with displays only where we may print them. Raises UnknownResource."""
    if name not in value_sets().names:
        raise UnknownResource
    files = _files(name)
    first = files[0]
    licences = dict.fromkeys(file["licence"] for file in files)
    sources = dict.fromkeys(file["source"] for file in files)
    head = _head(
        "ValueSet",
        name,
        f"{public_url}/fhir/ValueSet/{name}",
        first["title"],
        f"Role: {first['role']}. Source: {'; '.join(sources)}.",
        protocol,
    )
    return head | {
        "version": max(file["version"] for file in files),
        "status": "draft" if any(f["review_state"] == "draft" for f in files) else "active",
        "date": max(file["version"] for file in files),
        "copyright": "; ".join(licences),
        "compose": {"include": list(_includes(files))},
    }


@lru_cache(maxsize=256)
def _files(name: str) -> tuple[Json, ...]:
    """The files of a set, the core one first. `name` is one of the sets that were loaded."""
    paths = [FOLDER / f"{name}.toml", *sorted(FOLDER.glob(f"extensions/*/{name}.toml"))]
    return tuple(tomllib.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists())


def _includes(files: tuple[Json, ...]) -> Iterator[Json]:
    """One include a system for the codes listed; one for each prefix or range (FHIR vsd-3)."""
    rows = [row for file in files for row in file["codes"]]
    for system in dict.fromkeys(row["system"] for row in rows):
        of_system = [row for row in rows if row["system"] == system]
        listed = [_concept(row) for row in of_system if row["match"] == "exact"]
        if listed:
            yield {"system": SYSTEMS[system], "concept": listed}
        for row in of_system:
            if row["match"] != "exact":
                yield {"system": SYSTEMS[system], "filter": [_filter(row)]}


def _concept(row: Mapping[str, Any]) -> Json:
    display = row.get("display")
    return {"code": row["code"], "display": display} if display else {"code": row["code"]}


def _filter(row: Mapping[str, Any]) -> Json:
    return {"property": "code", "op": "regex", "value": _pattern(row)}


def _pattern(row: Mapping[str, Any]) -> str:
    """A regular expression over the whole code: D51 → D51.*; C00 to C96 → C(00|01|...|96).*"""
    if row["match"] == "prefix":
        return f"{re.escape(row['code'])}.*"
    letter, low, high = row["code"][0], int(row["code"][1:]), int(row["to"][1:])
    categories = "|".join(f"{number:02d}" for number in range(low, high + 1))
    return f"{letter}({categories}).*"


# --- the protocol -----------------------------------------------------------------------------


def plan_definition(name: str, protocol: Protocol, public_url: str) -> Json:
    """The protocol: one action for each card it can show. Raises UnknownResource."""
    if name != PLAN:
        raise UnknownResource
    known = protocol.knowledge
    plan = _head(
        "PlanDefinition",
        name,
        f"{public_url}/fhir/PlanDefinition/{name}",
        known.title,
        INTENDED_USE,
        protocol,
    )
    if not protocol.is_draft:
        plan |= {"approvalDate": known.last_reviewed.isoformat()}
        plan |= {"endorser": [{"name": known.clinical_approver}]}
    return plan | {
        "type": {"coding": [_terminology("plan-definition-type", "eca-rule")]},
        "subjectCodeableConcept": {
            "coding": [{"system": "http://hl7.org/fhir/resource-types", "code": "Patient"}]
        },
        "usage": USERS,
        "purpose": WORDING,
        "lastReviewDate": known.last_reviewed.isoformat(),
        "effectivePeriod": {
            "start": known.effective_date.isoformat(),
            "end": known.next_review.isoformat(),
        },
        "relatedArtifact": [_cited(citation) for citation in protocol.citations.values()],
        "action": [_action(key, protocol, public_url) for key in protocol.cards],
    }


def _terminology(system: str, code: str) -> Json:
    return {"system": f"http://terminology.hl7.org/CodeSystem/{system}", "code": code}


def _cited(citation: Citation) -> Json:
    seen = "" if citation.verified else " (unverified)"
    said = f"{citation.publisher}. {citation.title}. {citation.year}{seen}"
    artifact = {"type": "citation", "label": citation.key, "citation": said}
    return artifact | ({"url": citation.url} if citation.url else {})


def _action(key: str, protocol: Protocol, public_url: str) -> Json:
    card = protocol.cards[key]
    action: Json = {
        "title": key,
        "textEquivalent": card.summary,
        "code": [
            {
                "coding": [
                    {
                        "system": f"{public_url}/fhir/CodeSystem/card-topic",
                        "code": card.topic.value,
                    }
                ]
            }
        ],
        "trigger": [{"type": "named-event", "name": "order-select"}],
    }
    statements = [
        {
            "type": "justification",
            "display": f"{statement}: {protocol.statements[statement].says}",
            "url": f"{public_url}/about/protocol#{statement}",
        }
        for statement in card.statements
    ]
    return action | ({"documentation": statements} if statements else {})


# --- this server ------------------------------------------------------------------------------


def capability_statement(protocol: Protocol, public_url: str, today: date) -> Json:
    return {
        "resourceType": "CapabilityStatement",
        "id": "metadata",
        "url": f"{public_url}/fhir/metadata",
        "name": "B12Cds",
        "title": "Canonical resources of the vitamin B12 decision support service",
        "status": "active",
        "date": today.isoformat(),
        "publisher": PUBLISHER,
        "description": (
            "Reads of the project's own code systems, value sets and protocol. No patient data. "
            "Decision support itself is offered by CDS Hooks."
        ),
        "kind": "instance",
        "software": {"name": "b12-cds", "version": software_version()},
        "implementation": {
            "description": f"{protocol.knowledge.title}, profile {protocol.profile}",
            "url": f"{public_url}/fhir",
        },
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "rest": [
            {
                "mode": "server",
                "resource": [
                    {"type": kind, "interaction": [{"code": "read"}]}
                    for kind in ("CodeSystem", "ValueSet", "PlanDefinition")
                ],
            }
        ],
    }
