"""What can be set from outside, and what is it now?

`SETTINGS` is the one table: reading, `--help` and the documentation are made from it. A
`B12_CDS_*` variable that is not in it stops the start, because a mistyped setting that is
silently ignored is a setting nobody knows is off. Messages name the variable, never its value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from stat import S_IROTH, S_IWOTH
from typing import Any, Final, Literal, get_args

from cds_service.fhir_url import Allowed, parse_base
from cds_service.store import Retention, store_kind
from regimen.protocol import PROFILES, ProfileName

PREFIX: Final = "B12_CDS_"

#: Where things are kept unless said otherwise, relative to where the server is started.
STORE: Final = "sqlite:///var/b12-cds.sqlite3"

Mode = Literal["development", "production"]
MissingData = Literal["412", "card"]


class SettingsError(Exception):
    """The environment cannot be run with. `problems`: one sentence each, naming the variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return parse


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        # ASCII digits only: int() also takes "1_0", " 1 " and digits of other scripts.
        if not re.fullmatch(r"[0-9]{1,12}", value) or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse


def _base_url(value: str) -> str:
    """By the parser that judges what is called, so that all read it alike."""
    if parse_base(value) is None:
        raise ValueError("must be an absolute http or https URL without user, query or fragment")
    return value.rstrip("/")


def _base_urls(value: str) -> tuple[str, ...]:
    urls = tuple(value.split())
    Allowed.of(urls)  # raises ValueError
    return urls


def _store_url(value: str) -> str:
    """Checked for its form only: a store that is down must not stop the start."""
    kind = store_kind(value.strip())  # raises ValueError
    if kind == "postgresql" and find_spec("psycopg") is None:
        raise ValueError("PostgreSQL needs the extra: pip install 'b12-cds[postgres]'")
    return value.strip()


def _secret_file(value: str) -> str:
    """The path of a file that holds one secret; the secret itself is read where it is used."""
    path = Path(_text(value))
    try:
        secret, mode = path.read_text(encoding="utf-8").strip(), path.stat().st_mode
    except (OSError, UnicodeDecodeError):
        raise ValueError("the file cannot be read") from None
    if mode & (S_IROTH | S_IWOTH):
        raise ValueError("the file can be read or written by others")
    if not re.fullmatch(r"[!-~]{16,200}", secret):
        raise ValueError("the file must hold 16 to 200 visible ASCII characters")
    return str(path)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_KEPT: Final = Retention()


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force. `unused`: variables that were given and have no effect yet."""

    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = "http://127.0.0.1:8080"
    protocol: ProfileName = "default"
    mode: Mode = "development"
    missing_data: MissingData = "412"
    max_body_bytes: int = 16 * 1024 * 1024
    workers: int = 2
    deadline_ms: int = 2000
    max_wait_ms: int = 2000
    fhir_servers: tuple[str, ...] = ()
    metrics_port: int | None = None
    traces: str | None = None
    tenants: str | None = None
    store: str = "sqlite://"  # in memory, unless read from an environment
    keep_decisions_days: int = _KEPT.decisions_days
    keep_feedback_days: int = _KEPT.feedback_days
    keep_comments_days: int = _KEPT.comments_days
    admin_token_file: str | None = None
    unused: tuple[str, ...] = ()

    @property
    def listen_url(self) -> str:
        return f"http://{self.address}"

    @property
    def address(self) -> str:
        """host:port, with the brackets an IPv6 address needs."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def addresses(self) -> list[str]:
        """Where to listen: for clients, and for the collector of metrics."""
        if self.metrics_port is None:
            return [self.address]
        return [self.address, replace(self, port=self.metrics_port).address]

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Settings:
        """Read the table from `env`.

        Raises SettingsError with every problem there is, not only the first.
        """
        problems = _unknown(env)
        values = _read(env, problems)
        if problems:
            raise SettingsError(problems)
        values.setdefault("workers", 2 * _cores())
        values.setdefault("store", STORE)
        settings = cls(**values)
        if "public_url" not in values:
            settings = replace(settings, public_url=settings.listen_url)
        return _fit_for_mode(settings)


_DEFAULTS: Final = Settings()


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `default` as a person would write it; `state`: is it in use?"""

    name: str
    kind: str
    default: str
    help: str
    parse: Callable[[str], object]
    state: Literal["used", "not used yet", "not available"] = "used"


def _said(field: str) -> str:
    """The default of a field as a person would write it."""
    value = getattr(_DEFAULTS, field)
    return "none" if value in (None, ()) else str(value)


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("HOST", "text", _said("host"), "address to listen on", _text),
    Setting("PORT", "number", _said("port"), "port to listen on", _whole(1, 65535)),
    Setting(
        "B12_CDS_PUBLIC_URL",
        "URL",
        "http://HOST:PORT",
        "the address clients know this service by; every URL it emits is built from it",
        _base_url,
    ),
    Setting(
        "B12_CDS_PROTOCOL",
        "word",
        _said("protocol"),
        "clinical protocol: default, uk-nice or us",
        _one_of(*PROFILES),
    ),
    Setting(
        "B12_CDS_MODE",
        "word",
        _said("mode"),
        "development or production; production refuses whatever is open or unencrypted",
        _one_of(*get_args(Mode)),
    ),
    Setting(
        "B12_CDS_MISSING_DATA",
        "word",
        _said("missing_data"),
        "when data the advice depends on cannot be had: 412 (the standard's answer), "
        "or card (200 with a card that says so)",
        _one_of(*get_args(MissingData)),
    ),
    Setting(
        "B12_CDS_MAX_BODY_BYTES",
        "number",
        _said("max_body_bytes"),
        "largest request body; a longer one is answered 413",
        _whole(1024, 1024 * 1024 * 1024),
    ),
    Setting(
        "B12_CDS_WORKERS",
        "number",
        "twice the cores",
        "server processes, each working on 12 calls at most",
        _whole(1, 256),
    ),
    Setting(
        "B12_CDS_DEADLINE_MS",
        "number",
        _said("deadline_ms"),
        "time a call may spend on fetching missing data",
        _whole(100, 10_000),
    ),
    Setting(
        "B12_CDS_MAX_WAIT_MS",
        "number",
        _said("max_wait_ms"),
        "a call that waited longer than this for its turn is answered 503 at once",
        _whole(100, 60_000),
    ),
    Setting(
        "B12_CDS_STORE",
        "URL",
        STORE,
        "database of decision records, feedback and switches: sqlite or postgresql",
        _store_url,
    ),
    Setting(
        "B12_CDS_KEEP_DECISIONS_DAYS",
        "number",
        _said("keep_decisions_days"),
        "decision records older than this are deleted by `b12-cds store purge`",
        _whole(1, 36_500),
    ),
    Setting(
        "B12_CDS_KEEP_FEEDBACK_DAYS",
        "number",
        _said("keep_feedback_days"),
        "feedback older than this is deleted by `b12-cds store purge`",
        _whole(1, 36_500),
    ),
    Setting(
        "B12_CDS_KEEP_COMMENTS_DAYS",
        "number",
        _said("keep_comments_days"),
        "what people typed, deleted sooner: it may say anything",
        _whole(1, 36_500),
    ),
    Setting(
        "B12_CDS_ADMIN_TOKEN_FILE",
        "path",
        _said("admin_token_file"),
        "file with the password of /dashboard; without it there is no dashboard in production",
        _secret_file,
    ),
    Setting(
        "B12_CDS_FHIR_SERVERS",
        "URLs",
        _said("fhir_servers"),
        "base URLs the development tenant may be called back on, separated by spaces",
        _base_urls,
    ),
    Setting(
        "B12_CDS_METRICS_PORT",
        "number",
        _said("metrics_port"),
        "port of /metrics, which in production is nowhere else",
        _whole(1, 65535),
    ),
    Setting(
        "B12_CDS_TRACES",
        "URL",
        _said("traces"),
        "where traces of calls are sent (OTLP over HTTP); needs `pip install b12-cds[tracing]`",
        _base_url,
    ),
    Setting(
        "B12_CDS_TENANTS",
        "path",
        _said("tenants"),
        "file of the clients that may call; without it one open development tenant",
        _text,
    ),
)


def _unknown(env: Mapping[str, str]) -> list[str]:
    known = {setting.name for setting in SETTINGS}
    names = sorted(name for name in env if name.startswith(PREFIX) and name not in known)
    return [f"{_printable(name)}: no such setting" for name in names]


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name[:80])


def _read(env: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    """The values given, by field name. What cannot be used is added to `problems`."""
    values: dict[str, Any] = {}
    unused: list[str] = []
    for setting in (s for s in SETTINGS if s.name in env):
        try:
            value = setting.parse(env[setting.name])
        except ValueError as error:
            problems.append(f"{setting.name}: {error}")
            continue
        if setting.state == "not available":
            problems.append(f"{setting.name}: not available in this version")
        elif setting.state == "not used yet":
            unused.append(setting.name)
        else:
            values[setting.name.removeprefix(PREFIX).lower()] = value
    return {**values, "unused": tuple(unused)}


def _is_remote(url: str) -> bool:
    """Is it one server by https, and not this machine?"""
    base = parse_base(url)  # None: a pattern
    if base is None or base.scheme != "https" or base.host == "localhost":
        return False
    address = base.literal
    return address is None or not (
        address.is_loopback or address.is_unspecified or address.is_link_local
    )


def _fit_for_mode(settings: Settings) -> Settings:
    problems = []
    if settings.metrics_port == settings.port:
        problems.append("B12_CDS_METRICS_PORT: must not be PORT")
    if settings.mode == "production":
        problems.extend(_unfit_for_production(settings))
    if problems:
        raise SettingsError(problems)
    return settings


def _unfit_for_production(settings: Settings) -> list[str]:
    problems = []
    if store_kind(settings.store) == "memory":
        # Each worker would have its own: tokens good once in each, no switch, no record.
        problems.append("B12_CDS_STORE: must not be in memory in production")
    if not settings.public_url.startswith("https://"):
        problems.append("B12_CDS_PUBLIC_URL: must be https in production")
    if settings.tenants is None:
        # Without that file every client is let in, which production must never be.
        problems.append("B12_CDS_TENANTS: needed in production")
    if not all(_is_remote(url) for url in settings.fhir_servers):
        problems.append(
            "B12_CDS_FHIR_SERVERS: in production https base URLs of other machines only"
        )
    return problems
