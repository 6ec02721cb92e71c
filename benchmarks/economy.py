"""How often does the service interrupt, and is it silent where it should be?

`python -m benchmarks.economy` puts the synthetic cohort to the service and prints what came back;
with `--write` it puts the figures into docs/alert-economy.md, with `--check` it ends with 1 where
they are out of date.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean, median

import msgspec

from benchmarks.cohort import AS_OF, CONFORMING, KINDS, SEED, SIZE, Pick, cohort
from cds_service.hooks.order_select import Explained, explained
from cds_service.hooks.request import decode_order_select, decode_request
from cds_service.services import Services
from cds_service.settings import Settings
from cds_service.tenants import development_tenant
from regimen.choose import plan
from regimen.protocol import PROFILES, load_protocol
from regimen.recommendation import Indicator

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "alert-economy.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

# What the protocol aims at for an interruptive check.
MOST_CARDS_MEDIAN = 1
CRITICAL_BELOW = 0.02


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one pick."""

    pick: Pick
    cards: tuple[tuple[str, Indicator], ...]  # topic, indicator
    rules: tuple[str, ...]  # the protocol's entries that fired
    row: int | None  # of the regimen table; None: no regimen applies

    @property
    def silent(self) -> bool:
        return not self.cards

    @property
    def critical(self) -> bool:
        return any(indicator is Indicator.CRITICAL for _, indicator in self.cards)


@cache
def _services(profile: str) -> Services:
    settings = Settings.from_environment({})
    return Services(
        settings=settings,
        clock=lambda: AS_OF,
        protocol=load_protocol(profile),
        tenant=development_tenant(settings),
    )


def outcome(pick: Pick, profile: str = "default") -> Outcome:
    answered = _answered(pick, profile)
    found = answered.evaluation.recommendations if answered.evaluation else ()
    return Outcome(
        pick=pick,
        cards=tuple((r.topic.value, r.indicator) for r in found),
        rules=tuple(r.rule for r in found),
        row=_row(answered, profile),
    )


def _answered(pick: Pick, profile: str) -> Explained:
    """By the service's own path from the bytes of a request on."""
    request = decode_request(msgspec.json.encode(pick.request))
    return explained(decode_order_select(request.context), request, _services(profile))


def _row(answered: Explained, profile: str) -> int | None:
    if answered.evaluation is None:
        return None
    offered = plan(answered.evaluation.situation, _services(profile).protocol)
    return offered.row if offered else None


# --- figures ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figures:
    outcomes: tuple[Outcome, ...]

    @property
    def b12(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.pick.b12)

    @property
    def conforming(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.pick.kind == CONFORMING)

    @property
    def loud_but_conforming(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.conforming if not o.silent)

    @property
    def median_cards(self) -> float:
        return median(len(o.cards) for o in self.b12)

    @property
    def critical_share(self) -> float:
        """Of all picks, folic acid included."""
        return share(self.outcomes, [o for o in self.outcomes if o.critical])

    @property
    def on_target(self) -> bool:
        return (
            not self.loud_but_conforming
            and self.median_cards <= MOST_CARDS_MEDIAN
            and self.critical_share < CRITICAL_BELOW
        )


def figures(size: int = SIZE, seed: int = SEED, profile: str = "default") -> Figures:
    return Figures(tuple(outcome(pick, profile) for pick in cohort(size, seed)))


def share(whole: Iterable[object], part: Iterable[object]) -> float:
    return len(list(part)) / len(list(whole))


def report(found: Figures) -> Iterator[str]:
    """The lines that the command prints, as Markdown."""
    yield from _headline(found)
    yield from _by_kind(found)
    yield from _counts("Cards by topic and indicator", _topics(found))
    yield from _counts("Picks by row of the regimen table", _rows(found))
    yield from _counts("Cards by rule", Counter(rule for o in found.outcomes for rule in o.rules))


def _headline(found: Figures) -> Iterator[str]:
    cards = [len(o.cards) for o in found.b12]
    spread = Counter(cards)
    yield "| figure | value | target |"
    yield "|---|---|---|"
    yield f"| picks, of them B12 | {len(found.outcomes)}, {len(found.b12)} | |"
    yield f"| cards per B12 pick, median | {found.median_cards:g} | at most {MOST_CARDS_MEDIAN} |"
    yield f"| cards per B12 pick, mean | {mean(cards):.2f} | |"
    for number in sorted(spread):
        yield f"| B12 picks with {number} cards | {_percent(spread[number] / len(cards))} | |"
    silent = [o for o in found.outcomes if o.silent]
    yield f"| picks answered with silence | {_percent(share(found.outcomes, silent))} | |"
    quiet = 1 - share(found.conforming, found.loud_but_conforming)
    yield f"| conforming orders answered with silence | {_percent(quiet)} | 100 % |"
    critical = _percent(found.critical_share)
    yield f"| picks with a critical card | {critical} | under {_percent(CRITICAL_BELOW)} |"


def _by_kind(found: Figures) -> Iterator[str]:
    yield ""
    yield "| kind of pick | picks | silent | cards, mean |"
    yield "|---|---|---|---|"
    for kind in KINDS:
        those = [o for o in found.outcomes if o.pick.kind == kind]
        if those:
            silent = _percent(share(those, [o for o in those if o.silent]))
            cards = mean(len(o.cards) for o in those)
            yield f"| {kind} | {len(those)} | {silent} | {cards:.2f} |"


def _topics(found: Figures) -> Counter[str]:
    cards = (card for o in found.outcomes for card in o.cards)
    return Counter(f"{topic} {indicator.value}" for topic, indicator in cards)


def _rows(found: Figures) -> Counter[str]:
    return Counter("none" if o.row is None else f"row {o.row}" for o in found.outcomes)


def _counts(title: str, counts: Counter[str]) -> Iterator[str]:
    yield ""
    yield f"| {title} | count |"
    yield "|---|---|"
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        yield f"| {name} | {count} |"


def _percent(part: float) -> str:
    return f"{part * 100:.1f} %"


def document_with(lines: Iterable[str]) -> str:
    """The page with these figures in place of its own."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    body = "\n".join(lines)
    return f"{before}{BEGIN}\n\n{body}\n\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.economy")
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--profile", choices=PROFILES, default="default")
    parser.add_argument("--write", action="store_true", help="put the figures into the page")
    parser.add_argument("--check", action="store_true", help="end with 1 if the page is stale")
    wanted = parser.parse_args(arguments)
    found = figures(wanted.size, wanted.seed, wanted.profile)
    sys.stdout.write("\n".join(report(found)) + "\n")
    for o in found.loud_but_conforming:
        sys.stderr.write(f"conforming, but not silent: {o.pick.group} {o.pick.number} {o.cards}\n")
    page = document_with(report(found))
    if wanted.write:
        DOCUMENT.write_text(page, encoding="utf-8")
    stale = wanted.check and page != DOCUMENT.read_text(encoding="utf-8")
    if stale:
        sys.stderr.write(f"{DOCUMENT.name} is out of date: python -m benchmarks.economy --write\n")
    return 0 if found.on_target and not stale else 1


if __name__ == "__main__":
    sys.exit(main())
