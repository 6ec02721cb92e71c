"""How is the real server run for a test: in a process, on a port, with settings of its own?"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.vignette import ROOT

CALL = "/cds-services/b12-order-select"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A started server, two workers, its store in `folder`."""

    def __init__(self, folder: Path, *, port: int | None = None, **settings: str) -> None:
        self.port = port or free_port()
        self.log_file = folder / f"log-{self.port}.jsonl"
        env = {k: v for k, v in os.environ.items() if not k.startswith("B12_CDS_")}
        env |= {
            "PORT": str(self.port),
            "B12_CDS_WORKERS": "2",
            "B12_CDS_STORE": f"sqlite:///{folder}/store.sqlite3",
        }
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cds_service.server"],
                cwd=ROOT,
                env=env | settings,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_file.read_text("utf-8").splitlines()]

    def ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        port: int | None = None,
        **headers: str,
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body (JSON, else text) and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=20)
        try:
            sent = None if body is None else json.dumps(body)
            kind = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, body=sent, headers=kind | headers)
            response = connection.getresponse()
            text = response.read().decode()
            is_json = response.headers.get_content_type() == "application/json"
            return response.status, json.loads(text) if is_json else text, dict(response.headers)
        finally:
            connection.close()

    def workers(self) -> set[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in children.read_text().split()}

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Server]:
    server = Server(folder, **settings)
    try:
        yield server
    finally:
        server.stop()


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Does it come true in this time?"""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.1)
    return holds()
