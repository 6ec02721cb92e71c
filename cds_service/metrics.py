"""How much, how fast, and what was missing: the numbers of the service.

Counted in every worker and added up when they are read: the workers keep their counts in files of
a directory that `share` names before the first count. A label is a word of ours or a tenant's id;
nothing that could tell of a patient, a prescriber or a record is one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)

_shared: list[Path] = []


class Metrics:
    """All numbers there are. `registry`: where they are kept in this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"b12_cds_{name}", help_text, labels, registry=registry)

        self.registry = registry
        self.calls = counter("calls", "Hook calls answered.", "service", "tenant", "mode", "status")
        self.call_seconds = Histogram(
            "b12_cds_call_seconds",
            "Time from a hook call's arrival to its answer.",
            ("service",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.cards = counter("cards", "Cards, by topic.", "tenant", "topic", "indicator")
        self.rule_failures = counter("rule_failures", "Rules that raised an error.", "rule")
        self.gaps = counter("gaps", "Parts of records that could not be read.", "key", "kind")
        self.prefetch = counter("prefetch", "Prefetch keys, by what was delivered.", "key", "state")
        self.entries = counter(
            "entries",
            "Resources of records, by whether a value set has a code of theirs.",
            "tenant",
            "type",
            "recognised",
        )
        self.fhir_seconds = Histogram(
            "b12_cds_fhir_fetch_seconds",
            "Time of requests to FHIR servers.",
            ("tenant", "outcome"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.jwks = counter("jwks_fetches", "Key sets fetched.", "tenant", "outcome")
        self.refused = counter("refused", "Calls refused before they were read.", "cause")
        self.foreign = counter(
            "foreign_patient_resources", "Resources of other patients, dropped.", "key"
        )
        self.feedback = counter("feedback", "Items of feedback that said something new.", "tenant")
        self.records_dropped = counter("records_dropped", "Decision records that were lost.")


@cache
def _metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@lru_cache(maxsize=4096)  # asked twenty times a call; a label itself looks its child up each time
def _one(name: str, *labels: str) -> Any:
    """The counter or histogram of this name, with these labels."""
    return getattr(_metrics(), name).labels(*labels)


def share(directory: Path) -> None:
    """Keep the numbers in `directory`, for all processes of this server. Before anything else."""
    if _metrics.cache_info().currsize:
        raise RuntimeError("something was counted before the numbers were shared")
    # prometheus-client decides at its import where numbers are kept; the server knows only later.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    _shared[:] = [directory]
    _metrics()


def exposition() -> bytes:
    """All numbers of all workers, in the text format of Prometheus."""
    if not _shared:
        return bytes(generate_latest(_metrics().registry))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(_shared[0]))  # type: ignore[no-untyped-call]
    return bytes(generate_latest(registry))


# --- what is counted --------------------------------------------------------------------------


def called(service: str, tenant: str, mode: str, status: int, seconds: float) -> None:
    """A hook call was answered."""
    _one("calls", service, tenant, mode, str(status)).inc()
    _one("call_seconds", service).observe(seconds)


def advised(tenant: str, cards: Iterable[tuple[str, str]]) -> None:
    """Cards were made: (topic, indicator) of each."""
    for topic, indicator in cards:
        _one("cards", tenant, topic, indicator).inc()


def rule_failed(rule: str) -> None:
    """A rule raised: its part of the advice is missing, and the answer says so."""
    _one("rule_failures", rule).inc()


def gap(key: str, kind: str, count: int) -> None:
    """Something of a record was not read. `kind`: a GapKind."""
    _one("gaps", key, kind).inc(count)
    if kind == "other_patient":
        _one("foreign", key).inc(count)


def prefetched(key: str, state: str) -> None:
    """A prefetch key of ours was found in this state."""
    _one("prefetch", key, state).inc()


def entries(tenant: str, recognised: Mapping[tuple[str, bool], int]) -> None:
    """So many resources of records were read: (type, does a value set have a code of it?)."""
    for (kind, known), count in recognised.items():
        _one("entries", tenant, kind, "yes" if known else "no").inc(count)


def fetched(tenant: str, outcome: str, seconds: float) -> None:
    """A request to a FHIR server ended. `outcome`: a word such as "ok", "status", "timeout"."""
    _one("fhir_seconds", tenant, outcome).observe(seconds)


def jwks_fetched(tenant: str, outcome: str) -> None:
    """A key set was fetched, or not."""
    _one("jwks", tenant, outcome).inc()


def refused(cause: str) -> None:
    """A call was turned away: "auth", "forbidden", "rate" or "overload"."""
    _one("refused", cause).inc()


def fed_back(tenant: str, items: int) -> None:
    """So many new items of feedback are kept."""
    _one("feedback", tenant).inc(items)


def records_dropped(count: int) -> None:
    """So many decision records could not be kept."""
    _metrics().records_dropped.inc(count)
