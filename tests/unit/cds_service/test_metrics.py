"""Numbers: what is counted, over all workers, and nothing about anyone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cds_service import metrics
from cds_service.hooks.response import Answer
from cds_service.settings import Settings
from regimen.facts import Gap, GapKind, Subject
from tests.support.tokens import write_tenants

ROOT = Path(__file__).parents[3]
CALL = "/cds-services/b12-order-select"

WORKERS = """
import os, sys
from pathlib import Path
from cds_service import metrics
metrics.share(Path(sys.argv[1]))
for count in (1, 2, 3):
    if os.fork() == 0:
        for _ in range(count):
            metrics.called("s", "t", "live", 200, 0.01)
        os._exit(0)
for _ in range(3):
    os.wait()
metrics.called("s", "t", "live", 200, 0.01)
print(metrics.exposition().decode())
"""


def numbers(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def risen(client, act) -> dict[str, float]:
    before = numbers(client.get("/metrics").text)
    act()
    after = numbers(client.get("/metrics").text)
    return {
        name: value - before.get(name, 0)
        for name, value in after.items()
        if value != before.get(name, 0) and "_created" not in name and "_bucket" not in name
    }


@pytest.mark.fault("O15")
def test_workers_are_added_up_and_the_dead_stay_counted(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WORKERS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    name = 'b12_cds_calls_total{mode="live",service="s",status="200",tenant="t"}'
    assert numbers(done.stdout)[name] == 7
    assert numbers(done.stdout)['b12_cds_call_seconds_count{service="s"}'] == 7


def test_a_call_is_counted_with_what_it_found(make_app, envelope):
    def answer(request, services):
        gaps = (
            Gap(Subject.CONDITIONS, GapKind.OTHER_PATIENT, 3),
            Gap(Subject.OBSERVATIONS, GapKind.UNREADABLE, 1),
        )
        return Answer(gaps=gaps)

    client = make_app(answer).test_client()
    rise = risen(client, lambda: client.post(CALL, json=envelope))
    del rise['b12_cds_call_seconds_sum{service="b12-order-select"}']
    call = 'mode="live",service="b12-order-select",status="200",tenant="development"'
    assert rise == {
        f"b12_cds_calls_total{{{call}}}": 1,
        'b12_cds_call_seconds_count{service="b12-order-select"}': 1,
        'b12_cds_gaps_total{key="Condition",kind="other_patient"}': 3,
        'b12_cds_gaps_total{key="Observation",kind="unreadable"}': 1,
        'b12_cds_foreign_patient_resources_total{key="Condition"}': 3,
    }


def test_cards_are_counted_by_topic(client):
    vignette = ROOT / "fixtures/vignettes/v01-b12-120-pg-ml-injection-picked-without-details"
    request = json.loads((vignette / "request.json").read_text("utf-8"))
    answers: list[dict] = []
    rise = risen(client, lambda: answers.append(client.post(CALL, json=request).json))
    cards = {name for name in rise if name.startswith("b12_cds_cards_total")}
    topics = [card["source"]["topic"]["code"] for card in answers[0]["cards"]]
    assert topics
    assert len(cards) == len(set(topics))
    assert all(any(f'topic="{topic}"' in name for name in cards) for topic in topics)
    assert rise['b12_cds_prefetch_total{key="patient",state="given"}'] == 1


def test_a_site_whose_codes_are_not_known_is_seen(client):
    """The same medicines under codes of the site's own: none is recognised any more."""
    vignette = ROOT / "fixtures/vignettes/v01-b12-120-pg-ml-injection-picked-without-details"
    text = (vignette / "request.json").read_text("utf-8")
    request = json.loads(text)
    known = risen(client, lambda: client.post(CALL, json=request))
    foreign = json.loads(text)
    foreign["prefetch"] = json.loads(
        json.dumps(request["prefetch"]).replace("http://", "urn:site:")
    )
    unknown = risen(client, lambda: client.post(CALL, json=foreign))

    def entries(rise: dict[str, float], recognised: str) -> dict[str, float]:
        label = f'recognised="{recognised}"'
        return {
            name.split('type="')[1].rstrip('"}'): count
            for name, count in rise.items()
            if name.startswith("b12_cds_entries_total") and label in name
        }

    assert entries(known, "yes")
    assert entries(unknown, "yes") == {}
    both = Counter(entries(known, "yes")) + Counter(entries(known, "no"))
    assert entries(unknown, "no") == both
    assert all('tenant="development"' in n for n in unknown if "entries_total" in n)


def test_of_a_call_that_is_not_ours_no_record_is_counted(client, envelope):
    rise = risen(client, lambda: client.post(CALL, json=envelope))
    assert not [name for name in rise if "entries_total" in name]


def test_refusals_are_counted(make_app, envelope, tmp_path):
    client = make_app(settings=Settings(tenants=str(write_tenants(tmp_path)))).test_client()
    rise = risen(client, lambda: client.post(CALL, json=envelope))
    assert rise['b12_cds_refused_total{cause="auth"}'] == 1
    assert (
        rise[
            'b12_cds_calls_total{mode="none",service="b12-order-select",status="401",tenant="none"}'
        ]
        == 1
    )


@pytest.mark.fault("O16")
def test_no_label_is_about_anyone(client):
    vignette = ROOT / "fixtures/vignettes/v01-b12-120-pg-ml-injection-picked-without-details"
    request = json.loads((vignette / "request.json").read_text("utf-8"))
    request["context"] |= {"userId": "Practitioner/canary-user", "encounterId": "canary-encounter"}
    request["hookInstance"] = "canary-instance"
    client.post(CALL, json=request)
    client.post("/cds-services/canary-service", json=request)
    text = client.get("/metrics").text
    patient = request["context"]["patientId"]
    assert "canary" not in text
    assert patient not in text


@pytest.mark.fault("H27")
def test_in_production_the_numbers_are_on_their_own_port_only(make_app, tmp_path):
    path = write_tenants(tmp_path)
    settings = Settings(
        mode="production", public_url="https://x", tenants=str(path), metrics_port=9100
    )
    client = make_app(settings=settings).test_client()
    own = {"SERVER_PORT": "9100"}
    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics", headers={"Host": "x:9100"}).status_code == 404
    assert client.get("/metrics", environ_overrides=own).status_code == 200
    # ... and nothing else is there.
    assert client.get("/cds-services", environ_overrides=own).status_code == 404
    assert client.get("/healthz", environ_overrides=own).status_code == 200


def test_sharing_after_the_first_count_is_a_mistake(tmp_path):
    metrics.refused("auth")
    with pytest.raises(RuntimeError):
        metrics.share(tmp_path)
