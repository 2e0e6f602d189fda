from __future__ import annotations

import pytest

from ml.drift import Verdict
from ml.drift_performance import Outcomes, interval, performance


def test_more_false_alarms_are_drift() -> None:
    false, missed = performance(Outcomes(5, 45, 2), Outcomes(20, 20, 1))
    assert (false.verdict, missed.verdict) == (Verdict.DRIFT, Verdict.STEADY)
    assert false.low < false.current == 0.5 < false.high


def test_more_missed_incidents_are_drift() -> None:
    _, missed = performance(Outcomes(5, 45, 2), Outcomes(2, 20, 15))
    assert missed.verdict is Verdict.DRIFT
    assert "was 4%" in missed.told


def test_few_verdicts_are_not_judged() -> None:
    """Labels come late: of four incidents one does not know."""
    false, missed = performance(Outcomes(5, 45, 0), Outcomes(4, 0, 0))
    assert (false.verdict, missed.verdict) == (Verdict.UNJUDGED, Verdict.UNJUDGED)
    assert "each needs 10" in false.told
    assert (missed.low, missed.high) == (0.0, 1.0)


def test_fewer_false_alarms_are_no_drift() -> None:
    false, _ = performance(Outcomes(30, 20, 0), Outcomes(1, 49, 0))
    assert false.verdict is Verdict.STEADY


def test_the_interval_is_clopper_and_pearsons() -> None:
    assert interval(2, 10) == pytest.approx((0.0252, 0.5561), abs=1e-4)
