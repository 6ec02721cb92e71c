"""Is every answer, to any patient and any order, one that may be sent?"""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.properties.patients import examples, patients
from tests.support.answers import error_problems, general_problems
from tests.support.cases import ask, request_for, wording
from tests.support.vignette import Vignette


@pytest.mark.fault("C02", "C05", "C06", "C07", "C09")
@examples(200)
@given(patients())
def test_satisfies_the_contract(patient: Vignette) -> None:
    """One regimen card at most, three cards that are not critical; every order a valid draft."""
    answer = ask(request_for(patient))
    assert answer.status in (200, 412)
    assert (general_problems if answer.status == 200 else error_problems)(answer) == []


@pytest.mark.fault("C10")
@examples(40)
@given(patients())
def test_is_the_same_again(patient: Vignette) -> None:
    request = request_for(patient)
    assert wording(ask(request)) == wording(ask(request))
