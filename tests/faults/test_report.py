"""The page of faults is true, and no row is without a test or a reason."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conformance.report import marks
from tests.faults.report import NOT_TESTED, TESTS, coverage, page, rows
from tests.support.vignette import ROOT


def test_every_row_is_held_by_a_test_or_has_a_reason():
    held = coverage().keys()
    assert held <= set(rows())
    assert set(rows()) - held == set(NOT_TESTED)


def test_the_page_is_current():
    written = (ROOT / "docs" / "faults.md").read_text("utf-8")
    assert written == page(), "docs/faults.md is out of date: run make docs"


def test_only_marks_are_claims(tmp_path):
    file = tmp_path / "test_x.py"
    file.write_text(
        "CASES = {'D02 null': 1}\n"
        "@pytest.mark.fault('H01', 'H02')\n"
        "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.fault('H03'))])\n"
        'def test_f11_holds(x):\n    """Also J03."""\n    CASES\n'
        "@pytest.mark.fault('A01')\ndef helper(): pass\n"
    )
    assert set(marks(file, "fault")) == {(row, "test_f11_holds") for row in ("H01", "H02", "H03")}


def test_a_row_in_the_name_of_a_test_is_marked_too():
    """Or it would be taken for a claim by whoever reads it, and counted by nobody."""
    missing = [
        f"{file.name}::{name}: {row.upper()}"
        for file in sorted(TESTS.rglob("test_*.py"))
        for name, said in names(file)
        for row in said
        if row.upper() in rows() and (row.upper(), name) not in set(marks(file, "fault"))
    ]
    assert missing == []


def names(file: Path) -> list[tuple[str, list[str]]]:
    """The tests of a file that begin with rows: `test_f03_f04_...`."""
    found = re.findall(r"^ *def (test_((?:[hjafdcko]\d\d_)+)\w*)\(", file.read_text("utf-8"), re.M)
    return [(name, said.strip("_").split("_")) for name, said in found]
