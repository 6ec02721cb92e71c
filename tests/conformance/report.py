"""Which requirement of the standard is held by which test? `docs/conformance.md` is made here.

    python -m tests.conformance.report > docs/conformance.md

The requirements are in `requirements.csv`, in the project's own words; a test names those it holds
with `@pytest.mark.requirement`. The marks are read from the source, so the page needs no test run.
"""

from __future__ import annotations

import ast
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]

CHECKS = {
    "test": "by tests",
    "review": "by review: permission, advice, or about people",
    "deployment": "where it is deployed",
    "not-offered": "a hook that is not offered",
}

HEAD = """\
# Conformance

The service claims CDS Hooks 2.0. Below is every requirement of the standard that concerns a CDS
service, and the tests that hold it. This page is made by `make docs` from the marks in the tests;
do not edit it.

Keys: `H2` the standard's version 2.0 and `HL` its hook library, numbered as Inferno numbers them;
`S2` what that list leaves out; `CI` additions of the next version; `HP` the pages of the hooks;
`MDL` and `cds-resp` the logical models; `BP` best practices; `CRD` what Da Vinci CRD asks beyond.
"""


class Requirement(NamedTuple):
    id: str
    level: str
    section: str
    requirement: str
    check: str


def requirements() -> list[Requirement]:
    with (TESTS / "conformance" / "requirements.csv").open(encoding="utf-8", newline="") as file:
        return [Requirement(**row) for row in csv.DictReader(file)]


def marks(file: Path, mark: str = "requirement") -> Iterator[tuple[str, str]]:
    """(id, name of the test) of each mark in a file of tests: of a test, or of one of its cases."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        found = (key for decorator in node.decorator_list for key in _keys(decorator, mark))
        yield from ((key, node.name) for key in dict.fromkeys(found))


def _keys(decorator: ast.expr, mark: str) -> Iterator[str]:
    for call in ast.walk(decorator):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == f"pytest.mark.{mark}":
            yield from (ast.literal_eval(argument) for argument in call.args)


def coverage() -> dict[str, list[str]]:
    """Requirement → its tests, as `file::test`."""
    found: dict[str, list[str]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        for key, name in marks(file):
            found.setdefault(key, []).append(f"{file.relative_to(TESTS.parent)}::{name}")
    return found


def page() -> str:
    held, every = coverage(), requirements()
    testable = [r for r in every if r.check == "test"]
    covered = sum(r.id in held for r in testable)
    lines = [
        HEAD,
        (
            f"**{covered} of {len(testable)}** requirements that tests can hold are held by "
            f"tests. A further {len(every) - len(testable)} are not for tests: they say so."
        ),
        "",
        "| requirement | level | in short | held |",
        "|---|---|---|---|",
    ]
    for r in every:
        tests = "<br>".join(f"`{test}`" for test in held.get(r.id, ()))
        where = tests or ("not yet" if r.check == "test" else CHECKS[r.check])
        text = r.requirement.replace("|", "\\|")
        lines.append(f"| {r.id} | {r.level} | {text} | {where} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
