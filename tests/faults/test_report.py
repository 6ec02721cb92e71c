"""The page of faults is true, and no row is without a test or a reason."""

from __future__ import annotations

from tests.faults.report import NOT_TESTED, coverage, named, page, rows
from tests.support.vignette import ROOT


def test_every_row_is_held_by_a_test_or_has_a_reason():
    held = coverage().keys()
    assert held <= set(rows())
    assert set(rows()) - held == set(NOT_TESTED)


def test_the_page_is_current():
    written = (ROOT / "docs" / "faults.md").read_text("utf-8")
    assert written == page(), "docs/faults.md is out of date: run make docs"


def test_rows_are_read_from_marks_names_docstrings_and_tables(tmp_path):
    file = tmp_path / "test_x.py"
    file.write_text(
        "CASES = {'D02 null': 1}\n"
        "@pytest.mark.fault('H01')\n"
        'def test_f11_holds():\n    """Also J03, and not ICD O03.9."""\n    CASES\n'
    )
    assert {row for row, _ in named(file)} == {"H01", "F11", "J03", "D02"}
