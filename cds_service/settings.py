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
from typing import Any, Final, Literal
from urllib.parse import urlsplit

PREFIX: Final = "B12_CDS_"

Mode = Literal["development", "production"]
ProtocolName = Literal["default", "uk-nice", "us"]
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
    wrong = ValueError("must be an absolute http or https URL without user, query or fragment")
    try:
        parts = urlsplit(value)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise wrong
    if "@" in parts.netloc or "?" in value or "#" in value or not re.fullmatch(r"[!-~]+", value):
        raise wrong
    return value.rstrip("/")


def _base_urls(value: str) -> tuple[str, ...]:
    # "http://127.0.0.1:*" is a pattern of its own; any port stands in for the star here.
    return tuple(_base_url(re.sub(r":\*$", ":1", url)) and url for url in value.split())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `default` as a person would write it; `state`: is it in use?"""

    name: str
    kind: str
    default: str
    help: str
    parse: Callable[[str], object]
    state: Literal["used", "not used yet", "not available"] = "used"


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("HOST", "text", "127.0.0.1", "address to listen on", _text),
    Setting("PORT", "number", "8080", "port to listen on", _whole(1, 65535)),
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
        "default",
        "clinical protocol: default, uk-nice or us",
        _one_of("default", "uk-nice", "us"),
    ),
    Setting(
        "B12_CDS_MODE",
        "word",
        "development",
        "development or production; production refuses whatever is open or unencrypted",
        _one_of("development", "production"),
    ),
    Setting(
        "B12_CDS_MISSING_DATA",
        "word",
        "412",
        "when data the advice depends on cannot be had: 412 (the standard's answer), "
        "or card (200 with a card that says so)",
        _one_of("412", "card"),
    ),
    Setting(
        "B12_CDS_MAX_BODY_BYTES",
        "number",
        str(16 * 1024 * 1024),
        "largest request body; a longer one is answered 413",
        _whole(1024, 1024 * 1024 * 1024),
    ),
    Setting(
        "B12_CDS_WORKERS",
        "number",
        "twice the cores",
        "server processes, 8 threads each",
        _whole(1, 256),
    ),
    Setting(
        "B12_CDS_DEADLINE_MS",
        "number",
        "2000",
        "time a call may spend on fetching missing data",
        _whole(1, 60_000),
        state="not used yet",
    ),
    Setting("B12_CDS_STORE", "URL", "SQLite under var/", "database", _text, state="not used yet"),
    Setting(
        "B12_CDS_FHIR_SERVERS",
        "URLs",
        "none",
        "base URLs that may be called back, separated by spaces",
        _base_urls,
        state="not used yet",
    ),
    Setting(
        "B12_CDS_METRICS_PORT",
        "number",
        "none",
        "port of the metrics",
        _whole(1, 65535),
        state="not used yet",
    ),
    Setting(
        "B12_CDS_TENANTS",
        "path",
        "none",
        "file of the clients that may call",
        _text,
        state="not available",
    ),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force. `unused`: variables that were given and have no effect yet."""

    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = "http://127.0.0.1:8080"
    protocol: ProtocolName = "default"
    mode: Mode = "development"
    missing_data: MissingData = "412"
    max_body_bytes: int = 16 * 1024 * 1024
    workers: int = 2
    unused: tuple[str, ...] = ()

    @property
    def listen_url(self) -> str:
        return f"http://{self.address}"

    @property
    def address(self) -> str:
        """host:port, with the brackets an IPv6 address needs."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

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
        settings = cls(**values)
        if "public_url" not in values:
            settings = replace(settings, public_url=settings.listen_url)
        return _fit_for_mode(settings)


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


def _fit_for_mode(settings: Settings) -> Settings:
    if settings.mode == "development":
        return settings
    problems = []
    if not settings.public_url.startswith("https://"):
        problems.append("B12_CDS_PUBLIC_URL: must be https in production")
    # Without that file every client is let in, which production must never be.
    problems.append(
        "B12_CDS_MODE: production needs B12_CDS_TENANTS, which is not available in this version"
    )
    raise SettingsError(problems)
