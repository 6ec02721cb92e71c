"""Every failure is an OperationOutcome that names the element and not its value."""

from __future__ import annotations

import pytest
from flask import Flask

from cds_service import errors


def tree(root=errors.ServiceError):
    return [root, *(leaf for child in root.__subclasses__() for leaf in tree(child))]


@pytest.mark.parametrize("error", tree())
def test_the_drawing_shows_every_error_with_its_place(error):
    assert error.__name__ in errors.__doc__
    assert 400 <= error.status < 600


@pytest.mark.parametrize("error", tree())
def test_every_code_is_a_fhir_issue_type(error):
    known = {
        "exception",
        "forbidden",
        "incomplete",
        "invalid",
        "login",
        "not-found",
        "not-supported",
        "required",
        "structure",
        "throttled",
        "too-long",
        "transient",
        "value",
    }
    assert error.code in known


def answer_to(error: Exception):
    app = Flask("test")
    errors.register(app)

    @app.get("/")
    def view():
        raise error

    return app.test_client().get("/")


@pytest.mark.requirement("CI-17", "CRD2@159")
def test_a_missing_element_is_named_in_words_and_as_expression():
    response = answer_to(errors.MissingElement("context.patientId"))
    assert response.status_code == 400
    assert response.json == {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": "error",
                "code": "required",
                "diagnostics": "context.patientId: missing",
                "expression": ["context.patientId"],
            }
        ],
    }


@pytest.mark.requirement("S2-06")
def test_unavailable_data_is_412_and_names_the_keys():
    response = answer_to(errors.DataUnavailable(["conditions", "observations"]))
    assert response.status_code == 412
    assert "conditions, observations" in response.json["issue"][0]["diagnostics"]


def test_an_unexpected_error_is_500_with_an_id_and_no_message():
    response = answer_to(ValueError("Mrs Smith"))
    assert response.status_code == 500
    assert response.json["issue"][0]["code"] == "exception"
    assert "Smith" not in response.text
