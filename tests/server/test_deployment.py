"""Does the service run as `deploy/` says: the image's build steps, and the pod's environment?

There is no container engine here. The build steps are run as they are written, below a folder; the
service is then started from what they made, with the environment, user, capabilities, file systems
and probes that the manifest states, in namespaces of its own and with no network but the loopback.
What that leaves out: the base image, the cluster, PostgreSQL (the store is SQLite in /tmp here).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.server import CALL
from tests.support.tokens import es384, key_set, token
from tests.support.vignette import ROOT

UNSHARE = ("unshare", "-mn", "--propagation", "private")
PYTHON = Path("/usr/bin/python3")  # one that another user may run, too
GOLDEN = ROOT / "fixtures/vignettes/v01-b12-120-pg-ml-injection-picked-without-details"
ISSUER = "https://ehr.hospital.example/api/FHIR/R4"
PUBLIC_URL = "https://cds.hospital.example"


pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes namespaces and mounts"),
    pytest.mark.skipif(
        not (shutil.which("unshare") and shutil.which("setpriv") and shutil.which("ip")),
        reason="needs unshare, setpriv and ip: apt-get install util-linux iproute2",
    ),
    pytest.mark.skipif(
        not PYTHON.exists(), reason="needs /usr/bin/python3: apt-get install python3-venv"
    ),
]


def manifest() -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod of the Deployment, and the data of the ConfigMap."""
    text = (ROOT / "deploy/kubernetes/service.yaml").read_text("utf-8")
    documents = {one["kind"]: one for one in yaml.safe_load_all(text)}
    return documents["Deployment"]["spec"]["template"]["spec"], documents["ConfigMap"]["data"]


def containerfile() -> list[tuple[str, str]]:
    """(instruction, rest), with continued lines as one and without comments."""
    text = (ROOT / "deploy/Containerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line]  # type: ignore[misc]


def _outside() -> Path:
    """A folder that any user may read, outside of what is laid over /tmp."""
    made = Path(tempfile.mkdtemp(prefix="b12-cds-", dir="/var/tmp"))
    made.chmod(0o755)
    return made


@pytest.fixture
def folder() -> Iterator[Path]:
    made = _outside()
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    """The build stage, run below a folder. Gives what is /app in the image."""
    folder = _outside()
    source, app = folder / "src", folder / "app"
    source.mkdir()
    steps = containerfile()
    stage = [number for number, (word, _) in enumerate(steps) if word == "FROM"]
    for word, rest in steps[stage[0] : stage[1]]:
        if word == "COPY":
            *names, target = rest.split()
            for name in names:
                _copy(ROOT / name, source / (target if (ROOT / name).is_dir() else name))
        if word == "RUN":
            command = rest.replace("/app", str(app)).replace("python -m", f"{PYTHON} -m", 1)
            done = subprocess.run(
                ["/bin/sh", "-c", command], cwd=source, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{rest}: {done.stdout}{done.stderr}"
    shutil.rmtree(source)  # nothing of it is in the image
    try:
        yield app
    finally:
        shutil.rmtree(folder)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, ignore=ignored)
    else:
        shutil.copy(source, target)


def environment(pod: dict[str, Any], app: Path) -> dict[str, str]:
    """The image's and then the pod's; what is in angle brackets filled in."""
    (container,) = pod["containers"]
    (image,) = [rest for word, rest in containerfile() if word == "ENV"]
    found = dict(pair.split("=", 1) for pair in image.split())
    for one in container["env"]:
        found[one["name"]] = one.get("value", "sqlite:////tmp/store.sqlite3").strip("<>")
    return found | {"PATH": f"{app}/bin:/usr/bin:/bin"}


class Pod:
    """The started service. `ask` is done from inside: there is no way in from outside."""

    def __init__(self, app: Path, tmp_size: str, folder: Path) -> None:
        pod, data = manifest()
        (self.container,) = pod["containers"]
        settings = folder / "etc"
        settings.mkdir(mode=0o755)
        # A key set from a file: there is no network to fetch it by.
        text = re.sub(r'jwks_uri = "[^"]*"', 'jwks_file = "keys.json"', data["tenants.toml"])
        text = text.replace("<", "").replace(">", "").replace('"silent"', '"live"')
        (settings / "tenants.toml").write_text(text)
        (settings / "keys.json").write_bytes(key_set(es384()))
        mount = self.container["volumeMounts"][0]["mountPath"]
        environ = environment(pod, app)
        environ["B12_CDS_TENANTS"] = environ["B12_CDS_TENANTS"].replace(mount, str(settings))
        user = pod["securityContext"]["runAsUser"]
        drop = "".join(f" -{name.lower()}" for name in _dropped(self.container)).strip().split()
        privileges = [
            *("setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"),
            *("--no-new-privs", "--bounding-set", ",".join(drop)),
        ]
        entry = json.loads(dict(containerfile())["ENTRYPOINT"])
        entry[0] = entry[0].replace("/app", str(app))
        script = (
            "ip link set lo up"
            f" && mount -t tmpfs -o size={tmp_size},mode=1777 tmpfs /tmp"
            " && mount -o remount,bind,ro /"
            f' && exec {" ".join(privileges)} "$@"'
        )
        self.log = folder / "log.jsonl"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*UNSHARE, "sh", "-c", script, "sh", *entry],
                env=environ,
                cwd="/",
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.first_line = self.process.stdout.readline()

    def run(self, *command: str, given: str = "") -> str:
        inside = ["nsenter", "-t", str(self.process.pid), "-m", "-n", *command]
        done = subprocess.run(inside, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, method: str, port: int, path: str, body: str = "", bearer: str = "") -> Any:
        """Status and text."""
        code = (
            "import http.client, sys\n"
            "method, port, path, bearer = sys.argv[1:]\n"
            "c = http.client.HTTPConnection('127.0.0.1', int(port), timeout=20)\n"
            "h = {'Content-Type': 'application/json'}\n"
            "if bearer: h['Authorization'] = 'Bearer ' + bearer\n"
            "c.request(method, path, sys.stdin.read() or None, h)\n"
            "r = c.getresponse(); print(r.status); print(r.read().decode())\n"
        )
        arguments = (method, str(port), path, bearer)
        out = self.run(str(PYTHON), "-c", code, *arguments, given=body)
        status, _, text = out.partition("\n")
        return int(status), text

    def stop(self) -> int:
        self.process.terminate()
        self.process.communicate(timeout=20)
        return self.process.returncode


def _dropped(container: dict[str, Any]) -> list[str]:
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    return context["capabilities"]["drop"]


def call(pod: Pod) -> tuple[int, str]:
    body = (GOLDEN / "request.json").read_text("utf-8")
    bearer = token(iss=ISSUER, aud=f"{PUBLIC_URL}{CALL}")
    return pod.ask("POST", 8080, CALL, body, bearer)


@pytest.mark.fault("O05", "O21")
def test_it_runs_as_the_manifest_says_without_root_network_or_a_file_system_to_write_to(
    built, folder
):
    pod = Pod(built, "128M", folder)
    try:
        assert pod.first_line.startswith("b12-cds is ready"), pod.log.read_text()
        status = Path(f"/proc/{pod.process.pid}/status").read_text()
        assert re.search(r"^Uid:\s+10001\s+10001", status, re.M)
        assert re.search(r"^Cap(Eff|Prm|Bnd):\s+0+$", status, re.M)
        ports = {one["name"]: one["containerPort"] for one in pod.container["ports"]}
        for probe in ("readinessProbe", "livenessProbe"):
            get = pod.container[probe]["httpGet"]
            assert pod.ask("GET", ports[get["port"]], get["path"])[0] == 200
        status, text = call(pod)
        assert status == 200
        assert [c["source"]["topic"]["code"] for c in json.loads(text)["cards"]] == ["regimen"]
        numbers = pod.ask("GET", ports["metrics"], "/metrics")
        assert numbers[0] == 200
        assert 'status="200",tenant="hospital"' in numbers[1]
        assert pod.ask("GET", ports["http"], "/metrics")[0] == 404
        # Nothing was written but to what is there to be written to.
        assert "Read-only" in pod.run("sh", "-c", "touch /var/tmp/x 2>&1 || true")
    finally:
        assert pod.stop() == 0
    assert {json.loads(line)["event"] for line in pod.log.read_text().splitlines()} == {"call"}


@pytest.mark.fault("O05")
def test_when_the_disk_is_full_calls_fail_closed_and_come_back(built, folder):
    """The store and the numbers are on the one disk there is."""
    pod = Pod(built, "24M", folder)
    try:
        assert call(pod)[0] == 200
        pod.run("sh", "-c", "dd if=/dev/zero of=/tmp/full bs=64k 2>/dev/null; true")
        seen = {call(pod)[0] for _ in range(40)}
        assert 503 in seen <= {200, 503}  # no token passes that cannot be remembered
        assert pod.ask("GET", 8080, "/healthz")[0] == 200
        pod.run("rm", "/tmp/full")
        until = time.monotonic() + 10
        while call(pod)[0] != 200 and time.monotonic() < until:
            time.sleep(0.2)
        assert call(pod)[0] == 200
        assert pod.ask("GET", 8080, "/readyz")[0] == 200
    finally:
        pod.stop()
    assert "Traceback" not in pod.log.read_text()
