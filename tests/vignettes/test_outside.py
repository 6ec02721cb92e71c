"""Does the service, run as it is run for real, answer the acceptance vignettes today?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cds_service.services import today
from tests.support.client import ask_server, running_server
from tests.support.hook_request import shifted
from tests.support.vignette import Vignette, all_vignettes
from tests.vignettes.generate import request_of
from tests.vignettes.test_vignettes import moved, name_of, problems_of

ACCEPTANCE = [v for v in all_vignettes() if v.id.startswith("V") and v.movable]
PROFILES = sorted({vignette.profile for vignette in ACCEPTANCE})


@pytest.fixture(scope="module", params=PROFILES)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """(profile, URL) of a server that speaks this profile."""
    with running_server(request.param) as url:
        yield request.param, url


def test_answers_every_acceptance_vignette_over_http(server: tuple[str, str]) -> None:
    profile, url = server
    problems = {}
    for vignette in (v for v in ACCEPTANCE if v.profile == profile):
        if found := _problems(vignette, url):
            problems[name_of(vignette)] = found
    assert problems == {}


def _problems(vignette: Vignette, url: str) -> list[str]:
    by = today() - vignette.as_of
    answer = ask_server(url, shifted(request_of(vignette), by), vignette.profile)
    return problems_of(answer, moved(vignette.expected, by))
