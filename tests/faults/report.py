"""Which row of the fault plan is held by which test? `docs/faults.md` is made here.

    python -m tests.faults.report > docs/faults.md

A test says which rows it holds with `@pytest.mark.fault`, or a case of it with `pytest.param(...,
marks=pytest.mark.fault(...))`; a row in a name, a docstring or a table counts for nothing. A mark
is a claim that the test makes the row's input and checks the row's answer. The marks are read from
the source, so the page needs no test run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conformance.report import marks

TESTS = Path(__file__).parents[1]

FAMILIES = {
    "H": ("HTTP", 28),
    "J": ("JSON and text", 18),
    "A": ("Client authentication", 31),
    "F": ("Fetching from the FHIR server", 29),
    "D": ("Prefetch and clinical data", 45),
    "C": ("Cards", 15),
    "K": ("Feedback", 14),
    "O": ("Operations", 25),
}

# What no test of this repository holds, and why.
NOT_TESTED = {
    "O11": "a rule has no loop over unbounded input; the time of a call is in the metrics",
    "O14": "there is one version so far: nothing to roll between",
    "O17": "there is no audit sink besides the decision records",
    "O19": "locks carry hashes; known weaknesses are looked up where the service is built",
}

HEAD = """\
# Faults

What may go wrong outside the service, and the tests that hold what it then does. This page is made
by `make docs` from the tests; do not edit it.
"""


def rows() -> list[str]:
    return [f"{letter}{n:02}" for letter, (_, last) in FAMILIES.items() for n in range(1, last + 1)]


def coverage() -> dict[str, list[str]]:
    """Row → its tests, as `file::test`, each once."""
    found: dict[str, dict[str, None]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        for row, name in marks(file, "fault"):
            found.setdefault(row, {})[f"{file.relative_to(TESTS.parent)}::{name}"] = None
    return {row: list(tests) for row, tests in found.items()}


def page() -> str:
    held = coverage()
    lines = [HEAD, f"**{sum(r in held for r in rows())} of {len(rows())}** rows are held by tests."]
    for letter, (title, last) in FAMILIES.items():
        lines += ["", f"## {letter}: {title}", "", "| row | held by |", "|---|---|"]
        for row in (f"{letter}{n:02}" for n in range(1, last + 1)):
            tests = "<br>".join(f"`{test}`" for test in held.get(row, ()))
            lines.append(f"| {row} | {tests or f'not tested: {NOT_TESTED[row]}'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
