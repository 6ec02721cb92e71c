"""How is the service asked to fetch a record itself, and what did it make of that?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import Flask

from cds_service.application import close, create_app
from cds_service.settings import Settings
from tests.support.answers import Answer
from tests.support.client import ask_app
from tests.support.record import build_record
from tests.support.response_check import checked
from tests.support.vignette import Vignette, all_vignettes
from tests.vignettes.generate import as_json, request_of, stable

TOKEN = "canary-token-5f0c"
GRANT = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 300, "scope": "odd?scope"}
PATTERN = "http://127.0.0.1:*"
DEADLINE_MS = 1500

Json = dict[str, Any]


def vignette(name: str) -> Vignette:
    return next(one for one in all_vignettes() if one.id == name)


#: B12 of 120 pg/mL, an injection picked without details: there is advice, from the record alone.
GOLDEN = vignette("V01")


@contextmanager
def fetching_app(
    vignette: Vignette,
    servers: Iterable[str] = (PATTERN,),
    deadline_ms: int = DEADLINE_MS,
    tenants: str | None = None,
) -> Iterator[Flask]:
    settings = Settings(
        protocol=vignette.profile,
        fhir_servers=tuple(servers),
        deadline_ms=deadline_ms,
        workers=4,
        tenants=tenants,
    )
    app = create_app(settings, clock=lambda: vignette.as_of)
    checked(app)
    try:
        yield app
    finally:
        close(app)


@dataclass(frozen=True)
class Asked:
    """An answer, and how many seconds it took."""

    answer: Answer
    seconds: float

    @property
    def status(self) -> int:
        return self.answer.status

    @property
    def text(self) -> str:
        """The whole body, without what differs from call to call."""
        return stable(as_json(self.answer.body))

    @property
    def topics(self) -> set[str]:
        if self.status != 200:
            return set()
        return {card["source"]["topic"]["code"] for card in self.answer.body["cards"]}

    @property
    def is_unread(self) -> bool:
        """It says that it could not be worked out, and asserts nothing."""
        if self.status == 412:
            return self.answer.body["resourceType"] == "OperationOutcome"
        return "unavailable" in self.topics and not self.topics & {"evidence", "regimen"}


@dataclass(frozen=True)
class Caller:
    """Calls with a vignette's draft and patient."""

    app: Flask
    vignette: Vignette = GOLDEN

    def request(
        self,
        server: Any,
        *,
        keep: Callable[[str], bool] = lambda key: False,
        grant: Any = GRANT,
        patient_id: str | None = None,
    ) -> Json:
        """`keep`: which prefetch keys are delivered all the same."""
        request = request_of(self.vignette)
        delivered = request.pop("prefetch", {})
        kept = {key: value for key, value in delivered.items() if keep(key)}
        if kept:
            request["prefetch"] = kept
        if server is not None:
            request["fhirServer"] = server
        if grant is not None:
            request["fhirAuthorization"] = grant
        if patient_id is not None:
            request["context"]["patientId"] = patient_id
            for entry in request["context"]["draftOrders"]["entry"]:
                entry["resource"]["subject"] = {"reference": f"Patient/{patient_id}"}
        return request

    def send(self, request: Json, headers: Mapping[str, str] | None = None) -> Asked:
        started = time.monotonic()
        answer = ask_app(self.app, request, self.vignette.profile, headers)
        return Asked(answer, time.monotonic() - started)

    def ask(self, server: Any, headers: Mapping[str, str] | None = None, **options: Any) -> Asked:
        return self.send(self.request(server, **options), headers)

    def by_prefetch(self) -> Asked:
        """The answer when everything is delivered."""
        return self.ask(None, keep=lambda key: True, grant=None)


def held(vignette: Vignette) -> list[Json]:
    """The record of a vignette, as a server holds it."""
    return json.loads(json.dumps(build_record(vignette)))
