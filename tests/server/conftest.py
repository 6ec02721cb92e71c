"""Which real FHIR servers can the tests talk to? Started from packages, on the loopback."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

HERE = Path(__file__).parent
TOKEN = "token-of-the-tests"
INSTALL_SECONDS = 600
START_SECONDS = 120
STOP_SECONDS = 20


@dataclass(frozen=True)
class FhirServer:
    """A server that runs. `load` puts resources on it under the ids they have."""

    url: str

    def load(self, resources: Iterable[dict[str, Any]]) -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.headers.update(
                {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/fhir+json"}
            )
            for resource in resources:
                place = f"{self.url}/{resource['resourceType']}/{resource['id']}"
                response = session.put(place, json=resource, timeout=START_SECONDS)
                assert response.ok, f"{resource['resourceType']}: {response.text}"


def needs(*programs: str, install: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}: {install}")


def installed(command: list[str], folder: Path) -> None:
    """Run what fetches a server's packages. Not reachable: a skip that shows the command."""
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, timeout=INSTALL_SECONDS
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        output = (error.stdout or b"") + (error.stderr or b"")
        pytest.skip(f"{' '.join(command)} failed in {folder}: {output[-500:].decode()}")


@contextmanager
def running(command: list[str], folder: Path, path: str) -> Iterator[FhirServer]:
    """The server: it prints "port N" when it is ready and ends with its standard input."""
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(START_SECONDS, process.kill)
        late.start()
        first = process.stdout.readline().split()
        late.cancel()
        assert first[:1] == ["port"], "the server did not start"
        yield FhirServer(f"http://127.0.0.1:{first[1]}{path}")
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@pytest.fixture(scope="module")
def medplum(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirServer]:
    needs("node", "npm", install="apt-get install nodejs npm (Node 20 or later)")
    folder = tmp_path_factory.mktemp("medplum")
    for name in ("package.json", "server.mjs"):
        shutil.copy(HERE / "medplum" / name, folder)
    installed(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
    with running(["node", "server.mjs", TOKEN], folder, "/fhir/R4") as server:
        yield server


PAGE_SIZE = 3


@pytest.fixture(scope="module")
def hapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirServer]:
    needs("java", "mvn", install="apt-get install openjdk-17-jdk-headless maven")
    folder = tmp_path_factory.mktemp("hapi") / "server"
    shutil.copytree(HERE / "hapi", folder, ignore=shutil.ignore_patterns("target"))
    goals = ["compile", "dependency:build-classpath", "-Dmdep.outputFile=target/classpath"]
    installed(["mvn", "-q", "-B", *goals], folder)
    libraries = (folder / "target" / "classpath").read_text().strip()
    command = ["java", "-Xmx512m", "-cp", f"target/classes:{libraries}", "Server", str(PAGE_SIZE)]
    with running([*command, TOKEN], folder, "/fhir") as server:
        yield server
