"""What the log says, and that it says nothing about a patient."""

from __future__ import annotations

import io
import json
import logging

import pytest

from cds_service import logs
from cds_service.hooks.response import Answer
from regimen.facts import Gap, GapKind, Subject
from regimen.recommendation import Topic

CANARY = "canary-7f3a"


def lines(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_with_time_level_and_fields(log):
    logs.event(logging.INFO, "started", port=80, nothing=None)
    (line,) = lines(log)
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "info", "event": "started", "port": 80}


@pytest.mark.fault("J09")
def test_a_line_break_in_a_field_does_not_forge_a_line(log):
    logs.event(logging.INFO, "started", name='x\n{"event":"forged"}\r\x1b[31m')
    assert len(lines(log)) == 1


def test_a_field_that_is_not_json_is_named_by_its_type(log):
    logs.event(logging.INFO, "started", thing=io.StringIO(CANARY))
    assert lines(log)[0]["thing"] == "StringIO"


def fail(message: str) -> None:
    raise ValueError(message)


def test_an_exception_is_its_types_and_places_without_messages(log):
    try:
        try:
            fail(CANARY)
        except ValueError as error:
            raise KeyError(CANARY) from error
    except KeyError as error:
        logs.event(logging.ERROR, "broken", exception=error)
    (line,) = lines(log)
    assert line["exception"] == ["KeyError", "ValueError"]
    assert line["at"][-1].startswith("cds_service/test_logs.py:")
    assert CANARY not in log.getvalue()


def test_a_library_does_not_get_its_text_into_the_log(log):
    logging.getLogger("urllib3.connectionpool").warning("GET /Patient/%s", CANARY)
    (line,) = lines(log)
    assert (line["event"], line["logger"]) == ("library", "urllib3.connectionpool")
    assert CANARY not in log.getvalue()


def test_configure_sends_our_events_to_the_stream_and_drops_library_chatter():
    root, stream = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    try:
        logs.configure(stream)
        logs.event(logging.INFO, "started")
        logging.getLogger("werkzeug").info("hello")
        assert [line["event"] for line in lines(stream)] == ["started"]
    finally:
        root.handlers[:] = before
        root.setLevel(level)


# --- calls --------------------------------------------------------------------------------------


def test_a_call_is_one_line(make_app, envelope, log):
    gaps = (
        Gap(Subject.CONDITIONS, GapKind.UNREADABLE, 2),
        Gap(Subject.CONDITIONS, GapKind.UNREADABLE, 1),
    )
    answer = Answer(topics=(Topic.REGIMEN, Topic.REFERRAL), gaps=gaps)
    app = make_app(lambda request, services: answer)
    app.test_client().post("/cds-services/b12-order-select", json=envelope)
    (line,) = lines(log)
    assert line.pop("ms") >= 0
    assert line.pop("time")
    assert line.pop("protocol").startswith("default/")
    assert line == {
        "level": "info",
        "event": "call",
        "service": "b12-order-select",
        "tenant": "development",
        "hook_instance": envelope["hookInstance"],
        "status": 200,
        "topics": ["regimen", "referral"],
        "gaps": [{"key": "Condition", "kind": "unreadable", "count": 3}],
    }


def test_a_refused_call_names_the_error(stand_in_client, envelope, log):
    del envelope["hook"]
    stand_in_client.post("/cds-services/b12-order-select", json=envelope)
    (line,) = lines(log)
    assert (line["event"], line["status"], line["error"]) == ("call", 400, "MissingElement")


def test_an_internal_error_is_found_by_the_id_the_client_was_given(make_app, envelope, log):
    def broken(request, services):
        fail(CANARY)

    client = make_app(broken).test_client()
    response = client.post("/cds-services/b12-order-select", json=envelope)
    failure, call = lines(log)
    assert failure["event"] == "internal-error"
    assert failure["exception"] == ["ValueError"]
    assert failure["error_id"] == call["error_id"]
    assert failure["error_id"] in response.text
    assert CANARY not in log.getvalue() + response.text


def test_a_hook_instance_that_is_no_uuid_is_not_logged(stand_in_client, envelope, log):
    envelope["hookInstance"] = CANARY
    answer = stand_in_client.post("/cds-services/b12-order-select", json=envelope)
    assert answer.status_code == 200
    assert "hook_instance" not in lines(log)[0]


def poisoned(value):
    """Every text of `value` replaced by the canary."""
    if isinstance(value, dict):
        return {key: poisoned(part) for key, part in value.items()} | {CANARY: CANARY}
    if isinstance(value, list):
        return [poisoned(part) for part in value]
    return CANARY


def everywhere(envelope: dict) -> list[dict]:
    token = {"access_token": CANARY, "token_type": "Bearer", "scope": CANARY, "subject": CANARY}
    full = envelope | {"fhirServer": f"https://{CANARY}", "fhirAuthorization": token}
    bodies = [poisoned(full), poisoned(full) | {"hook": "order-select"}]
    for name in full:  # each alone, so that every check is passed by some body
        bodies.append(full | {name: poisoned(full[name])})
        bodies.append(full | {name: CANARY})
    bodies += [full | {"context": full["context"] | {name: CANARY}} for name in full["context"]]
    return bodies


@pytest.mark.requirement("S2-04", "BP-08", "BP-10")
@pytest.mark.fault("O16")
@pytest.mark.parametrize("crash", [False, True])
def test_nothing_a_client_sends_is_logged_or_echoed(make_app, envelope, log, crash):
    def answer(request, services):
        if crash:
            raise ValueError(repr(request))
        return Answer()

    client = make_app(answer).test_client()
    for body in everywhere(envelope):
        response = client.post(
            f"/cds-services/b12-order-select?{CANARY}={CANARY}",
            json=body,
            headers={"Authorization": f"Bearer {CANARY}", "X-Request-Id": CANARY},
        )
        assert CANARY not in response.text
    client.post(f"/cds-services/{CANARY}", json=envelope)
    client.post("/cds-services/b12-order-select", data=CANARY, content_type="application/json")
    client.post("/cds-services/b12-order-select", data="{}", content_type=f"text/{CANARY}")
    client.get(f"/{CANARY}")
    assert len(lines(log)) > 20
    assert CANARY not in log.getvalue()
