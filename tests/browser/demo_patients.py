"""How are the synthetic patients of the order-entry page made?

From `fixtures/demo/patients.toml`, in the words of a vignette. After a change,
`python -m tests.browser.demo_patients` writes `cds_service/demo/patients/`; a test holds that.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from datetime import date
from typing import Any

from tests.support.record import _FACTS, RecordBuilder, Resource, _all_facts, _base_results
from tests.support.vignette import ROOT, Toml

SOURCE = ROOT / "fixtures" / "demo" / "patients.toml"
FOLDER = ROOT / "cds_service" / "demo" / "patients"
_KEYS = {"id", "given", "sex", "age", "pregnant", "group", "title", "shows", "opening", "expect"}
_OPTIONAL = {"record", "failing"}


def source() -> Toml:
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))


def demo_patients() -> Iterator[dict[str, Any]]:
    """What each file holds, in the order the page lists them."""
    data = source()
    for number, facts in enumerate(data["patient"], start=1):
        unknown = facts.keys() - _KEYS - _OPTIONAL
        if unknown:
            raise ValueError(f"{facts['id']}: unknown key {', '.join(sorted(unknown))}")
        yield _patient(facts, number, data["as_of"])


def _patient(facts: Toml, number: int, as_of: date) -> dict[str, Any]:
    family = facts["id"].capitalize()
    return {
        "id": facts["id"],
        "order": number,
        "name": f"{family}, {facts['given']}",
        "group": facts["group"],
        "title": facts["title"],
        "shows": facts["shows"],
        "asOf": as_of.isoformat(),
        "failing": facts.get("failing", []),
        "opening": facts["opening"],
        "resources": _record(facts, number, as_of),
    }


def _record(facts: Toml, number: int, as_of: date) -> list[Resource]:
    builder = RecordBuilder(f"demo-{facts['id']}", as_of)
    person = builder.patient(facts)
    person["name"] = [{"family": facts["id"].capitalize(), "given": [facts["given"]]}]
    person["identifier"] = [
        {"system": "https://ehr.example/record-number", "value": f"DEMO-{number:04d}"}
    ]
    record = facts.get("record", {})
    for result in _base_results(record):
        builder.result(result)
    for name, entries in _all_facts(record):
        for entry in entries:
            _FACTS[name](builder, entry)
    return builder.resources


def text_of(patient: dict[str, Any]) -> str:
    """One resource a line: compact, and a change shows in review."""
    resources = [json.dumps(r, ensure_ascii=False) for r in patient["resources"]]
    head = json.dumps(patient | {"resources": []}, ensure_ascii=False)
    return head.removesuffix("[]}") + "[\n" + ",\n".join(resources) + "\n]}\n"


def main() -> None:
    for file in FOLDER.glob("*.json"):
        file.unlink()
    for patient in demo_patients():
        (FOLDER / f"{patient['id']}.json").write_text(text_of(patient), encoding="utf-8")


if __name__ == "__main__":
    main()
