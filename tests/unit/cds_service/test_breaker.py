"""When is a server that failed asked again?"""

from __future__ import annotations

from cds_service.breaker import Admission, Breaker, Tally


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(failures=3, pause=5, clock=clock)
    for _ in range(3):
        assert breaker.admit() is Admission.YES
        breaker.failed()
    return breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    assert opened(Clock()).admit() is Admission.NO


def test_a_success_between_them_keeps_it_closed() -> None:
    breaker = Breaker(failures=2, clock=Clock())
    for _ in range(5):
        breaker.failed()
        breaker.succeeded()
    assert breaker.admit() is Admission.YES


def test_after_the_pause_one_call_finds_out() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 5
    assert [breaker.admit() for _ in range(3)] == [Admission.PROBE, Admission.NO, Admission.NO]
    breaker.succeeded()
    assert breaker.admit() is Admission.YES


def test_a_probe_that_fails_starts_the_pause_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 5
    assert breaker.admit() is Admission.PROBE
    clock.now += 2
    breaker.failed()
    clock.now += 4
    assert breaker.admit() is Admission.NO
    clock.now += 1
    assert breaker.admit() is Admission.PROBE


def test_a_probe_that_never_reports_does_not_close_the_way_for_ever() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 5
    assert breaker.admit() is Admission.PROBE
    clock.now += 5
    assert breaker.admit() is Admission.PROBE


WELL, ILL, SILENT = True, False, None


def after(*ends: bool | None) -> Admission:
    breaker = Breaker(failures=1, clock=Clock())
    tally = Tally(breaker)
    tally.expect(len(ends))
    for well in ends:
        tally.ended(well)
    return breaker.admit()


def test_a_call_speaks_for_the_server_if_any_of_its_fetches_does() -> None:
    assert after(ILL, ILL) is Admission.NO
    assert after(ILL, WELL) is Admission.YES
    assert after(WELL, ILL, SILENT) is Admission.YES


def test_a_call_that_asked_nothing_says_nothing() -> None:
    assert after(SILENT, SILENT) is Admission.YES
    assert after(SILENT, ILL) is Admission.NO
