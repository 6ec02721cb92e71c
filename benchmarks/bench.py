"""How fast is the service, as a multiple of a service that does nothing?

Seconds of one machine say little, ratios a lot. Our service and `null_service` run at the same time
under the same server; `wrk` asks them in turn, pair after pair, the order changing each time, so
that what else the machine does hits both. A ratio is reported as min, median and max over the
pairs. BENCH_QUICK=1: some three minutes, shorter rounds. BENCH_REFERENCE=1: also replaces the run
that docs/performance.md quotes, and its picture.

Calls come from one machine over the loopback, each family is one body sent again and again, nothing
is remembered between calls, the tenant is open (no token is checked), and the store is SQLite.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import plot
from benchmarks.families import FAMILIES, GROWTH, Family, body

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results"
PATH: Final = "/cds-services/b12-order-select"
TICK: Final = os.sysconf("SC_CLK_TCK")
PERCENTILES: Final = ("p50", "p95", "p99")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """`pairs` of rounds of `seconds` for each family and concurrency."""

    pairs: int
    seconds: float
    mixed_calls: int
    starts: int


FULL: Final = Plan(pairs=5, seconds=3, mixed_calls=10_000, starts=5)
QUICK: Final = Plan(pairs=5, seconds=1, mixed_calls=2_000, starts=3)


# --- a server -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Running:
    """One of the two services, and what it has cost so far."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    start_seconds: float
    #: CPU of workers that have ended is their parent's by then.
    workers_seen: set[int] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    def workers(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = [int(pid) for pid in path.read_text().split()]
        self.workers_seen.update(found)
        return found

    def cpu_seconds(self) -> float:
        own = _times(self.process.pid)
        return (sum(own) + sum(sum(_times(pid)[:2]) for pid in self.workers())) / TICK

    def memory(self) -> list[Json]:
        """MB of each worker: resident, its peak, and what it shares with no other process."""
        return [
            {
                "rss": _status_kb(pid, "VmRSS") / 1024,
                "peak": _status_kb(pid, "VmHWM") / 1024,
                "own": _private_kb(pid) / 1024,
            }
            for pid in self.workers()
        ]


def _times(pid: int) -> list[int]:
    """User and system ticks of a process, then those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(value) for value in fields[11:15]]


def _status_kb(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)


def _private_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


@contextmanager
def serving(name: str, module: str, folder: Path) -> Iterator[Running]:
    port = _free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("B12_CDS_")} | {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "B12_CDS_STORE": f"sqlite:///{folder / name}.sqlite3",
        "PYTHONPATH": str(ROOT),
    }
    with (folder / f"{name}.log").open("wb") as log:
        started = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603  our own module
            [sys.executable, "-m", module], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            yield Running(name, process, port, _until_ready(process, port, started))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _until_ready(process: subprocess.Popen[bytes], port: int, started: float) -> float:
    while time.perf_counter() - started < 60:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return time.perf_counter() - started
        except OSError:
            time.sleep(0.005)  # not listening yet
    raise RuntimeError("the server was not ready in a minute")


# --- a round ----------------------------------------------------------------------------------


def load(server: Running, content: Path, connections: int, seconds: float) -> Json:
    """One run of wrk. Times in milliseconds."""
    before = server.cpu_seconds()
    command = [
        *("wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s"),
        *("-s", str(ROOT / "benchmarks" / "load.lua"), server.url, "--", str(content)),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    found: Json = json.loads(done.stdout.splitlines()[-1])
    if found["errors"] or not found["calls"]:
        raise RuntimeError(f"{server.name}: {found['errors']} errors in {found['calls']} calls")
    for key in (*PERCENTILES, "max"):
        found[key] /= 1000
    found["per_second"] = found["calls"] / found["seconds"]
    found["cpu_ms"] = (server.cpu_seconds() - before) * 1000 / found["calls"]
    return found


def check(server: Running, family: Family, content: bytes) -> int:
    """The number of cards; what is measured must be what is meant."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", PATH, content, {"Content-Type": "application/json"})
    response = connection.getresponse()
    cards = len(json.loads(response.read())["cards"])
    if response.status != 200 or (server.name == "ours" and bool(cards) != family.cards):
        raise RuntimeError(f"{family.name}: {response.status} with {cards} cards")
    return cards


def pairs(
    ours: Running, null: Running, content: Path, connections: int, plan: Plan
) -> tuple[list[Json], list[Json]]:
    """Rounds of both, in turn; who is first changes. A large body gets time for some calls too."""
    seconds = max(plan.seconds, content.stat().st_size / 2e6)
    found: tuple[list[Json], list[Json]] = ([], [])
    for number in range(plan.pairs):
        both = [(ours, found[0]), (null, found[1])]
        for server, rounds in both if number % 2 == 0 else reversed(both):
            rounds.append(load(server, content, connections, seconds))
    return found


def spread(values: Sequence[float]) -> Json:
    return {"min": min(values), "median": median(values), "max": max(values)}


def compared(ours: Sequence[Json], null: Sequence[Json]) -> Json:
    """Median of each number, and ours divided by null, pair by pair."""
    keys = (*PERCENTILES, "per_second", "cpu_ms")
    return {
        "ours": {key: median(one[key] for one in ours) for key in keys},
        "null": {key: median(one[key] for one in null) for key in keys},
        "ratio": {
            key: spread([a[key] / b[key] for a, b in zip(ours, null, strict=True)]) for key in keys
        },
    }


# --- the parts of the report ------------------------------------------------------------------


def families(ours: Running, null: Running, folder: Path, plan: Plan) -> list[Json]:
    rows = []
    for family in FAMILIES:
        content = body(family)
        path = folder / f"{family.name}.json"
        path.write_bytes(content)
        cards = check(ours, family, content)
        check(null, family, content)
        row: Json = {
            "family": family.name,
            "bytes": len(content),
            "cards": cards,
            "goal": family.goal,
        }
        for connections in (1, 8):
            row[f"c{connections}"] = compared(*pairs(ours, null, path, connections, plan))
        rows.append(row)
        _say(family_line(row))
    return rows


def growth(ours: Running, null: Running, folder: Path, plan: Plan) -> list[Json]:
    rows = []
    for family in GROWTH:
        content = body(family)
        path = folder / f"growth-{family.name}.json"
        path.write_bytes(content)
        check(ours, family, content)
        found = compared(*pairs(ours, null, path, 1, plan))
        row = {
            "megabytes": len(content) / 1e6,
            "ours_ms": found["ours"]["p50"],
            "null_ms": found["null"]["p50"],
            "ratio": found["ratio"]["p50"],
        }
        rows.append(row)
        _say(
            f"  {row['megabytes']:6.2f} MB  ours {row['ours_ms']:8.2f} ms"
            f"  null {row['null_ms']:8.2f} ms  ratio {row['ratio']['median']:.2f}",
        )
    return rows


def mixed(server: Running, folder: Path, calls: int) -> list[Json]:
    """Memory of the workers while all families are asked in turn, eight calls at a time."""
    shares = {"irrelevant-5k": 70, "cards-60k": 12, "silent-60k": 12, "cards-3m": 3}
    shares["irrelevant-3m"] = 100 - sum(shares.values())
    found: list[Json] = [{"calls": 0, "workers": server.memory()}]
    bodies = [(folder / f"{name}.json").read_bytes() for name in shares]
    turn = [content for content, n in zip(bodies, shares.values(), strict=True) for _ in range(n)]
    made = 0
    for part in range(4):
        _ask_all(server.port, turn, calls // 4)
        made += calls // 4
        found.append({"calls": made, "workers": server.memory()})
        _say(f"  after {made:6} calls: {_memory_words(found[part + 1]['workers'])}")
    return found


def _ask_all(port: int, turn: Sequence[bytes], calls: int) -> None:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    def some(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in range(first, calls, 8):
            headers = {"Content-Type": "application/json"}
            connection.request("POST", PATH, turn[number * 37 % len(turn)], headers)
            response = connection.getresponse()
            if response.status != 200 or not response.read():
                raise RuntimeError(f"status {response.status}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(some, range(8)))


def _memory_words(workers: Sequence[Json]) -> str:
    return ", ".join(
        f"{w['rss']:.0f} MB (own {w['own']:.0f}, peak {w['peak']:.0f})" for w in workers
    )


def starts(folder: Path, plan: Plan) -> Json:
    """Seconds from nothing to a ready server, and to an imported one; beside a bare Python."""
    ready = []
    for number in range(plan.starts):
        with serving(f"start-{number}", "cds_service.server", folder) as server:
            ready.append(server.start_seconds)
    return {
        "ready": spread(ready),
        "import": spread([_run("import cds_service.server") for _ in range(plan.starts)]),
        "python": spread([_run("pass") for _ in range(plan.starts)]),
    }


def _run(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)  # noqa: S603
    return time.perf_counter() - started


def instructions(server: Running, folder: Path) -> Json | None:
    """Instructions a call, where the machine can count them; None: it cannot."""
    if shutil.which("perf") is None:
        return None
    found: Json = {}
    for family in FAMILIES:
        content = folder / f"{family.name}.json"
        counted, calls = _counted(server, content)
        if counted is None:
            return None
        found[family.name] = counted / calls
    return found


def _counted(server: Running, content: Path) -> tuple[float | None, int]:
    pids = ",".join(str(pid) for pid in server.workers())
    command = ["perf", "stat", "-x,", "-e", "instructions:u", "-p", pids, "sleep", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as perf:  # noqa: S603
        made = load(server, content, 1, 1)["calls"]
        words = perf.communicate()[1]
    value = next((line.split(",")[0] for line in words.splitlines() if "instructions" in line), "")
    return (float(value), made) if value.isdigit() else (None, made)


# --- words ------------------------------------------------------------------------------------

HEAD: Final = (
    f"{'family':14} {'bytes':>9}  {'p50 ms ours/null':>17}  {'p50 ratio min-median-max':>25}  "
    f"{'goal':>5}  {'p95':>5}  {'p99':>5}  {'cpu':>5}  {'c8 p50':>6}  {'c8 calls/s':>10}"
)


def family_line(row: Json) -> str:
    one, eight = row["c1"], row["c8"]
    ratio = one["ratio"]
    p50 = ratio["p50"]
    both = f"{one['ours']['p50']:.2f}/{one['null']['p50']:.2f}"
    between = f"{p50['min']:.2f}-{p50['median']:.2f}-{p50['max']:.2f}"
    return (
        f"{row['family']:14} {row['bytes']:9}  {both:>17}  {between:>25}  {row['goal']:5.2f}  "
        f"{ratio['p95']['median']:5.2f}  {ratio['p99']['median']:5.2f}  "
        f"{ratio['cpu_ms']['median']:5.2f}  {eight['ratio']['p50']['median']:6.2f}  "
        f"{eight['ours']['per_second']:5.0f} ({1 / eight['ratio']['per_second']['median']:.2f})"
    )


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def machine() -> Json:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
    }


def run(plan: Plan, folder: Path) -> Json:
    report: Json = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "plan": {"pairs": plan.pairs, "seconds": plan.seconds},
    }
    report["start"] = starts(folder, plan)
    start = report["start"]
    ready, imported = start["ready"]["median"], start["import"]["median"]
    _say(f"ready after {ready:.2f} s, imported after {imported:.2f} s")
    with (
        serving("ours", "cds_service.server", folder) as ours,
        serving("null", "benchmarks.null_service", folder) as null,
    ):
        _say(HEAD)
        report["families"] = families(ours, null, folder, plan)
        _say("growth with the record, relevant order with cards, one connection")
        report["growth"] = growth(ours, null, folder, plan)
        report["instructions"] = instructions(ours, folder)
    with serving("mixed", "cds_service.server", folder) as fresh:
        _say("memory of a worker")
        report["memory"] = mixed(fresh, folder, plan.mixed_calls)
    return report


def keep(report: Json, numbers: Path, picture: Path) -> None:
    numbers.write_text(json.dumps(report, indent=1) + "\n")
    picture.write_text(plot.growth(report["growth"]))


def main() -> int:
    if shutil.which("wrk") is None:
        sys.stderr.write("make bench needs the load generator wrk: apt-get install -y wrk\n")
        return 2
    plan = QUICK if os.environ.get("BENCH_QUICK") == "1" else FULL
    folder = Path(tempfile.mkdtemp(prefix="b12-cds-bench-"))
    try:
        report = run(plan, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    RESULTS.mkdir(exist_ok=True)
    name = report["at"].replace(":", "").replace("-", "")
    keep(report, RESULTS / f"{name}.json", RESULTS / f"{name}.svg")
    if os.environ.get("BENCH_REFERENCE") == "1":
        keep(report, RESULTS / "reference.json", ROOT / "docs" / "images" / "growth.svg")
    _say(f"written: benchmarks/results/{name}.json and .svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
