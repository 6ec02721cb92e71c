"""What is told of a call once it is answered, and to whom?

A line to the log, numbers to the metrics, a span to the traces, and to the store a record of what
was decided; of a call that is not about our orders a mere count. None of it says anything about a
patient.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from cds_service import logs, metrics
from cds_service.errors import DataUnavailable
from cds_service.feedback import Kept
from cds_service.governance import Decided
from cds_service.hooks.request import FetchRun
from cds_service.hooks.response import Answer
from cds_service.limits import WAITING
from cds_service.records import Decision, Recorder
from cds_service.services import Services
from cds_service.telemetry import Tracing
from cds_service.tenants import Tenant

_NOTHING_SAID: Final = Answer()
_NOTHING_KEPT: Final = Kept(0, 0)

#: (part of the record, kind of gap) → how often
Gaps = Mapping[tuple[str, str], int]


@dataclass(slots=True)
class Call:
    """What becomes known of a request while it is answered; what does not stays None."""

    #: By the monotonic clock, when it was there to be taken up: its deadline counts from here.
    started: float = field(default_factory=lambda: monotonic() - WAITING.seconds)
    service: str | None = None
    tenant: Tenant | None = None
    services: Services | None = None
    hook_instance: str | None = None  # a UUID: any other text is accepted, and not logged
    answer: Answer = _NOTHING_SAID
    decided: Decided | None = None
    unread: Sequence[str] = ()  # prefetch keys, where nothing could be said without them
    decided_status: int | None = None  # that of a live client, where this one only listens
    fetches: Sequence[FetchRun] = ()
    kept: Kept = _NOTHING_KEPT
    error: str | None = None
    error_id: str | None = None

    @property
    def seconds(self) -> float:
        return monotonic() - self.started


def hook_call(call: Call, status: int, recorder: Recorder, tracing: Tracing) -> None:
    """A hook call was answered with this status."""
    gaps: Counter[tuple[str, str]] = Counter()
    for gap in call.answer.gaps:
        gaps[gap.subject.value, gap.kind.value] += gap.count
    whose = _whose(call)
    _count(call, whose, status, gaps)
    tracing.call(call.seconds, {**whose, "status": status})
    if call.services is not None:
        _record(call, call.services, call.decided_status or status, gaps, recorder)
    logs.event(
        _level(status),
        "call",
        service=call.service,
        tenant=call.tenant.id if call.tenant else None,
        hook_instance=call.hook_instance,
        status=status,
        ms=round(call.seconds * 1000, 1),
        topics=[topic.value for topic in call.answer.topics],
        gaps=[{"key": key, "kind": kind, "count": n} for (key, kind), n in gaps.items()],
        protocol=call.services.protocol_version if call.services else None,
        fetches=[run._asdict() for run in call.fetches] or None,
        error=call.error,
        error_id=call.error_id,
    )


def feedback(call: Call, status: int) -> None:
    """Feedback was answered with this status."""
    logs.event(
        _level(status),
        "feedback",
        service=call.service,
        tenant=call.tenant.id if call.tenant else None,
        status=status,
        ms=round(call.seconds * 1000, 1),
        items=call.kept.items,
        new=call.kept.new,
        error=call.error,
        error_id=call.error_id,
    )


def _level(status: int) -> int:
    return logging.INFO if status < 500 else logging.ERROR


def _record(call: Call, services: Services, status: int, gaps: Gaps, recorder: Recorder) -> None:
    answer, service = call.answer, call.service or ""
    decided = call.decided or Decided(mode=services.tenant.mode)
    if not answer.outcomes and status != DataUnavailable.status:
        kind = "not-ours" if status == 200 else f"status-{status}"
        recorder.count(services.tenant.id, service, kind)
        return
    recorder.put(
        Decision(
            tenant=services.tenant.id,
            service=service,
            hook_instance=call.hook_instance,
            profile=services.protocol.profile,
            protocol=services.protocol_version,
            protocol_hash=services.protocol.content_hash,
            mode=decided.mode,
            status=status,
            ms=call.seconds * 1000,
            cards=answer.cards,
            rules=dict(zip(map(str, answer.topics), answer.rules, strict=False)),
            outcomes=answer.outcomes,
            gaps=[(key, kind, count) for (key, kind), count in gaps.items()]
            or [(key, "unread", 1) for key in call.unread],
            withheld=decided.withheld,
            pseudonym=decided.pseudonym,
        )
    )


def _whose(call: Call) -> dict[str, str]:
    """Service, tenant and mode as labels: "none" where it did not become known."""
    tenant, mode = (call.tenant.id, call.tenant.mode) if call.tenant else ("none", "none")
    return {"service": call.service or "none", "tenant": tenant, "mode": mode}


def _count(call: Call, whose: dict[str, str], status: int, gaps: Gaps) -> None:
    tenant = whose["tenant"]
    metrics.called(**whose, status=status, seconds=call.seconds)
    topics = [(card.source.topic, card.indicator) for card in call.answer.cards]
    metrics.advised(tenant, [(topic.code, word.value) for topic, word in topics if topic])
    for (key, kind), count in gaps.items():
        metrics.gap(key, kind, count)
    for fetch in call.fetches:
        metrics.fetched(tenant, fetch.outcome, fetch.ms / 1000)
