"""Where do tests keep things? In SQLite in a temporary folder, and in a PostgreSQL of their own.

The PostgreSQL cluster is made for the test run, listens on a socket in a folder of its own and
nowhere else, and is ended by its own process. It refuses to run as root, so root lends it another
user. Tests that use `store` or `store_url` run on both.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cds_service.store import Store
from cds_service.tenants import Tenant

NO_POSTGRES = "PostgreSQL is not installed: apt-get install postgresql"
START_SECONDS = 30


def _programs() -> Path | None:
    """Debian keeps the server's programs out of the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    folders += [Path(found).resolve().parent] if found else []
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def _other_user() -> dict[str, Any]:
    """How to start a program as somebody else, if we are root."""
    if os.getuid() != 0:
        return {}
    names = {user.pw_name for user in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class Cluster:
    """A PostgreSQL that can be stopped and started again."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.url = f"postgresql://b12@/postgres?host={folder}"
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}
        self._options: dict[str, Any] = {
            "cwd": folder,
            "env": environment,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.STDOUT,
            **_other_user(),
        }
        if "user" in self._options:
            os.chown(folder, self._options["user"], self._options["group"])
        made = [*self._command("initdb"), "-U", "b12", "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run([*made, "--no-sync"], check=True, **self._options)

    def _command(self, program: str) -> list[str]:
        return [str(self._programs / program), "-D", str(self.folder / "data")]

    def start(self) -> None:
        options = ("listen_addresses=", "fsync=off", "max_connections=60")
        settings = [word for option in options for word in ("-c", option)]
        serve = [*self._command("postgres"), "-k", str(self.folder), *settings]
        self._process = subprocess.Popen(serve, **self._options)
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL ended with {self._process.returncode}")
            try:
                connect(self.url).close()
            except psycopg.OperationalError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError("PostgreSQL did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # "fast": ends the connections there are
            self._process.wait(START_SECONDS)
            self._process = None


@contextmanager
def cluster() -> Iterator[Cluster]:
    programs = _programs()
    if programs is None:
        pytest.skip(NO_POSTGRES)
    folder = Path(tempfile.mkdtemp(prefix="b12-pg-"))
    try:
        made = Cluster(folder, programs)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of an empty cluster."""
    with cluster() as made:
        yield made.url


def connect(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url, autocommit=True)


@pytest.fixture
def empty_postgres(postgres: str) -> str:
    """The URL of a PostgreSQL without a table in it."""
    with connect(postgres) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        url: str = request.getfixturevalue("empty_postgres")
        return url
    return f"sqlite:///{tmp_path}/store/b12.sqlite3"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    return tmp_path / "store" / "b12.sqlite3"


@pytest.fixture
def sqlite_store(sqlite_file: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{sqlite_file}")
    yield store
    store.close()


def tenant(name: str = "north", **keys: Any) -> Tenant:
    return Tenant(id=name, auth="open", rate_limit_per_s=None, **keys)
