"""The command line: what it prints, how it ends, and what it never prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cds_service import protocol_page
from cds_service.cli import main
from cds_service.settings import SETTINGS
from fhir_mappers.queries import QUERIES
from regimen.protocol import ProtocolError

ROOT = Path(__file__).parents[3]
VIGNETTES = ROOT / "fixtures" / "vignettes"
AS_OF = ("--as-of", "2026-06-15")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """run("evaluate", ...): the command as a user runs it, without settings of this machine."""
    for setting in SETTINGS:
        monkeypatch.delenv(setting.name, raising=False)

    def call(*words: str | Path, env: dict[str, str] | None = None) -> Result:
        runner = CliRunner(env=env)
        return runner.invoke(main, [str(w) for w in words], catch_exceptions=False)

    return call


def request_file(vignette: str) -> Path:
    return next(VIGNETTES.glob(f"{vignette.lower()}-*")) / "request.json"


def request_of(vignette: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(request_file(vignette).read_text(encoding="utf-8"))
    return data


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Any], Path]:
    def write(content: Any) -> Path:
        file = tmp_path / "request.json"
        text = content if isinstance(content, str) else json.dumps(content)
        file.write_text(text, encoding="utf-8")
        return file

    return write


# --- help -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("serve",),
        ("evaluate",),
        ("validate",),
        ("check-config",),
        ("protocol",),
        ("protocol", "show"),
    ],
)
def test_every_command_explains_itself(run, command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 4


def test_serve_explains_the_settings_that_are_in_use(run):
    text = run("serve", "--help").stdout
    for setting in SETTINGS:
        assert (setting.name in text) == (setting.state == "used")


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate",),
        ("evaluate", "no-such-file.json"),
        ("evaluate", request_file("V01"), "--profile", "fr"),
        ("evaluate", request_file("V01"), "--as-of", "yesterday"),
        ("evaluate", request_file("V01"), "--explain", "--json"),
        ("protocol", "show", "fr"),
        ("protocol", "show", "us", "--markdown"),
        ("protocol", "show", "--markdown", "--diff", "us", "default"),
        ("dose",),
    ],
)
def test_what_is_not_understood_ends_with_2(run, words):
    result = run(*words)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert result.stdout == ""


# --- evaluate ---------------------------------------------------------------------------------


def test_the_cards_of_a_request_are_printed(run):
    result = run("evaluate", request_file("V01"), *AS_OF)
    assert result.exit_code == 0
    assert "INFO     regimen" in result.stdout
    assert "three times a week for 2 weeks (6 doses)" in result.stdout
    assert "Facts found" not in result.stdout


def test_silence_is_said(run):
    result = run("evaluate", request_file("V05"), *AS_OF)
    assert result.exit_code == 0
    assert result.stdout.strip() == "Silence: the order needs no comment."


def test_the_answer_is_printed_as_it_is_sent(run):
    result = run("evaluate", request_file("V01"), "--json", *AS_OF)
    shipped = json.loads(request_file("V01").with_name("response.json").read_text("utf-8"))
    answer = json.loads(result.stdout)
    assert [c["summary"] for c in answer["cards"]] == [c["summary"] for c in shipped["cards"]]
    assert [c["detail"] for c in answer["cards"]] == [c["detail"] for c in shipped["cards"]]


def test_the_day_changes_the_answer(run):
    today = run("evaluate", request_file("V01"), *AS_OF).stdout
    later = run("evaluate", request_file("V01"), "--as-of", "2028-06-15", "--explain").stdout
    assert "DEF" not in today
    assert "DEF probable" in later


def test_the_profile_changes_the_answer(run):
    result = run("evaluate", request_file("V01"), *AS_OF, "--profile", "us")
    assert "cyanocobalamin 1000 microgram IM daily for 7 days" in " ".join(result.stdout.split())


def test_the_profile_of_the_settings_is_the_default(run):
    result = run("evaluate", request_file("V01"), *AS_OF, env={"B12_CDS_PROTOCOL": "us"})
    assert "cyanocobalamin 1000 microgram IM daily" in " ".join(result.stdout.split())


def test_an_explanation_follows_the_cards(run):
    text = run("evaluate", request_file("V01"), *AS_OF, "--explain").stdout
    titles = ["INFO     regimen", "Facts found", "Answers", "Regimen\n---", "Rules", "Not read"]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)


def test_an_order_that_is_not_ours_is_explained_too(run):
    text = run("evaluate", request_file("V154"), *AS_OF, "--explain").stdout
    assert "the record was not looked at" in text


def test_a_request_the_service_refuses_ends_with_1_and_says_why(run):
    result = run("evaluate", request_file("V157"))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: the service would answer 412: prefetch: ")


@pytest.mark.parametrize("command", ["evaluate", "validate"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not JSON: Secretname", "400: body: not JSON"),
        ("[]", "400: body: must be a JSON object"),
        ({"hook": "order-select"}, "400: hookInstance: missing"),
        (
            {"hook": "order-select", "hookInstance": "x", "context": {"userId": "Secretname"}},
            "400: context.patientId: missing",
        ),
    ],
)
def test_what_is_no_request_ends_with_1_and_is_not_quoted(run, written, command, content, said):
    result = run(command, written(content))
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Secretname" not in result.output


@pytest.mark.parametrize(
    "words", [("check-config",), ("evaluate", request_file("V01")), ("protocol", "show")]
)
def test_wrong_settings_stop_what_depends_on_them(run, words):
    result = run(*words, env={"B12_CDS_PROTOKOL": "us", "PORT": "0"})
    if words[0] == "protocol":
        assert result.exit_code == 0
        return
    assert result.exit_code == 1
    assert "B12_CDS_PROTOKOL: no such setting" in result.stderr
    assert "PORT: must be a whole number" in result.stderr


def test_settings_that_are_fine_are_said_to_be(run):
    result = run("check-config", env={"B12_CDS_PROTOCOL": "uk-nice"})
    assert result.exit_code == 0
    assert result.stdout.startswith("fine: mode development, protocol uk-nice version")
    assert "no clinician has signed it" in result.stdout


def test_a_protocol_with_a_hole_is_named(run, monkeypatch):
    def broken(_: str) -> None:
        raise ProtocolError("policy.maintenance: missing")

    monkeypatch.setattr("cds_service.cli.load_protocol", broken)
    for words in (("check-config",), ("protocol", "show")):
        result = run(*words)
        assert result.exit_code == 1
        assert result.stderr == "Error: protocol: policy.maintenance: missing\n"


def test_serve_ends_as_the_server_ends(run, monkeypatch):
    monkeypatch.setattr("cds_service.server.main", lambda: 2)
    assert run("serve").exit_code == 2


# --- protocol show ----------------------------------------------------------------------------


def test_a_profile_is_printed(run):
    text = run("protocol", "show", "us").stdout
    assert text.startswith("Vitamin B12, intramuscular: profile us")
    assert run("protocol", "show").stdout.startswith("Vitamin B12, intramuscular: profile default")


def test_the_difference_of_two_profiles_is_printed(run):
    text = run("protocol", "show", "--diff", "default", "us").stdout
    assert text == protocol_page.difference("default", "us") + "\n"


def test_the_page_is_printed_as_it_is_kept(run):
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    assert run("protocol", "show", "--markdown").stdout == page


# --- validate ---------------------------------------------------------------------------------


def lines_of(text: str, title: str) -> list[str]:
    part = text.partition(f"{title}\n")[2].partition("\n\n")[0]
    return [line.strip().removeprefix("- ") for line in part.splitlines()]


def key_lines(text: str, key: str) -> list[str]:
    """The lines about one prefetch key."""
    lines = text.partition("prefetch\n")[2].partition("\n\n")[0].splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"  {key}"))
    end = next((n for n in range(start + 1, len(lines)) if lines[n][2] != " "), len(lines))
    return [" ".join(line.replace(key, "", 1).split()) for line in lines[start:end]]


def test_a_complete_request_has_nothing_to_look_at(run):
    result = run("validate", request_file("V01"))
    assert result.exit_code == 0
    assert lines_of(result.stdout, "to look at") == ["nothing"]
    assert "selections    1, of which 1 name a draft order" in result.stdout
    assert "ours          1 for B12 or folic acid, selected 1" in result.stdout
    assert key_lines(result.stdout, "observations") == [
        "given",
        "entries: Observation 5",
        "relevant to the protocol: 5",
        "codings: 5, of unknown code systems: 0",
    ]
    assert key_lines(result.stdout, "allergies") == ["empty"]


def test_what_is_missing_is_named_with_its_need_and_what_would_be_fetched(run):
    result = run("validate", request_file("V157"))
    assert result.exit_code == 1
    remarks = lines_of(result.stdout, "to look at")
    assert "prefetch: missing or not an object" in remarks
    assert "prefetch.conditions: not supplied (required)" in remarks
    fetched = [
        line.split() for line in lines_of(result.stdout, "where this client may be called back")
    ]
    assert fetched == [[query.key, query.template] for query in QUERIES]


def test_a_failed_query_is_named(run):
    remarks = lines_of(run("validate", request_file("W221")).stdout, "to look at")
    failed = "the client reports that the query, or a part of it, failed"
    assert remarks == [
        f"prefetch.conditions: {failed} (Condition, 1)",
        f"prefetch.observations: {failed} (Observation, 1)",
    ]


def entry(resource: dict[str, Any]) -> dict[str, Any]:
    return {"resource": resource}


def test_each_oddity_of_a_value_is_counted(run, written):
    request = request_of("V01")
    pid = request["context"]["patientId"]
    b12 = next(
        e
        for e in request["prefetch"]["observations"]["entry"]
        if e["resource"]["code"]["coding"][0]["code"] == "2132-9"
    )
    foreign = json.loads(json.dumps(b12))
    foreign["resource"]["id"] = "of-another"
    foreign["resource"]["subject"] = {"reference": "Patient/somebody-else"}
    local = {
        "resourceType": "Observation",
        "subject": {"reference": f"Patient/{pid}"},
        "code": {"coding": [{"system": "urn:local:lab", "code": "B12"}]},
    }
    bundle = request["prefetch"]["observations"]
    bundle["entry"] = [b12, foreign, entry(local), entry({"no": "type"})]
    bundle["link"] = [{"relation": "next", "url": "https://ehr.example/page2"}]
    text = run("validate", written(request)).stdout
    assert key_lines(text, "observations") == [
        "partial",
        "entries: Observation 3, no type 1",
        "relevant to the protocol: 1",
        "of another patient: 1",
        "codings: 3, of unknown code systems: 1",
    ]
    remarks = lines_of(text, "to look at")
    assert "prefetch.observations: only a first page was sent (Observation, 1)" in remarks
    assert "prefetch.observations: entries that cannot be read (Observation, 1)" in remarks
    assert "prefetch.observations: relevant entries of another patient (Observation, 1)" in remarks


@pytest.mark.parametrize("value", ["<html>Tomcat</html>", [], 5, {"resourceType": "Bundle2"}])
def test_nonsense_in_a_value_is_nothing_that_can_be_used(run, written, value):
    request = request_of("V01")
    request["prefetch"]["procedures"] = value
    remarks = lines_of(run("validate", written(request)).stdout, "to look at")
    assert remarks == [
        "prefetch.procedures: nothing that can be used",
        "prefetch.procedures: not supplied (decides)",
    ]


def test_a_key_of_the_site_answers_by_what_it_holds(run, written):
    request = request_of("V01")
    request["prefetch"]["siteLabs"] = request["prefetch"].pop("observations")
    result = run("validate", written(request))
    assert key_lines(result.stdout, "siteLabs")[0] == "given for observations"
    assert lines_of(result.stdout, "to look at") == ["nothing"]


def test_keys_that_were_swapped_are_named(run, written):
    request = request_of("V01")
    prefetch = request["prefetch"]
    prefetch["conditions"] = prefetch["observations"]
    remarks = lines_of(run("validate", written(request)).stdout, "to look at")
    assert "prefetch.conditions: holds the answer to observations" in remarks
    assert "prefetch.conditions: not supplied (required)" in remarks


def test_another_patient_is_named(run, written):
    request = request_of("V01")
    request["prefetch"]["patient"]["id"] = "somebody-else"
    text = run("validate", written(request)).stdout
    assert key_lines(text, "patient")[0] == "another patient"
    assert any("would answer 412" in remark for remark in lines_of(text, "to look at"))


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ({"selections": []}, "context.selections: missing or empty"),
        (
            {"selections": ["MedicationRequest/x", "MedicationRequest/draft-1"]},
            "context.selections: 1 of 2 name no draft order",
        ),
        ({"draftOrders": None}, "context.draftOrders: missing or not a Bundle"),
        ({"userId": ""}, "context.userId: missing"),
        ({"patientId": "somebody-else"}, "context.draftOrders: 1 MedicationRequest(s) foreign"),
    ],
)
def test_an_oddity_of_the_context_is_named(run, written, change, remark):
    request = request_of("V01")
    request["context"] |= change
    if "patientId" in change:
        del request["prefetch"]["patient"]
    remarks = lines_of(run("validate", written(request)).stdout, "to look at")
    assert any(found.startswith(remark) for found in remarks), remarks


def test_an_order_that_is_not_ours_is_named(run):
    result = run("validate", request_file("V154"))
    assert result.exit_code == 1
    assert "no selected draft is recognised as B12 or folic acid" in result.stdout


def test_another_hook_is_named(run, written):
    request = request_of("V01") | {"hook": "Secretname"}
    result = run("validate", written(request))
    assert "hook: not order-select" in result.stdout
    assert "Secretname" not in result.stdout


SECRET = "Canaryvalue"


def marked(value: Any, key: str = "") -> Any:
    """The same JSON with the canary in every text that is not needed to tell what it is."""
    if isinstance(value, dict):
        return {k: marked(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [marked(v, key) for v in value]
    kept = ("resourceType", "system", "code", "status", "reference", "hook", "patientId", "id")
    return value if key in kept or not isinstance(value, str) else f"{SECRET} {value}"


def test_no_value_of_the_request_is_ever_printed(run, written):
    request = marked(request_of("V02"))
    request["prefetch"]["conditions"]["entry"][0]["resource"]["resourceType"] = f"{SECRET} type"
    result = run("validate", written(request))
    assert "prefetch" in result.stdout
    assert SECRET not in result.output
    patient = str(request["context"]["patientId"])
    assert patient not in result.output
