"""Does the service answer every vignette with exactly the cards it lists?"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from tests.support.answers import Answer, expectation_problems, general_problems
from tests.support.client import app_on, ask_app
from tests.support.hook_request import shifted
from tests.support.vignette import Expected, Vignette, all_vignettes
from tests.vignettes.generate import answer_of, files_of, request_of

# Another day, as far from 2026-06-15 as the calendar can make it: a leap day.
ANOTHER_DAY = date(2028, 2, 29)
VIGNETTES = all_vignettes()
MOVABLE = [vignette for vignette in VIGNETTES if vignette.movable]


def name_of(vignette: Vignette) -> str:
    return vignette.id


def problems_of(answer: Answer, expected: Expected) -> list[str]:
    general = general_problems(answer) if answer.status == 200 else []
    return [*general, *expectation_problems(answer, expected)]


def moved(expected: Expected, by: timedelta) -> Expected:
    """The same expectation, with the dates that a card must print moved too."""
    groups = tuple(tuple(shifted(word, by) for word in group) for group in expected.words.groups)
    return replace(expected, words=replace(expected.words, groups=groups))


@pytest.mark.parametrize("vignette", VIGNETTES, ids=name_of)
def test_answers_with_exactly_the_expected_cards(vignette: Vignette) -> None:
    assert problems_of(answer_of(vignette), vignette.expected) == []


@pytest.mark.parametrize("vignette", MOVABLE, ids=name_of)
def test_answers_the_same_on_another_day(vignette: Vignette) -> None:
    by = ANOTHER_DAY - vignette.as_of
    request = shifted(request_of(vignette), by)
    answer = ask_app(app_on(ANOTHER_DAY, vignette.profile), request, vignette.profile)
    assert problems_of(answer, moved(vignette.expected, by)) == []


@pytest.mark.parametrize("vignette", VIGNETTES, ids=name_of)
def test_request_and_response_on_disk_are_current(vignette: Vignette) -> None:
    on_disk = {
        path.name: path.read_text(encoding="utf-8") for path in vignette.path.parent.glob("*.json")
    }
    assert on_disk == files_of(vignette), "run: python -m tests.vignettes.generate"
