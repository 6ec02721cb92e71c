"""What one result says: cut-offs in the reported unit, comparators, flags, unknown units."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from regimen.facts import Analyte, Flag
from regimen.labs import Verdict, below, newest_first, raised, verdict
from regimen.protocol import load_protocol
from tests.unit.regimen.builders import lab

PROTOCOL = load_protocol()
LOW, MAYBE, MIDDLE, NORMAL = Verdict.LOW, Verdict.MAYBE_LOW, Verdict.INDETERMINATE, Verdict.NORMAL


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("179", "pg/mL", LOW),
        ("179.9", "ng/L", LOW),
        ("180", "pg/mL", MIDDLE),
        ("350", "pg/mL", MIDDLE),
        ("350.1", "pg/mL", NORMAL),
        ("0.179", "ug/L", LOW),
        ("0.18", "ng/mL", MIDDLE),
        ("17.9", "ng/dL", LOW),
        ("132.9", "pmol/L", LOW),  # 180.08 ng/L when converted: never convert first
        ("133", "pmol/L", MIDDLE),
        ("258", "pmol/L", MIDDLE),
        ("259", "pmol/L", NORMAL),
        ("0.1329", "nmol/L", LOW),
        ("120", None, None),
        ("120", "mmol/L", None),
    ],
)
def test_a_total_b12_is_judged_in_its_own_unit(
    value: str, unit: str | None, expected: Verdict | None
) -> None:
    assert verdict(lab(value=value, unit=unit), PROTOCOL) is expected


@pytest.mark.parametrize(
    ("value", "expected"), [("24.9", LOW), ("25", MIDDLE), ("70", MIDDLE), ("70.1", NORMAL)]
)
def test_active_b12_has_its_own_cut_offs(value: str, expected: Verdict) -> None:
    assert verdict(lab(Analyte.B12_ACTIVE, value, "pmol/L"), PROTOCOL) is expected


@pytest.mark.fault("D17")
@pytest.mark.parametrize(
    ("comparator", "value", "expected"),
    [
        ("<", "150", LOW),
        ("<", "180", LOW),
        ("<=", "180", MAYBE),
        ("<", "200", MAYBE),
        ("<", "350", MAYBE),
        ("<", "400", None),
        (">", "350", NORMAL),
        (">", "2000", NORMAL),
        (">=", "350", NORMAL),
        (">", "200", None),
    ],
    ids=str,
)
def test_a_comparator_is_a_bound(comparator: str, value: str, expected: Verdict | None) -> None:
    """D17"""
    assert verdict(lab(value=value, comparator=comparator), PROTOCOL) is expected


@pytest.mark.fault("D18")
@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        (Flag.CRITICALLY_LOW, LOW),
        (Flag.LOW, MAYBE),
        (Flag.NORMAL, None),
        (Flag.HIGH, NORMAL),
        (None, None),
    ],
)
def test_a_flag_counts_only_without_a_value(flag: Flag | None, expected: Verdict | None) -> None:
    """D18"""
    assert verdict(lab(value=None, unit=None, flag=flag), PROTOCOL) is expected
    assert verdict(lab(value="190", flag=flag), PROTOCOL) is MIDDLE


@pytest.mark.parametrize(("value", "expected"), [("140", MAYBE), ("150", None), ("160", None)])
def test_in_an_unknown_unit_only_the_laboratory_s_own_limit_speaks(
    value: str, expected: Verdict | None
) -> None:
    assert verdict(lab(value=value, unit=None, low="150"), PROTOCOL) is expected


@pytest.mark.parametrize(
    ("value", "unit", "comparator", "high", "expected"),
    [
        ("0.40", "umol/L", "=", None, False),
        ("0.41", "umol/L", "=", None, True),
        ("410", "nmol/L", "=", None, True),
        ("0.35", "umol/L", "=", "0.30", True),
        ("410", "nmol/L", "=", "500", False),
        ("0.40", "umol/L", ">", None, True),
        ("0.50", "umol/L", "<", None, False),
        ("0.50", None, "=", None, False),
    ],
)
def test_mma_is_raised_above_the_laboratory_s_limit_else_above_ours(
    value: str, unit: str | None, comparator: str, high: str | None, expected: bool
) -> None:
    result = lab(Analyte.MMA, value, unit, comparator=comparator, high=high)
    assert raised(result, Decimal("0.40")) is expected


@pytest.mark.parametrize(
    ("value", "unit", "comparator", "expected"),
    [
        ("79", "g/L", "=", True),
        ("80", "g/L", "=", False),
        ("7.9", "g/dL", "=", True),
        ("8.0", "g/dL", "=", False),
        ("80", "g/L", "<", True),
        ("90", "g/L", "<", False),
        ("60", "g/L", ">", False),
        ("60", None, "=", False),
    ],
)
def test_haemoglobin_below_80_is_severe_in_any_unit(
    value: str, unit: str | None, comparator: str, expected: bool
) -> None:
    result = lab(Analyte.HAEMOGLOBIN, value, unit, comparator=comparator)
    assert below(result, Decimal(80)) is expected


DATE_ONLY = "2026-06-10T00:00:00.000000+00:00 "
MORNING, EVENING = "2026-06-10T07:30:00.000000+00:00 ", "2026-06-10T19:00:00.000000+00:00 "


@pytest.mark.fault("D19", "D20")
@pytest.mark.parametrize(
    ("analyte", "unit", "worse", "better"),
    [
        (Analyte.B12_TOTAL, "pg/mL", "120", "420"),
        (Analyte.HAEMOGLOBIN, "g/L", "62", "118"),
        (Analyte.POTASSIUM, "mmol/L", "3.1", "4.2"),
        (Analyte.EGFR, "mL/min", "40", "90"),
        (Analyte.MCV, "fL", "112", "90"),
        (Analyte.MMA, "umol/L", "0.6", "0.2"),
    ],
)
def test_of_two_results_of_one_day_the_later_comes_first_where_it_is_known(
    analyte: Analyte, unit: str, worse: str, better: str
) -> None:
    def first(moment_of_worse: str, moment_of_better: str) -> str:
        pair = [
            replace(lab(analyte, worse, unit), moment=moment_of_worse),
            replace(lab(analyte, better, unit), moment=moment_of_better),
        ]
        for given in (pair, pair[::-1]):
            (found, _) = newest_first(given, PROTOCOL)
        return str(found.value)

    assert first(MORNING, EVENING) == better
    assert first(EVENING, MORNING) == worse
    for undecided in ((DATE_ONLY, EVENING), (MORNING, DATE_ONLY), (MORNING, MORNING), ("", "")):
        assert first(*undecided) == worse
    issued = "2026-06-12T08:00:00.000000+00:00"
    assert first(DATE_ONLY, DATE_ONLY + issued) == better  # reported later: it corrects


def test_on_one_day_a_result_that_cannot_be_judged_comes_before_a_normal_one() -> None:
    unknown = replace(lab(value="900", unit=None), moment=DATE_ONLY)
    normal = replace(lab(value="420"), moment=EVENING)
    assert [r.unit for r in newest_first([normal, unknown], PROTOCOL)] == [None, "pg/mL"]
