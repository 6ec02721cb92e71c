"""The command line, `b12-cds`: serve, try a request, look at the protocol, check a configuration."""

from __future__ import annotations

import os
import sys
from datetime import date, datetime
from pathlib import Path

import click

from cds_service import protocol_page
from cds_service.errors import ServiceError
from cds_service.explain import cards_text, explanation
from cds_service.hooks.order_select import explained
from cds_service.hooks.request import decode_order_select, decode_request
from cds_service.hooks.response import encode_cards
from cds_service.services import Services, today
from cds_service.settings import Settings, SettingsError
from regimen.protocol import PROFILES, load_protocol

REQUEST = click.argument(
    "request_file", metavar="REQUEST.json", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Vitamin B12 decision support by CDS Hooks."""


@main.command()
def serve() -> None:
    """Start the production server (HOST, PORT and B12_CDS_* from the environment)."""
    from cds_service import server

    sys.exit(server.main())


@main.command("check-config")
def check_config() -> None:
    """Read the settings as the server would, and say what is wrong with them."""
    settings = _settings()
    click.echo(f"settings are fine: mode {settings.mode}, protocol {settings.protocol}")


@main.command()
@REQUEST
@click.option("--explain", is_flag=True, help="Also print facts, answers, rules and gaps.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as the service sends it.")
@click.option("--profile", type=click.Choice(PROFILES), help="Default: B12_CDS_PROTOCOL.")
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="Judge as on this day.")
def evaluate(
    request_file: Path, explain: bool, as_json: bool, profile: str | None, as_of: datetime | None
) -> None:
    """Print the cards for one captured order-select request."""
    settings = _settings()
    services = Services(
        settings=settings,
        clock=_clock(as_of),
        protocol=load_protocol(profile or settings.protocol),
    )
    try:
        request = decode_request(request_file.read_bytes())
        result = explained(decode_order_select(request.context), request, services)
    except ServiceError as error:
        raise click.ClickException(f"{error.status}: {error.diagnostics}") from error
    if as_json:
        click.echo(encode_cards(result.answer.cards).decode())
        return
    click.echo(cards_text(result.answer.cards))
    if explain:
        click.echo()
        if result.facts is None or result.evaluation is None:
            click.echo("No selected order is for B12 or folic acid: the record was not looked at.")
        else:
            click.echo(explanation(result.facts, result.evaluation))


@main.group()
def protocol() -> None:
    """The clinical protocol."""


@protocol.command()
@click.argument("profile", type=click.Choice(PROFILES), default="default")
@click.option("--markdown", is_flag=True, help="The whole decision table, as docs/protocol.md.")
@click.option("--diff", nargs=2, type=click.Choice(PROFILES), help="How two profiles differ.")
def show(profile: str, markdown: bool, diff: tuple[str, str] | None) -> None:
    """Print a profile: what is given, when, and where it comes from."""
    if diff:
        click.echo(protocol_page.difference(*diff))
    elif markdown:
        click.echo(protocol_page.decision_table(), nl=False)
    else:
        click.echo(protocol_page.overview(load_protocol(profile)))


def _settings() -> Settings:
    try:
        return Settings.from_environment(os.environ)
    except SettingsError as error:
        raise click.ClickException(str(error)) from error


def _clock(as_of: datetime | None):  # type: ignore[no-untyped-def]
    day: date = as_of.date() if as_of else today()
    return lambda: day
