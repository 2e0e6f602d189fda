"""The benchmarks' own measures against the definitions, written the slow way, and values that are known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tests.benchmarks import _points


def drawn(seed: int, count: int = 600) -> tuple[_points.Floats, _points.Labels]:
    chance = np.random.default_rng(seed)
    labels = np.zeros(count, dtype=bool)
    for begin in chance.integers(0, count - 30, 5):
        labels[begin : begin + chance.integers(1, 30)] = True
    return np.round(chance.random(count) + 0.3 * labels, 2), labels  # rounded: ties


def slow_vus(scores: _points.Floats, labels: _points.Labels, buffer: int, thresholds: int) -> float:
    """Row by row, buffer by buffer, threshold by threshold."""
    count, events, areas = len(labels), _points.segments(labels), []
    levels = np.sort(scores)[::-1][np.linspace(0, count - 1, thresholds).astype(int)]
    for width in range(buffer + 1):
        reach, weights = width // 2, labels.astype(float)
        for first, last in events:
            for row in range(count):
                distance = max(first - row, row - last)
                if 0 < distance <= reach:
                    weights[row] = min(weights[row] + np.sqrt(1 - distance / width), 1.0)
        groups: list[list[int]] = []
        for first, last in events:
            if groups and first - reach <= groups[-1][1]:
                groups[-1][1] = last + reach
            else:
                groups.append([first - reach, last + reach])
        area = recall_before = 0.0
        for level in levels:
            flagged = scores >= level
            hits = float(weights[flagged].sum())
            near = float(weights[flagged & ~labels].sum())
            touched = sum(bool(flagged[max(begin, 0) : end + 1].any()) for begin, end in groups) / len(groups)
            recall = min(hits / (labels.sum() + near / 2), 1.0) * touched
            area += (recall - recall_before) * hits / flagged.sum()
            recall_before = recall
        areas.append(area)
    return float(np.mean(areas))


@pytest.mark.parametrize("seed", range(4))
def test_auc_pr_is_average_precision(seed: int) -> None:
    scores, labels = drawn(seed)
    assert _points.auc_pr(scores, labels) == pytest.approx(average_precision_score(labels, scores))


@pytest.mark.parametrize("seed", range(4))
def test_the_best_f1_is_the_largest_over_all_thresholds(seed: int) -> None:
    scores, labels = drawn(seed)
    tried = [_points.f1(scores >= level, labels) for level in np.unique(scores)]
    assert _points.best_f1(scores, labels) == pytest.approx(max(tried))


@pytest.mark.parametrize("seed", range(4))
def test_vus_pr_is_what_counting_row_by_row_gives(seed: int) -> None:
    scores, labels = drawn(seed, 200)
    assert _points.vus_pr(scores, labels, 20, 40) == pytest.approx(slow_vus(scores, labels, 20, 40), rel=1e-9)


def test_a_perfect_score_has_all_measures_at_1() -> None:
    _, labels = drawn(0)
    found = _points.measures(labels.astype(float), labels, labels)
    assert [found[name] for name in ("auc_pr", "vus_pr", "f1_best", "pa50", "f1_auto", "event_f1")] == [1.0] * 6
    assert found["delay_rows"] == 0


def test_point_adjustment_counts_an_event_once_enough_of_it_is_flagged() -> None:
    labels = np.zeros(100, dtype=bool)
    labels[40:50] = True
    scores = np.zeros(100)
    scores[40:44] = 1.0
    assert _points.adjusted_f1(scores, labels, 0.4) == 1.0
    assert _points.adjusted_f1(scores, labels, 0.5) < 0.6


def test_an_alarm_counts_once_per_event_and_tells_its_delay() -> None:
    labels = np.zeros(100, dtype=bool)
    labels[20:30] = labels[60:70] = True
    alarms = np.zeros(100, dtype=bool)
    alarms[[24, 27, 90]] = True  # one episode in the first event, one beside
    found, delay = _points.event_f1(alarms, labels)
    assert found == pytest.approx(0.5)
    assert delay == 4
    assert _points.event_f1(np.zeros(100, dtype=bool), labels) == (0.0, None)


def test_a_score_that_is_no_number_and_labels_of_one_kind_are_refused() -> None:
    scores, labels = drawn(0)
    scores[3] = np.nan
    with pytest.raises(ValueError, match="never replaced"):
        _points.auc_pr(scores, labels)
    with pytest.raises(ValueError, match="one kind only"):
        _points.vus_pr(np.zeros(5), np.zeros(5, dtype=bool))
