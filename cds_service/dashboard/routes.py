"""Who may see the dashboard, and what is on it?

In production it is there only with an admin token, which a browser asks for as a password (any user
name) and a script sends as a bearer token. It reads and never changes anything: switches are thrown
on the command line. Nothing on it comes from elsewhere, and no script runs on it.
"""

from __future__ import annotations

import hmac
import re
from datetime import date
from typing import Final

from flask import Blueprint, Response, render_template, request

from cds_service import web
from cds_service.dashboard.export import TABLES, csv_text
from cds_service.dashboard.numbers import MAX_WEEKS, Numbers, Question, read_numbers
from cds_service.dashboard.plots import rows_plot, weeks_plot
from cds_service.errors import AdminOnly, StoreDown, UnknownResource
from cds_service.services import today

dashboard = Blueprint(
    "dashboard",
    __name__,
    url_prefix="/dashboard",
    template_folder="templates",
    static_folder="static",
)

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


@dashboard.before_request
def check_token() -> None:
    token = web.runtime().admin_token
    if token is not None and not hmac.compare_digest(_given().encode(), token.encode()):
        raise AdminOnly


def _given() -> str:
    """The token as a password, or as a bearer token."""
    given = request.authorization
    if given is None:
        return ""
    return (given.token if given.type == "bearer" else given.password) or ""


@dashboard.after_request
def set_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@dashboard.get("/")
def page() -> Response:
    try:
        numbers = _numbers()
    except StoreDown:
        return Response(render_template("dashboard/down.html"), StoreDown.status)
    return Response(
        render_template(
            "dashboard/page.html",
            n=numbers,
            q=numbers.question,
            tables=TABLES,
            weeks=_weeks(numbers),
            topics=_topics(numbers),
            reasons=_reasons(numbers),
            gaps=_gaps(numbers),
        )
    )


@dashboard.get("/<name>.csv")
def export(name: str) -> Response:
    text = csv_text(_numbers(), name) if name in TABLES else None
    if text is None:
        raise UnknownResource
    return Response(
        text,
        content_type="text/csv; charset=utf-8; header=present",
        headers={"Content-Disposition": f'attachment; filename="b12-cds-{name}.csv"'},
    )


def _numbers() -> Numbers:
    return read_numbers(web.runtime().store, _question(today()))


def _question(day: date) -> Question:
    """What the query string asks for; what it does not say right is as if not said."""
    weeks = request.args.get("weeks", "")
    fine = re.fullmatch(r"[1-9][0-9]{0,2}", weeks) and int(weeks) <= MAX_WEEKS
    return Question(
        today=day,
        weeks=int(weeks) if fine else 12,
        tenant=_word("tenant"),
        protocol=_word("protocol"),
    )


def _word(name: str) -> str | None:
    """A text that may be in the store; not every database takes any other."""
    text = request.args.get(name, "")
    return text if text.isprintable() and text else None


# --- plots --------------------------------------------------------------------------------------


def _weeks(numbers: Numbers) -> str:
    weeks = numbers.by("week")
    series = {
        "accepted": [count.accepted for count in weeks.values()],
        "overridden": [count.overridden for count in weeks.values()],
        "ignored": [count.ignored for count in weeks.values()],
    }
    labels = [f"{week.day} {week:%b}" for week in weeks]
    return weeks_plot("Cards shown, by week and outcome", labels, series) if labels else ""


def _topics(numbers: Numbers) -> str:
    rows = {
        topic: {
            "accepted": count.accepted,
            "overridden": count.overridden,
            "ignored": count.ignored,
            "withheld": count.fired - count.shown,
        }
        for topic, count in sorted(
            numbers.by("topic").items(), key=lambda item: (-item[1].fired, item[0])
        )
    }
    return rows_plot("Cards, by topic and outcome", rows) if rows else ""


def _reasons(numbers: Numbers) -> str:
    sums: dict[str, int] = {}
    for (_, reason), count in numbers.reasons.items():
        sums[reason] = sums.get(reason, 0) + count
    rows = {reason: {"overridden": count} for reason, count in list(sums.items())[:15]}
    return rows_plot("Override reasons", rows) if rows else ""


def _gaps(numbers: Numbers) -> str:
    rows = {
        f"{key}: {kind}": {"gap": count} for (key, kind), count in list(numbers.gaps.items())[:15]
    }
    return rows_plot("Parts of records that could not be read", rows) if rows else ""
