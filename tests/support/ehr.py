"""What would a FHIR server answer to a prefetch template?

Enough of FHIR search for the queries a CDS client fills in. A parameter it does not know stops
the run: a template that this module cannot answer must not look like an empty record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any
from urllib.parse import parse_qsl

Resource = dict[str, Any]

_DATES = {
    "Observation": ("effectiveDateTime", "issued"),
    "Procedure": ("performedDateTime",),
    "MedicationAdministration": ("effectiveDateTime",),
    "MedicationRequest": ("authoredOn",),
    "Condition": ("recordedDate",),
    "ServiceRequest": ("authoredOn",),
}
_DATE_PARAMETERS = frozenset({"date", "effective-time", "authoredon", "recorded-date", "authored"})
_TOKENS = {
    "category": "category",
    "clinical-status": "clinicalStatus",
    "verification-status": "verificationStatus",
    "code": "code",
    "status": "status",
    "intent": "intent",
}
_PREFIXES = ("eq", "ge", "gt", "le", "lt")


def fill(template: str, context: Mapping[str, str]) -> str:
    """The template with its context tokens replaced."""
    for name, value in context.items():
        template = template.replace(f"{{{{context.{name}}}}}", value)
    if "{{" in template:
        raise ValueError(f"a token this harness cannot fill: {template}")
    return template


def answer(query: str, resources: Iterable[Resource]) -> Resource | None:
    """A read: the resource or None. A search: a searchset Bundle, perhaps without entries."""
    path, _, parameters = query.partition("?")
    if not parameters:
        kind, _, name = path.partition("/")
        return next((r for r in resources if (r["resourceType"], r["id"]) == (kind, name)), None)
    found = [r for r in resources if r["resourceType"] == path]
    count = len(found)
    for name, value in parse_qsl(parameters, strict_parsing=True):
        if name == "_count":
            count = int(value)
        elif name == "_sort":
            found.sort(key=_date, reverse=value.startswith("-"))
        else:
            found = [r for r in found if _matches(r, name, value)]
    return _bundle(query, found, count)


def _bundle(query: str, found: list[Resource], count: int) -> Resource:
    bundle: Resource = {"resourceType": "Bundle", "type": "searchset", "total": len(found)}
    if len(found) > count:
        bundle["link"] = [{"relation": "next", "url": f"https://ehr.example/fhir/{query}&page=2"}]
    if found:
        bundle["entry"] = [
            {"resource": r, "search": {"mode": "match"}} for r in found[: count or len(found)]
        ]
    return bundle


def _date(resource: Resource) -> str:
    for element in _DATES.get(resource["resourceType"], ()):
        if element in resource:
            return str(resource[element])
    return ""


def _matches(resource: Resource, name: str, value: str) -> bool:
    if name in ("patient", "subject"):
        who: Resource = resource.get("subject") or resource.get("patient") or {}
        return str(who.get("reference")) in (value, f"Patient/{value}")
    if name in _DATE_PARAMETERS:
        return _in_time(_date(resource)[:10], value)
    if name in _TOKENS:
        codes = set(_codes(resource.get(_TOKENS[name])))
        return any(token in codes for token in value.split(","))
    raise ValueError(f"a search parameter this harness does not know: {name}")


def _codes(element: Any) -> Iterator[str]:
    """Every token an element answers to: `code`, and `system|code`."""
    if isinstance(element, str):
        yield element
    elif isinstance(element, list):
        for item in element:
            yield from _codes(item)
    elif isinstance(element, dict):
        for coding in element.get("coding", ()):
            yield coding["code"]
            yield f"{coding.get('system', '')}|{coding['code']}"


def _in_time(day: str, value: str) -> bool:
    prefix, bound = (value[:2], value[2:]) if value[:2] in _PREFIXES else ("eq", value)
    if not day:
        return False
    ours, theirs = date.fromisoformat(day), date.fromisoformat(bound[:10])
    comparisons = {
        "eq": ours == theirs,
        "ge": ours >= theirs,
        "gt": ours > theirs,
        "le": ours <= theirs,
        "lt": ours < theirs,
    }
    return comparisons[prefix]
