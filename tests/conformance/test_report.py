"""The page of requirements is true, and no test names a requirement that does not exist."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.report import CHECKS, coverage, marks, page, requirements

ROOT = Path(__file__).parents[2]


def test_every_mark_names_a_requirement():
    assert coverage().keys() <= {r.id for r in requirements()}


def test_every_requirement_is_there_once_and_says_how_it_is_checked():
    every = requirements()
    assert len(every) > 200
    assert len({r.id for r in every}) == len(every)
    assert {r.check for r in every} == set(CHECKS)
    assert all(r.requirement and r.level for r in every)


def test_the_page_is_current():
    written = (ROOT / "docs" / "conformance.md").read_text("utf-8")
    assert written == page(), "docs/conformance.md is out of date: run make docs"


def test_marks_are_read_from_decorators(tmp_path):
    file = tmp_path / "test_x.py"
    file.write_text(
        "import pytest\n@pytest.mark.requirement('A', 'B')\n@pytest.mark.fault('C')\n"
        "def test_it(): pass\n"
    )
    assert list(marks(file)) == [("A", "test_it"), ("B", "test_it")]
