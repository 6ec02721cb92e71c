"""What happens when one of the rules itself fails? (O10)"""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from cds_service import metrics
from cds_service.logs import JsonLines
from cds_service.protocol_page import RULES
from regimen import recommend
from regimen.protocol import load_protocol
from tests.support.cases import ask, made_up, request_for
from tests.support.client import SERVICE

LOW = {"results": [{"test": "B12", "value": "120 pg/mL"}]}
INJECTION = {"what": "hydroxocobalamin injection"}
CYANO_IV = {"what": "cyanocobalamin injection", "dose": "1000 microgram", "route": "IV"}
PLACES = {
    rule: (
        "folate" if rule == "folate" else f"{function.__module__.split('.')[1]}.{function.__name__}"
    )
    for rule, function in RULES.items()
}


def raising(*_: Any, **__: Any) -> None:
    raise RuntimeError("canary: Serum B12 120 pg/mL of patient 42")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    def fail(rule: str) -> None:
        monkeypatch.setattr(f"{recommend.__name__}.{PLACES[rule]}", raising)

    return fail


def cards(record: dict[str, Any], *orders: dict[str, Any]) -> list[dict[str, Any]]:
    answer = ask(request_for(made_up(orders, record=record)))
    assert answer.status == 200
    return list(answer.cards)


def topics(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(card["indicator"], card["source"]["topic"]["code"]) for card in found]


@pytest.mark.fault("O10")
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_raises_is_said_and_the_others_answer(broken: Any, rule: str) -> None:
    before = {t for t in topics(cards(LOW, INJECTION, CYANO_IV)) if t[1] != rule}
    broken(rule)
    found = cards(LOW, INJECTION, CYANO_IV)
    assert before <= set(topics(found))
    last = found[-1]
    assert topics([last]) == [("info", "unavailable")]
    assert f"Not checked: {load_protocol().say(f'check-{rule}')}" in last["detail"]
    assert "canary" not in json.dumps(found)
    assert not any(s.get("isRecommended") for c in found for s in c.get("suggestions", ()))


@pytest.mark.fault("O10")
def test_no_rule_fails_no_such_card() -> None:
    assert topics(cards(LOW, INJECTION)) == [("info", "regimen")]


@pytest.mark.fault("O10")
def test_silence_of_a_rule_that_raised_is_not_all_clear(broken: Any) -> None:
    """An order that conforms is silent; where a check could not be made it is not."""
    conforming = {**INJECTION, "dose": "1 mg", "route": "IM", "timing": "3 a week for 2 weeks"}
    assert cards(LOW, conforming) == []
    broken("allergy")
    assert topics(cards(LOW, conforming)) == [("info", "unavailable")]


@pytest.mark.fault("O10")
def test_it_is_said_beside_as_many_cards_as_there_may_be(broken: Any) -> None:
    record = {
        "results": [
            {"test": "B12", "value": "120 pg/mL"},
            {"test": "potassium", "value": "3.1 mmol/L"},
        ],
        "conditions": [{"what": "paraesthesia", "onset": "2026-05-01"}],
        "orders": [{**INJECTION, "dose": "1 mg", "route": "IM", "timing": "every 2 days"}],
    }
    picked = {**INJECTION, "dose": "1 mg", "route": "IM", "timing": "3 a week for 2 weeks"}
    assert len(cards(record, picked)) == 3
    broken("stop")
    found = topics(cards(record, picked))
    assert len(found) == 3
    assert found[-1] == ("info", "unavailable")


@pytest.mark.fault("O10", "D44")
def test_with_nothing_read_it_is_no_412(broken: Any) -> None:
    request = request_for(made_up([INJECTION]))
    del request["prefetch"]
    assert ask(request).status == 412
    broken("dose")
    answer = ask(request)
    assert answer.status == 200
    assert topics(list(answer.cards)) == [("info", "unavailable")]


@pytest.mark.fault("O10", "O16")
def test_it_is_logged_and_counted_without_a_word_of_the_patient(
    broken: Any, served: Any, golden: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broken("dose")
    caplog.set_level(logging.INFO, logger="cds_service")
    assert served.post(SERVICE, json=golden).status_code == 200
    (record,) = [r for r in caplog.records if r.getMessage() == "rule-failed"]
    line = json.loads(JsonLines().format(record))
    assert (line["level"], line["rule"], line["exception"]) == ("error", "dose", ["RuntimeError"])
    assert "canary" not in json.dumps(line)
    assert 'b12_cds_rule_failures_total{rule="dose"}' in metrics.exposition().decode()
