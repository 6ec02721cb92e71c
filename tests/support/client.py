"""How is the service asked, in this process or over HTTP?

Both ways give the same `Answer`. A server started here belongs to the test that started it and
is ended by its own id.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import cache
from typing import Any

import requests
from flask import Flask

from cds_service.application import create_app
from cds_service.settings import Settings
from tests.support.answers import Answer
from tests.support.response_check import checked
from tests.support.vignette import ROOT

SERVICE = "/cds-services/b12-order-select"
START_SECONDS = 60
STOP_SECONDS = 20
CALL_SECONDS = 20

_JSON = {"Content-Type": "application/json", "Accept": "application/json"}


@cache
def app_on(day: date, profile: str) -> Flask:
    """The service with a protocol, on a day."""
    settings = Settings.from_environment(
        {"B12_CDS_PROTOCOL": profile, "B12_CDS_STORE": "sqlite://"}
    )
    app = create_app(settings, clock=lambda: day)
    return checked(app)


def ask_app(
    app: Flask,
    request: Mapping[str, Any],
    profile: str,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    headers = {**_JSON, **(headers or {})}
    response = app.test_client().post(SERVICE, data=json.dumps(request), headers=headers)
    body = response.get_json(silent=True)
    return Answer(response.status_code, response.mimetype or "", body, dict(request), profile)


def ask_server(url: str, request: Mapping[str, Any], profile: str) -> Answer:
    with _session() as session:
        response = session.post(
            url + SERVICE, data=json.dumps(request), headers=_JSON, timeout=CALL_SECONDS
        )
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    return Answer(response.status_code, kind, response.json(), dict(request), profile)


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no proxy of the environment applies to the loopback
    return session


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_server(profile: str) -> Iterator[str]:
    """The production server on a free port of the loopback; gives its URL."""
    url_port = _free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("B12_CDS_")
    } | {"HOST": "127.0.0.1", "PORT": str(url_port), "B12_CDS_PROTOCOL": profile}
    command = [sys.executable, "-m", "cds_service.server"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{url_port}"
        _wait_until_ready(url, process)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
            raise


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            with _session() as session:
                if session.get(f"{url}/readyz", timeout=CALL_SECONDS).ok:
                    return
        except requests.ConnectionError:
            pass  # not listening yet
        time.sleep(0.1)
    raise RuntimeError(f"the server was not ready in {START_SECONDS} seconds")
