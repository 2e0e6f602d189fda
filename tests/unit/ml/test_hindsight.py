from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ml.hindsight import eased

score = st.floats(0.01, 0.99)


def test_a_false_alarm_is_not_told_a_second_time() -> None:
    assert eased(0.7, 0.7, [0.74, 0.71], []) == 0.74


def test_what_was_real_is_still_told_when_false_alarms_scored_higher() -> None:
    assert eased(0.7, 0.7, [0.72, 0.8], [0.75]) == 0.72
    assert eased(0.7, 0.7, [0.8], [0.75]) == 0.7


def test_one_wild_false_alarm_does_not_blind_the_model() -> None:
    assert eased(0.7, 0.7, [0.999], []) == 0.85
    assert eased(0.85, 0.7, [0.999], []) == 0.85  # nor does it by coming again and again


@given(score, st.lists(score), st.lists(score))
def test_easing_never_lowers_and_a_second_time_changes_nothing(
    threshold: float, false_alarms: list[float], real: list[float]
) -> None:
    once = eased(threshold, threshold, false_alarms, real)
    assert once >= threshold
    assert eased(once, threshold, false_alarms, real) == once


@given(score, st.lists(score), st.lists(score, min_size=1))
def test_what_was_real_and_told_stays_told(threshold: float, false_alarms: list[float], real: list[float]) -> None:
    told = [each for each in real if each > threshold]
    assert all(each > eased(threshold, threshold, false_alarms, real) for each in told)
