"""Is the advice the same, however a record arrives: delivered, fetched, or half and half?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from typing import Any

import pytest
from flask import Flask

from fhir_mappers.queries import QUERIES
from tests.support.calling_back import Asked, Caller, fetching_app, held
from tests.support.fhir_stub import FhirStub, Reply, always, but_for, outcome, record
from tests.support.vignette import Vignette, all_vignettes

# Of the others nothing can be had, which is their point.
VIGNETTES = [vignette for vignette in all_vignettes() if vignette.prefetch == "complete"]
EVERY_SECOND = frozenset(query.key for query in QUERIES[::2])


class Clinic:
    """One server, and the service as it is on a day with a protocol."""

    def __init__(self, stub: FhirStub, opened: ExitStack) -> None:
        self.stub, self._opened = stub, opened
        self._apps: dict[tuple[date, str], Flask] = {}

    def caller(self, vignette: Vignette) -> Caller:
        key = (vignette.as_of, vignette.profile)
        if key not in self._apps:
            # Long, so that a busy machine does not decide what this test says.
            app = fetching_app(vignette, [self.stub.url], deadline_ms=20_000)
            self._apps[key] = self._opened.enter_context(app)
        self.stub.behaviour = but_for(
            vignette.failed, always(Reply(500, outcome())), record(held(vignette))
        )
        return Caller(self._apps[key], vignette)


@pytest.fixture(scope="module")
def clinic() -> Iterator[Clinic]:
    with ExitStack() as opened:
        yield Clinic(opened.enter_context(FhirStub(always(Reply(404)))), opened)


@pytest.mark.parametrize("vignette", VIGNETTES, ids=lambda one: one.id)
def test_the_cards_are_the_same_by_prefetch_by_fetch_and_half_and_half(
    clinic: Clinic, vignette: Vignette
) -> None:
    caller = clinic.caller(vignette)
    delivered = said(caller.by_prefetch())
    assert said(caller.ask(clinic.stub.url)) == delivered
    assert said(caller.ask(clinic.stub.url, keep=lambda key: key in EVERY_SECOND)) == delivered
    assert said(caller.ask(clinic.stub.url, keep=lambda key: key not in EVERY_SECOND)) == delivered


def said(asked: Asked) -> tuple[int, Any]:
    return asked.status, asked.text
