"""Stretches of time above a threshold, and reports that count only if what they told lasted."""

from __future__ import annotations

import numpy as np

from ml.episodes import Floats, Span, confirmed, spans

RUN = 5


def row(*values: float) -> Floats:
    return np.array([values], np.float64)


def report(values: Floats, told_at: int = 2, expected: float = 0.0) -> Floats:
    """What becomes of one report of score 0.9 at `told_at`, of the value that lay there."""
    scores = np.zeros_like(values)
    scores[0, told_at] = 0.9
    return confirmed(scores, np.full_like(values, expected), np.full_like(values, values[0, told_at]), values, RUN)


def test_a_stretch_begins_with_the_run_and_is_met_with_its_end() -> None:
    assert list(spans(row(0, 1, 1, 1, 0), [0.5], run=2)) == [Span(0, 1, 2, 3)]
    assert list(spans(row(0, 1, 0, 1, 0), [0.5], run=2)) == []


def test_a_missing_window_breaks_a_run() -> None:
    assert list(spans(row(1, np.nan, 1), [0.5], run=2)) == []


def test_what_comes_again_while_it_holds_is_the_same_stretch() -> None:
    assert list(spans(row(1, 0, 0, 1, 0, 0), [0.5], hold=2)) == [Span(0, 0, 0, 5)]
    assert list(spans(row(1, 0, 0, 0, 1, 0), [0.5], hold=2)) == [Span(0, 0, 0, 2), Span(0, 4, 4, 6)]


def test_each_row_has_a_threshold_of_its_own() -> None:
    told = np.array([[0.6, 0.0], [0.6, 0.0]])
    assert [span.row for span in spans(told, [0.5, 0.7])] == [0]


def test_a_shift_is_told_when_it_has_lasted() -> None:
    told = report(row(0, 0, 8, 7, 9, 8, 8, 8))
    assert told[0, 2 + RUN - 1] == 0.9
    assert np.count_nonzero(told) == 1


def test_an_outlier_is_not_told() -> None:
    assert not report(row(0, 0, 8, 1, 0, 0, 1, 0)).any()


def test_a_drop_is_told_as_a_rise_is() -> None:
    assert report(row(10, 10, 2, 3, 2, 1, 2, 2), expected=10)[0, 6] == 0.9


def test_what_goes_on_further_the_same_way_has_lasted_and_the_other_way_has_not() -> None:
    assert report(row(0, 0, 8, 90, 90, 90, 90, 0)).any()
    assert not report(row(0, 0, 8, -90, -90, -90, -90, 0)).any()


def test_missing_values_neither_confirm_nor_deny() -> None:
    assert report(row(0, 0, 8, np.nan, 8, np.nan, 8, 0)).any()
    assert not report(row(0, 0, 8, np.nan, np.nan, np.nan, np.nan, 0)).any()


def test_what_is_told_last_of_all_is_not_known_to_last() -> None:
    assert not report(row(0, 0, 0, 8, 8, 8), told_at=3).any()


def test_windows_that_were_not_judged_stay_so() -> None:
    told = confirmed(row(np.nan, 0.0), row(0, 0), row(0, 0), row(1, 1), 1)
    np.testing.assert_array_equal(told, row(np.nan, 0.0))
