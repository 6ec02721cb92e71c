"""The command line, `b12-cds`: serve, try a request, look at the protocol, check a configuration.

Exit codes, the same for every command: 0 done; 1 the request, the settings or the protocol are not
fine, and the reason is on standard error (or in the report); 2 the command was not understood, or
its file cannot be read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path

import click

from cds_service import protocol_page
from cds_service.application import standard_services
from cds_service.dashboard.generate import generate
from cds_service.errors import ServiceError, StoreDown
from cds_service.explain import cards_text, explanation
from cds_service.hooks.order_select import Explained, explained
from cds_service.hooks.request import (
    HookRequest,
    OrderSelectContext,
    decode_order_select,
    decode_request,
)
from cds_service.hooks.response import encode_cards
from cds_service.recorded import explain_card
from cds_service.request_check import check_request
from cds_service.services import Clock, Services, today
from cds_service.settings import SETTINGS, Settings, SettingsError
from cds_service.store import EVERYONE, Retention, Store
from cds_service.telemetry import tracing
from cds_service.tenants import development_tenant, read_tenants
from regimen.protocol import PROFILES, Protocol, load_protocol
from regimen.protocol_check import ProtocolError
from regimen.recommendation import NEVER_SILENCED, Topic

REQUEST = click.argument(
    "request_file",
    metavar="REQUEST.json",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Vitamin B12 decision support by CDS Hooks.

    REQUEST.json is the body of an order-select call, as an EHR sends it. Nothing is sent anywhere:
    evaluate and validate read the file and print.

    Exit codes: 0 done, 1 the request or the settings are not fine, 2 the command was not
    understood.
    """


def _settings_help() -> str:
    """The table of settings, as `serve --help` prints it."""
    rows = [f"  {s.name} ({s.default}): {s.help}" for s in SETTINGS if s.state == "used"]
    return "\n".join(["\b", "Settings, from the environment (default):", *rows])


@main.command(help=f"Start the production server.\n\n{_settings_help()}")
def serve() -> None:
    from cds_service import server  # noqa: PLC0415  the other commands need no server

    sys.exit(server.main())


@main.command("check-config")
def check_config() -> None:
    """Read settings, tenants and protocol as the server would, and say what is wrong with them."""
    settings = _settings()
    protocol = _protocol(settings.protocol)
    try:
        tenants = read_tenants(settings, [service.id for service in standard_services()])
        tracing(settings)
    except SettingsError as error:
        raise _unusable(error) from error
    click.echo(
        f"fine: mode {settings.mode}, protocol {settings.protocol} "
        f"version {protocol.knowledge.version}, {protocol_page.review_state(protocol)}"
    )
    for tenant in tenants.all:
        click.echo(f"tenant {tenant.id}: {tenant.mode}, {tenant.auth}, profile {tenant.profile}")
    for name in settings.unused:
        click.echo(f"{name}: has no effect in this version")


@main.command()
@REQUEST
@click.option("--explain", is_flag=True, help="Also print facts, answers, rules and gaps.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as the service sends it.")
@click.option("--profile", type=click.Choice(PROFILES), help="Default: B12_CDS_PROTOCOL.")
@click.option(
    "--as-of",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Judge as on this day: a captured request, or a vignette, ages. Default: today (UTC).",
)
def evaluate(
    request_file: Path, explain: bool, as_json: bool, profile: str | None, as_of: datetime | None
) -> None:
    """Print the cards for one captured order-select request.

    No FHIR server is called: what the request does not hold is missing. --explain names records of
    the patient; its output belongs where the record belongs.
    """
    if explain and as_json:
        raise click.UsageError("--explain and --json cannot be combined")
    settings = _settings()
    services = Services(
        settings=settings,
        clock=_clock(as_of),
        protocol=_protocol(profile or settings.protocol),
        tenant=development_tenant(settings),
    )
    result = _explained(request_file, services)
    if as_json:
        click.echo(encode_cards(result.answer.cards).decode())
        return
    click.echo(cards_text(result.answer.cards))
    if explain:
        click.echo()
        click.echo(_explanation(result, services))


@main.command()
@REQUEST
def validate(request_file: Path) -> None:
    """Say what in a captured request is missing, odd or unreadable, key by key.

    Names elements, prefetch keys, resource types and counts, and never a value. Exit code 1 when
    there is something to look at.
    """
    try:
        request, context = _decoded(request_file)
    except ServiceError as error:
        raise _refused(error) from error
    report = check_request(request, context)
    click.echo(str(report))
    sys.exit(1 if report.remarks else 0)


@main.group()
def protocol() -> None:
    """The clinical protocol: what is given, when, and where it comes from."""


@protocol.command()
@click.argument("profile", type=click.Choice(PROFILES), default="default")
@click.option("--markdown", is_flag=True, help="The whole decision table, as docs/protocol.md.")
@click.option(
    "--diff",
    nargs=2,
    metavar="A B",
    type=click.Choice(PROFILES),
    help="Where two profiles differ, and who decided it.",
)
def show(profile: str, markdown: bool, diff: tuple[str, str] | None) -> None:
    """Print one profile: default, uk-nice or us."""
    if markdown and (diff or profile != "default"):
        raise click.UsageError("--markdown is the page of all profiles: no PROFILE, no --diff")
    try:
        if diff:
            text = protocol_page.difference(*diff)
        elif markdown:
            text = protocol_page.decision_table().rstrip("\n")
        else:
            text = protocol_page.overview(load_protocol(profile))
    except ProtocolError as error:
        raise click.ClickException(f"protocol: {error}") from error
    click.echo(text)


# --- what was recorded ------------------------------------------------------------------------


@main.command()
@click.argument("card_uuid", metavar="CARD_UUID")
def explain(card_uuid: str) -> None:
    """Say why a card was shown, from its record alone."""
    with _store() as store:
        text = explain_card(store, card_uuid)
    if text is None:
        raise click.ClickException("no record of such a card")
    click.echo(text)


@main.group()
def topics() -> None:
    """Switch card topics off and on while the service runs, for one tenant or for all."""


_TOPIC = click.argument("topic", type=click.Choice([topic.value for topic in Topic]))
_TENANT = click.option("--tenant", metavar="ID", help="Only for this tenant. Default: all.")
_BY = click.option("--by", metavar="NAME", default="command line", help="Who decided it.")


@topics.command("off")
@_TOPIC
@_TENANT
@_BY
def topic_off(topic: str, tenant: str | None, by: str) -> None:
    """Withhold the cards of TOPIC within two seconds. Calls are still evaluated and recorded."""
    if topic == Topic.UNAVAILABLE:
        raise click.ClickException("unavailable says what could not be read: it stays on")
    settings = _settings()
    _check_tenant(tenant, settings)
    with _store(settings) as store:
        store.set_switch(tenant, topic, off=True, by=by)
    click.echo(f"{topic} is off for {_whom(tenant)}")
    if topic in NEVER_SILENCED:
        click.echo("Its critical cards are still shown: they speak of a danger.")


@topics.command("on")
@_TOPIC
@_TENANT
@_BY
def topic_on(topic: str, tenant: str | None, by: str) -> None:
    """Take back `topics off` of the same TOPIC and tenant."""
    settings = _settings()
    with _store(settings) as store:
        gone = (tenant, topic) in store.switched_off() - {(EVERYONE, topic)}
        if not gone:  # a switch for a tenant that is no more can still be taken back
            _check_tenant(tenant, settings)
        store.set_switch(tenant, topic, off=False, by=by)
        left = sorted(name for name, word in store.switched_off() if word == topic)
    click.echo(f"{topic}: the switch for {_whom(tenant)} is taken back")
    if left:
        names = ", ".join(_whom(None if name == EVERYONE else name) for name in left)
        click.echo(f"It is still off for {names}.")


def _whom(tenant: str | None) -> str:
    return "all tenants" if tenant is None else tenant


def _check_tenant(tenant: str | None, settings: Settings) -> None:
    """A switch for a tenant that is not there would be without effect, and nobody would know."""
    if tenant is None:
        return
    try:
        tenants = read_tenants(settings, [service.id for service in standard_services()])
    except SettingsError as error:
        raise _unusable(error) from error
    if tenant not in {known.id for known in tenants.all}:
        raise click.ClickException(
            "--tenant: no such tenant in the file that B12_CDS_TENANTS names; for all, leave it out"
        )


@topics.command("list")
def topics_list() -> None:
    """Print what is switched off. What a tenant's file switches off is not listed."""
    with _store() as store:
        switches = sorted(store.switched_off())
    for tenant, topic in switches:
        click.echo(f"{topic} is off for {_whom(None if tenant == EVERYONE else tenant)}")
    if not switches:
        click.echo("Nothing is switched off.")


@main.group("store")
def store_group() -> None:
    """Decision records, feedback and comments."""


@store_group.command()
def purge() -> None:
    """Delete what is older than B12_CDS_KEEP_..._DAYS. Run it daily."""
    settings = _settings()
    retention = Retention(
        decisions_days=settings.keep_decisions_days,
        feedback_days=settings.keep_feedback_days,
        comments_days=settings.keep_comments_days,
    )
    with _store(settings) as store:
        deleted = store.purge(retention)
    for table, rows in deleted.items():
        click.echo(f"{table}: {rows} deleted")


@store_group.command("generate")
@click.option("--decisions", default=10_000, show_default=True, type=click.IntRange(1, 1_000_000))
@click.option("--weeks", default=26, show_default=True, type=click.IntRange(1, 104))
@click.option("--seed", default=1, show_default=True)
def generate_records(decisions: int, weeks: int, seed: int) -> None:
    """Fill a development store with made-up records, to try the dashboard."""
    settings = _settings()
    if settings.mode != "development":
        raise click.ClickException("only in development: made-up records would be taken for real")
    with _store(settings) as store:
        generate(store, _protocol(settings.protocol), decisions=decisions, weeks=weeks, seed=seed)
    click.echo(f"{decisions} made-up decisions written")


@contextmanager
def _store(settings: Settings | None = None) -> Iterator[Store]:
    """The store of the settings; one that does not answer ends the command."""
    store = Store((settings or _settings()).store)
    if not store.shared:
        raise click.ClickException("B12_CDS_STORE: in memory, where no server sees it")
    try:
        yield store
    except StoreDown as error:
        raise click.ClickException("the store does not answer: see B12_CDS_STORE") from error
    finally:
        store.close()


# --- parts ------------------------------------------------------------------------------------


def _settings() -> Settings:
    try:
        return Settings.from_environment(os.environ)
    except SettingsError as error:
        raise _unusable(error) from error


def _unusable(error: SettingsError) -> click.ClickException:
    return click.ClickException("\n".join(error.problems))


def _protocol(profile: str) -> Protocol:
    try:
        return load_protocol(profile)
    except ProtocolError as error:
        raise click.ClickException(f"protocol: {error}") from error


def _clock(as_of: datetime | None) -> Clock:
    day: date = as_of.date() if as_of else today()
    return lambda: day


def _decoded(file: Path) -> tuple[HookRequest, OrderSelectContext]:
    try:
        body = file.read_bytes()
    except OSError as error:
        raise click.FileError(str(file), error.strerror or "cannot be read") from error
    request = decode_request(body)
    return request, decode_order_select(request.context)


def _explained(file: Path, services: Services) -> Explained:
    try:
        request, context = _decoded(file)
        return explained(context, request, services)
    except ServiceError as error:
        raise _refused(error) from error


def _refused(error: ServiceError) -> click.ClickException:
    return click.ClickException(f"the service would answer {error.status}: {error.diagnostics}")


def _explanation(result: Explained, services: Services) -> str:
    if result.facts is None or result.evaluation is None:
        return "No selected order is for B12 or folic acid: the record was not looked at."
    return explanation(result.facts, result.evaluation, services.protocol)


if __name__ == "__main__":
    main()
